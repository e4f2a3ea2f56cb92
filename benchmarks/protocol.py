"""How everything here is timed: one protocol for every benchmark program.

* Runs that are compared take turns, round by round, in the other order every other round, so that a machine which slows
  down slows all of them.
* The figure is the median of the rounds. The least time is kept beside it: it tells two builds apart on a busy machine.
* Weights rotate through copies that are larger than the caches together (`working_set_bytes`), unless a program says
  that it measures from the cache.
* The number of threads is set for tersely and torch alike and is in the record.
* What other processes, a hypervisor or a quota took of the processors is watched meanwhile. A busy measurement is
  taken again, a few times; then it is marked void, or refused with --refuse-busy.
* Answers are compared before anything is timed; that is the business of each program.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import tersely
from tersely.backends.cpu.busy import Watch

Run = Callable[[int], object]
"""Called with a number that grows: which of its copies to take."""


class Took(float):
    """What a run returns that has its own clock, in another process: the milliseconds that count."""


@dataclass(frozen=True)
class Protocol:
    """What a measurement obeys. seconds: for each of the runs that are compared. tries: of a busy measurement."""

    threads: int = 2
    seconds: float = 2.0
    minimum_rounds: int = 11
    maximum_rounds: int = 1_000_000
    working_set_bytes: int = 512_000_000
    tries: int = 3
    refuse_busy: bool = False
    clock: Callable[[], float] = time.perf_counter

    def copies(self, nbytes: int) -> int:
        """How many copies of so many bytes fill the working set, two at least."""
        return max(2, -(-self.working_set_bytes // nbytes))

    def facts(self) -> dict[str, object]:
        """What a record says of the protocol."""
        return {"threads": self.threads, "seconds": self.seconds, "working_set_bytes": self.working_set_bytes}


@dataclass(frozen=True)
class Times:
    """Milliseconds by the name of the run. busy: what made threads wait meanwhile, '' for nothing."""

    median_ms: dict[str, float]
    least_ms: dict[str, float]
    rounds: int
    busy: str


def measure(runs: Mapping[str, Run], protocol: Protocol) -> Times:
    """Time the runs by the protocol. Raises SystemExit where the machine is busy and that is to be refused."""
    for number in range(2):
        for run in runs.values():
            run(number)
    for _ in range(protocol.tries):
        found = _rounds(runs, protocol)
        if not found.busy:
            break
    if found.busy and protocol.refuse_busy:
        raise SystemExit(f"the machine is busy, nothing is recorded: {found.busy}")
    return found


def _rounds(runs: Mapping[str, Run], protocol: Protocol) -> Times:
    times: dict[str, list[float]] = {name: [] for name in runs}
    watch, clock, number = Watch(), protocol.clock, 0
    end = time.perf_counter() + protocol.seconds * len(runs)
    while number < protocol.minimum_rounds or (number < protocol.maximum_rounds and time.perf_counter() < end):
        for offset, (name, run) in enumerate(list(runs.items())[:: -1 if number % 2 else 1]):
            start = clock()
            found = run(2 + number * 5 + offset)
            times[name].append(float(found) if isinstance(found, Took) else (clock() - start) * 1e3)
        number += 1
    return Times(
        {name: statistics.median(found) for name, found in times.items()},
        {name: min(found) for name, found in times.items()},
        number,
        watch.troubles(protocol.threads),
    )


def not_negative(text: str) -> float:
    """A number of an option that may be zero. Raises ArgumentTypeError for less, and for what is no number."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} must not be below 0")
    return value


def count(text: str) -> int:
    """A whole number of an option, from 1 on. Raises ArgumentTypeError for less."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return value


def options(text: str | None, protocol: Protocol) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark program has; defaults are those of `protocol`."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=count, default=protocol.threads)
    parser.add_argument(
        "--seconds", type=not_negative, default=protocol.seconds, help="for each thing that is compared"
    )
    parser.add_argument(
        "--working-set", type=not_negative, default=protocol.working_set_bytes / 1e6, help="MB of dense weights"
    )
    parser.add_argument("--refuse-busy", action="store_true", help="stop where others use the processors")
    parser.add_argument("-o", "--output", type=Path, help="write the record here, not to benchmarks/records")
    return parser


def begin(arguments: argparse.Namespace, protocol: Protocol) -> Protocol:
    """The protocol by the options; threads are set in tersely and, where it is installed, in torch."""
    tersely.set_num_threads(arguments.threads)
    try:
        import torch
    except ImportError:
        pass
    else:
        torch.set_num_threads(arguments.threads)
    return replace(
        protocol,
        threads=arguments.threads,
        seconds=arguments.seconds,
        working_set_bytes=int(arguments.working_set * 1e6),
        refuse_busy=arguments.refuse_busy,
    )
