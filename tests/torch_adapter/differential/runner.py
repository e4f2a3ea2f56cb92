"""Hands calls to child processes, several calls to a child, and tells which call a child died of."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from differential.calls import Difference, Run

HERE = Path(__file__).parent.parent
Found = tuple[list[Difference], int]
"""Of one run: what differs, and how many calls were compared."""


@dataclass(frozen=True)
class Death:
    """A child's last words: the run, the twin that it asked, and how it died."""

    number: int
    side: str
    run: Run
    how: str


def perform(runs: Sequence[Run], workers: int = 2) -> tuple[list[Difference], int]:
    """(what differs, how many calls were compared), each run in a child, many to a child."""
    pieces: list[list[int]] = []
    for adapters in (True, False):
        numbers = [number for number, run in enumerate(runs) if run.call.of_adapters == adapters]
        each = max(1, len(numbers) if adapters else -(-len(numbers) // workers))
        pieces += [numbers[first : first + each] for first in range(0, len(numbers), each)]
    found: dict[int, Found] = {}
    with ThreadPoolExecutor(workers) as pool:
        for some in pool.map(lambda piece: _piece(runs, piece), pieces):
            found |= some
    return [one for number in range(len(runs)) for one in found[number][0]], sum(count for _, count in found.values())


def _piece(runs: Sequence[Run], numbers: Iterable[int]) -> dict[int, Found]:
    """A child for these runs; where it dies, another for those after the run it died of."""
    left: list[int] = list(numbers)
    found: dict[int, Found] = {}
    while left:
        done, last = _child([(number, runs[number]) for number in left])
        found |= done
        if last is not None:
            history = [(number, runs[number]) for number in left[: left.index(last.number) + 1]]
            found[last.number] = ([], 0)
            if last.side == "ours" and _child([(0, replace(last.run, side="dense"))])[1] is None:
                found[last.number] = ([Difference(last.run, _blame(history, last))], 1)
        left = [number for number in left if number not in found]
    return found


def _blame(history: list[tuple[int, Run]], death: Death) -> str:
    """Whose fault it is that a child died at its last run: alone it may live, and an earlier one have done the harm."""
    *before, last = history
    _, alone = _child([last])
    if alone is not None:
        return alone.how
    low, high = 0, len(before)  # the shortest end of the history that kills
    while high - low > 1:
        middle = (low + high) // 2
        _, dead = _child([*before[middle:], last])
        low, high = (middle, high) if dead is not None else (low, middle)
    return f"{death.how} after {before[low][1].call.text}" if before else death.how


def _child(work: list[tuple[int, Run]]) -> tuple[dict[int, Found], Death | None]:
    """(what each run found, the run that the child died of)."""
    with tempfile.TemporaryDirectory() as folder:
        todo, results = Path(folder) / "runs", Path(folder) / "results"
        todo.write_bytes(pickle.dumps(work))
        process = python(["-m", "differential.child", str(todo), str(results)])
        found: dict[int, Found] = {}
        asked: tuple[int, str, Run] | None = None
        for number, word, entry in _entries(results):
            asked = None if word == "done" else (number, word, entry)
            if word == "done":
                found[number] = entry
        if process.returncode == 0:
            return found, None
        text = process.stderr.decode(errors="replace").strip()
        how = f"exit {process.returncode}"
        if process.returncode < 0:
            how = signal.Signals(-process.returncode).name
        elif "Timeout (" in text:
            how = "hangs"
        if asked is None or (process.returncode == 1 and "Traceback (" in text):  # not the call, but these modules
            raise RuntimeError(f"a child died between calls ({how}): {text[-2000:]}")
        return found, Death(*asked, f"the process dies: {how}")


def _entries(results: Path) -> Iterator[Any]:
    """What a child wrote; what it had half written when it died is left out."""
    if not results.exists():
        return
    with results.open("rb") as file:
        while True:
            try:
                yield pickle.load(file)
            except (EOFError, pickle.UnpicklingError):
                return


def python(arguments: list[str], check: bool = False) -> subprocess.CompletedProcess[bytes]:
    """A child with this package on its path and one thread."""
    paths = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    if check and done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace")[-2000:])
    return done
