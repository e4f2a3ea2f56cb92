"""Hands calls to child processes, several calls to a child, and tells which call a child died of."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from differential.calls import Run
from differential.outcomes import Outcome

HERE = Path(__file__).parent.parent


def perform(runs: Sequence[Run], workers: int = 2, share: int = 2000) -> list[Outcome | str]:
    """The outcome of each run, or how its child died.

    share: calls of one child; a child is a second or three of imports.
    """
    pieces: list[list[int]] = []
    for adapters in (True, False):
        numbers = [number for number, run in enumerate(runs) if run.call.of_adapters == adapters]
        each = max(1, min(share, -(-len(numbers) // workers)))
        if adapters:
            each = share
        pieces += [numbers[first : first + each] for first in range(0, len(numbers), each)]
    found: dict[int, Outcome | str] = {}
    with ThreadPoolExecutor(workers) as pool:
        for outcomes in pool.map(lambda piece: _piece(runs, piece), pieces):
            found |= outcomes
    return [found[number] for number in range(len(runs))]


def _piece(runs: Sequence[Run], numbers: Iterable[int]) -> dict[int, Outcome | str]:
    """A child for these runs; where it dies, another for those after the call it died of."""
    left, found = list(numbers), {}
    while left:
        outcomes, culprit, how = _child([(number, runs[number]) for number in left])
        found.update(outcomes)
        if culprit is not None:
            found[culprit] = _blame(runs, [*outcomes, culprit], how)
        left = [number for number in left if number not in found]
        if not outcomes and culprit is None:
            raise RuntimeError(f"a child did nothing: {how}")
    return found


def _blame(runs: Sequence[Run], history: list[int], how: str) -> str:
    """Whose fault it is that a child died at its last call: alone it may live, and an earlier one have done the harm."""
    *before, last = history
    _, alone, how_alone = _child([(last, runs[last])])
    if alone is not None:
        return how_alone
    low, high = 0, len(before)  # the shortest end of the history that kills
    for _ in range(12):
        if high - low <= 1:
            break
        middle = (low + high) // 2
        _, dead, _ = _child([(number, runs[number]) for number in [*before[middle:], last]])
        low, high = (middle, high) if dead is not None else (low, middle)
    return f"{how} after {runs[before[low]].call.text}" if before else how


def _child(work: list[tuple[int, Run]]) -> tuple[dict[int, Outcome], int | None, str]:
    """(outcomes by number, the number that it died of, how)."""
    with tempfile.TemporaryDirectory() as folder:
        todo, done = Path(folder) / "runs", Path(folder) / "results"
        todo.write_bytes(pickle.dumps(work))
        process = python(["-m", "differential.child", str(todo), str(done)])
        outcomes: dict[int, Outcome] = {}
        started: int | None = None
        if done.exists():
            with done.open("rb") as results:
                while True:
                    try:
                        number, outcome = pickle.load(results)
                    except EOFError:
                        break
                    started = number if outcome is None else None
                    if outcome is not None:
                        outcomes[number] = outcome
        text = process.stderr.decode(errors="replace").strip()
        if process.returncode == 0:
            return outcomes, None, text
        how = f"exit {process.returncode}"
        if process.returncode < 0:
            how = signal.Signals(-process.returncode).name
        elif "Timeout (" in text:
            how = "hangs"
        if started is None:
            raise RuntimeError(f"a child died between calls ({how}): {text[-2000:]}")
        return outcomes, started, f"the process dies: {how}"


def python(arguments: list[str], check: bool = False) -> subprocess.CompletedProcess[bytes]:
    """A child with this package on its path and one thread."""
    paths = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=check,
    )
