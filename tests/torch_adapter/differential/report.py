"""Runs calls on both twins and tells what differs: `python -m differential.report [KIND CONTEXT SIDE]`, everything without."""

from __future__ import annotations

import itertools
import pickle
import sys
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from differential import runner
from differential.calls import Call, Difference, Run

KINDS = ("float32", "bfloat16", "transposed", "stack", "conv", "embedding", "int8")
CONTEXTS = ("no_grad", "inference", "grad")
SIDES = ("fused", "identical")


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
    """Every call once, in a mode, a context and on a kind of weight that follow from its text: always the same ones."""
    runs = []
    for call in calls:
        number = zlib.crc32(call.text.encode())
        kinds: tuple[str, ...] = ("float32",) * len(KINDS) + KINDS  # written calls: half of them on the common kind
        if call.tried:
            kinds = ("float32", "bfloat16", "transposed", "embedding") if call.kind == "float32" else (call.kind,)
        side, context = SIDES[number % 2], CONTEXTS[number // 2 % 3]
        runs.append(Run(call, kinds[number // 6 % len(kinds)], side, context))
    return runs


def text(failures: Sequence[Difference]) -> str:
    """Failures by what differs, one call a line."""
    groups: dict[str, list[Difference]] = defaultdict(list)
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
    failures, count = runner.perform(runs)
    print(text(failures))
    print(f"{len(calls)} calls of {len({call.name for call in calls})} names, {count} compared, {len(failures)} differ")
    print(f"unknown: {' '.join(unknown) or 'none'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
