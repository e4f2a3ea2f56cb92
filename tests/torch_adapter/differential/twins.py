"""One call on both twins: what each gave and left behind, and whether that is the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch.utils import _pytree as pytree

from differential import recipes, subjects
from differential.calls import Difference, Run
from differential.outcomes import Outcome, compare, tree_of, without_bits

POKES = ("result.zero_()", "result.copy_(torch.full_like(result, 0.25))")
"""Writes through whatever lies in the weight's memory: the weight has them afterwards, or they are refused."""
_CLOSE = {"bfloat16": 2e-2}
"""Tolerance of products by kind of weight in mode "fused"; 1e-5 for others."""


def differences(run: Run, tell: Callable[[str, Run], None]) -> tuple[list[Difference], int]:
    """(what differs, how many calls were compared): the call, and writes through its result where that lies in the
    weight's memory. tell: hears which twin is about to be asked what.

    The compressed twin is asked first: what it gives cannot be what the dense one has left in memory.
    """
    if run.side == "dense":  # asked after the compressed twin's process has died
        tell("dense", run)
        perform(run, "dense")
        return [], 0
    found: list[Difference] = []
    count, todo = 0, [run]
    while todo:
        one = todo.pop(0)
        tell("ours", one)
        ours = perform(one, one.side)
        tell("dense", one)
        dense = perform(one, "dense")
        if dense.error and one.call.tried:
            continue
        again = perform(one, "dense")
        if recipes.leaves_memory(one.call):
            again.value = again.state = None
        dense.value = without_bits(dense.value, again.value)
        dense.state = without_bits(dense.state, again.state)
        count += 1
        _allow_following(dense, ours)
        if one.call.of_adapters:
            _allow_staying(dense, ours)
        what = _judge(dense, ours, one)
        if what:
            found.append(Difference(one, what))
        if dense.shares:
            todo += [replace(one, call=replace(one.call, poke=poke, tried=False)) for poke in POKES]
    return found, count


def _allow_following(dense: Outcome, ours: Outcome) -> None:
    """`weight.data = new` leaves dense aliases behind, with the old memory; compressed ones show the new weight, as after
    `copy_`. Both are right."""
    if dense.state["weight"] != dense.before["weight"]:
        for name in ours.follow:
            if dense.state[name] == dense.before[name]:
                ours.state[name] = dense.state[name]


def _allow_staying(dense: Outcome, ours: Outcome) -> None:
    """accelerate puts offloaded weights onto the meta device between calls; compressed ones may stay where they are."""
    for name, then in dense.before.items():
        if getattr(dense.state[name], "word", "").endswith("meta") and _bits(ours.state[name]) == _bits(then):
            ours.state[name] = dense.state[name]


def _bits(tree: Any) -> str:
    return getattr(tree, "bits", "")


def _judge(dense: Outcome, ours: Outcome, run: Run) -> str:
    close = _CLOSE.get(run.kind, 1e-5) if run.side == "fused" or _loses_strides(run) else 0.0
    tolerance = 1e-4 if recipes.rounds(run.call) else close if recipes.multiplies(run.call) else 0.0
    return compare(dense, ours, tolerance, close)


def _loses_strides(run: Run) -> bool:
    """Whether the dense weight comes back with other strides, and so with other bits of products; ours stays as it was."""
    return run.kind == "transposed" and run.call.text.startswith("offloaded_to_disk")


def perform(run: Run, side: str) -> Outcome:
    """One call on a fresh twin."""
    subject = subjects.make(run.kind, side, run.seed)
    outcome = Outcome(before=_before(run.kind, run.seed % subjects.VALUES, run.context) if side == "dense" else None)
    torch.default_generator.manual_seed(run.seed)
    try:
        with subjects.CONTEXTS[run.context]():
            value = eval(run.call.expression, subject.names)
            if isinstance(value, Iterator):
                value = list(value)
            if run.call.poke:
                if side == "dense":
                    outcome.between = _state(subject, run.context)
                target = next(leaf for leaf in _tensors(value) if leaf is not subject.weight)
                exec(run.call.poke, subject.names, {"result": target})
                value = None
        outcome.shares = side == "dense" and not run.call.poke and _shares(value, subject.weight)
    except Exception as error:
        text = str(error).strip().splitlines()
        outcome.error = (_names_of(error), text[0][:300] if text else "")
    else:
        try:
            outcome.value = tree_of(value, recipes.multiplies(run.call) or recipes.rounds(run.call))
        except Exception as error:
            outcome.value_error = f"{type(error).__name__}: {error}"[:300]
    outcome.state = _state(subject, run.context)
    if (
        side != "dense"
        and outcome.state["weight"] != _before(run.kind, run.seed % subjects.VALUES, run.context)["weight"]
    ):
        outcome.follow = _follow(subject, outcome.state)
    return outcome


@cache
def _before(kind: str, seed: int, context: str) -> dict[str, Any]:
    """What the dense twin is before any call."""
    return _state(subjects.make(kind, "dense", seed), context)


def _state(subject: subjects.Subject, context: str) -> dict[str, Any]:
    """The weight, its aliases, and what the module makes of its x. Errors are a state like any other."""
    state: dict[str, Any] = {}
    computed = hasattr(subject.module, "parametrizations")  # of the weight, by sums

    def look(name: str, get: Any) -> None:
        try:
            with torch.no_grad(), torch.inference_mode(context == "inference"):
                state[name] = tree_of(get(), name == "output" or (name == "weight" and computed))
        except Exception as error:
            state[name] = f"{type(error).__name__}: {str(error)[:80]}"

    look("weight", lambda: subject.module.weight)
    look("the same weight elsewhere", lambda: subject.names["tied"].weight)
    for name, alias in subject.aliases.items():
        look(f"alias {name}", lambda alias=alias: alias)
    gone = "meta" in getattr(state["weight"], "word", "") and not hasattr(subject.module, "_hf_hook")
    if gone:  # an output would be memory that nobody has written
        state["output"] = "no weight"
    else:
        look("output", lambda: subject.module(subject.x.to(_dtype(subject.module))))
    return state


def _follow(subject: subjects.Subject, state: dict[str, Any]) -> tuple[str, ...]:
    """The aliases that show what the weight holds now."""
    found = []
    for name, view in subjects.ALIASES.items():
        try:
            with torch.no_grad():
                if state[f"alias {name}"] == tree_of(view(subject.module.weight)):
                    found.append(f"alias {name}")
        except Exception:
            continue
    return tuple(found)


def _dtype(module: Any) -> Any:
    """What x must be for the module as it is now."""
    if isinstance(module, torch.nn.Embedding):
        return torch.int64
    return module.weight.dtype if module.weight.is_floating_point() else torch.float32


def _tensors(value: Any) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _shares(value: Any, weight: torch.Tensor) -> bool:
    """Whether the first tensor of the result lies in the memory of the (dense) weight."""
    first = next((leaf for leaf in _tensors(value) if leaf is not weight), None)
    try:
        return first is not None and first.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr() != 0
    except (RuntimeError, NotImplementedError):
        return False


def _names_of(error: BaseException) -> tuple[str, ...]:
    """The classes of an error, and of those that it was raised from: torch wraps what happens while a module moves."""
    names = tuple(one.__name__ for one in type(error).__mro__)
    return names if error.__cause__ is None else names + _names_of(error.__cause__)
