"""Runs calls on both twins and tells what differs: `python -m differential.report [KIND CONTEXT SIDE]`, everything without."""

from __future__ import annotations

import itertools
import pickle
import sys
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from differential import recipes, runner
from differential.calls import Call, Run
from differential.outcomes import Outcome, compare

KINDS = ("float32", "bfloat16", "transposed", "stack", "conv", "embedding", "int8")
CONTEXTS = ("no_grad", "inference", "grad")
SIDES = ("fused", "identical")
POKES = ("result.zero_()", "result.copy_(torch.full_like(result, 0.25))")
"""Writes through whatever lies in the weight's memory: the weight has them afterwards, or they are refused."""
_CLOSE = {"bfloat16": 2e-2}
"""Tolerance of products by kind of weight in mode "fused"; 1e-5 for others."""


@dataclass(frozen=True)
class Failure:
    """A call after which the twins differ, and how."""

    run: Run
    what: str


def listed() -> tuple[list[Call], list[str]]:
    """The list, and names that are unknown to it, from a child of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list"
        runner.python(["-m", "differential.listing", str(path)], check=True)
        return pickle.loads(path.read_bytes())  # type: ignore[no-any-return]


def everywhere(calls: Iterable[Call], kinds: Sequence[str] = KINDS, contexts: Sequence[str] = CONTEXTS) -> list[Run]:
    """Every call in every mode, on these kinds of weights, in these contexts."""
    every = itertools.product(calls, kinds, contexts, SIDES)
    return [Run(call, kind, side, context) for call, kind, context, side in every]


def sample(calls: Iterable[Call]) -> list[Run]:
    """Every call once or twice, in a mode, a context and on a kind of weight that follow from its text: always the same ones."""
    runs = []
    for call in calls:
        number = zlib.crc32(call.text.encode())
        context, side = CONTEXTS[number % 3], SIDES[number // 3 % 2]
        like = {"float32": ("float32", "bfloat16", "transposed", "embedding")}.get(call.kind, (call.kind,))
        kinds = ("float32", KINDS[1 + number // 6 % 6]) if not call.tried else (like[number // 6 % len(like)],)
        for kind in kinds:
            runs.append(Run(call, kind, side, context))
            context, side = CONTEXTS[(number + 1) % 3], SIDES[(number // 3 + 1) % 2]
    return runs


def differences(runs: Sequence[Run], workers: int = 2) -> tuple[list[Failure], int]:
    """(what differs, how many calls were compared). Writes through results that lie in the weight's memory are added."""
    wanted = {replace(run, side="dense"): None for run in runs}
    dense = dict(zip(wanted, runner.perform(list(wanted), workers), strict=True))
    runs = list(runs)
    poked = [
        replace(run, call=replace(run.call, poke=poke, tried=False))
        for run in runs
        if getattr(dense[replace(run, side="dense")], "shares", False)
        for poke in POKES
    ]
    more = {replace(run, side="dense"): None for run in poked}
    dense |= zip(more, runner.perform(list(more), workers), strict=True)
    kept = [run for run in [*runs, *poked] if _counts(run, dense[replace(run, side="dense")])]
    found = []
    for run, ours in zip(kept, runner.perform(kept, workers), strict=True):
        what = judge(dense[replace(run, side="dense")], ours, run)
        if what:
            found.append(Failure(run, what))
    return found, len(kept)


def _counts(run: Run, dense: Outcome | str) -> bool:
    """Whether a call is one: what was only tried and does not fit is none, nor what kills the dense twin's process."""
    return isinstance(dense, Outcome) and not (dense.error and run.call.tried)


def judge(dense: Outcome | str, ours: Outcome | str, run: Run) -> str:
    """'' where the twins agree, else what differs."""
    if isinstance(ours, str):
        return ours
    if isinstance(dense, str):
        return ""
    close = _CLOSE.get(run.kind, 1e-5) if run.side == "fused" else 0.0
    tolerance = 1e-4 if recipes.rounds(run.call) else close if recipes.multiplies(run.call) else 0.0
    return compare(dense, ours, tolerance, close)


def text(failures: Sequence[Failure]) -> str:
    """Failures by what differs, one call a line."""
    groups: dict[str, list[Failure]] = defaultdict(list)
    for failure in failures:
        groups[failure.what.split(":")[0]].append(failure)
    lines = []
    for what, group in sorted(groups.items(), key=lambda item: -len(item[1])):
        lines.append(f"{what} ({len(group)})")
        lines += [
            f"    {one.run.kind}, {one.run.side}, {one.run.context}: {one.run.call.text}  # {one.what}" for one in group
        ]
    return "\n".join(lines)


def main(*wanted: str) -> None:
    calls, unknown = listed()
    runs = [
        run
        for run in everywhere(calls)
        if all(word in (run.kind, run.context, run.side) or run.call.name.startswith(word) for word in wanted)
    ]
    failures, count = differences(runs)
    print(text(failures))
    print(f"{len(calls)} calls of {len({call.name for call in calls})} names, {count} compared, {len(failures)} differ")
    print(f"unknown: {' '.join(unknown) or 'none'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
