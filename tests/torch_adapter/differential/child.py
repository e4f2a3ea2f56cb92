"""Runs calls one after the other and writes down what came of each: `python -m differential.child RUNS RESULTS`.

Before each call its number is written, so that whoever reads the results of a child that died knows the call.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import sys
import tempfile
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

from differential import recipes, subjects
from differential.calls import Run
from differential.outcomes import Outcome, tree_of, without_bits

SECONDS = 60
"""A call that takes longer has hung."""


def main(runs_file: str, results_file: str) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    runs: list[tuple[int, Run]] = pickle.loads(Path(runs_file).read_bytes())
    subjects.make_known(any(run.call.of_adapters for _, run in runs))
    sys.stdin = open(os.devnull)  # noqa: SIM115
    with open(results_file, "ab") as results, tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for number, run in runs:
            pickle.dump((number, None), results)
            results.flush()
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            outcome = perform(run)
            if run.side == "dense" and not (outcome.error and run.call.tried):
                again = perform(run)
                outcome.value = without_bits(outcome.value, again.value)
                outcome.state = without_bits(outcome.state, again.state)
            faulthandler.cancel_dump_traceback_later()
            pickle.dump((number, outcome), results)
            results.flush()


def perform(run: Run) -> Outcome:
    """One call on a fresh twin."""
    subject = subjects.make(run.kind, run.side, run.seed)
    outcome = Outcome(
        before=_before(run.kind, run.seed % subjects.VALUES, run.context) if run.side == "dense" else None
    )
    torch.default_generator.manual_seed(run.seed)
    try:
        with subjects.CONTEXTS[run.context]():
            value = eval(run.call.expression, subject.names)
            if isinstance(value, Iterator):
                value = list(value)
            if run.call.poke:
                target = next(leaf for leaf in _tensors(value) if leaf is not subject.weight)
                exec(run.call.poke, subject.names, {"result": target})
                value = None
        outcome.shares = run.side == "dense" and not run.call.poke and _shares(value, subject.weight)
    except Exception as error:
        text = str(error).strip().splitlines()
        outcome.error = (tuple(one.__name__ for one in type(error).__mro__), text[0][:300] if text else "")
    else:
        try:
            outcome.value = tree_of(value, recipes.multiplies(run.call) or recipes.rounds(run.call))
        except Exception as error:
            outcome.value_error = f"{type(error).__name__}: {error}"[:300]
    outcome.state = _state(subject, run.context)
    return outcome


@cache
def _before(kind: str, seed: int, context: str) -> dict[str, Any]:
    """What the dense twin is before any call."""
    return _state(subjects.make(kind, "dense", seed), context)


def _state(subject: subjects.Subject, context: str) -> dict[str, Any]:
    """The weight, its aliases, and what the module makes of its x. Errors are a state like any other."""
    state: dict[str, Any] = {}

    def look(name: str, get: Any) -> None:
        try:
            with torch.no_grad(), torch.inference_mode(context == "inference"):
                state[name] = tree_of(get(), name == "output")
        except Exception as error:
            state[name] = f"{type(error).__name__}: {str(error)[:80]}"

    look("weight", lambda: subject.module.weight)
    look("the same weight elsewhere", lambda: subject.names["tied"].weight)
    for name, alias in subject.aliases.items():
        look(f"alias {name}", lambda alias=alias: alias)
    look("output", lambda: subject.module(subject.x.to(_dtype(subject.module))))
    return state


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


if __name__ == "__main__":
    main(*sys.argv[1:])
