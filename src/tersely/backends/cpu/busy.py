"""What others did to a measurement: processors that they used meanwhile, or that a quota or a hypervisor kept back.

A team of threads waits for the one that does not run, so one neighbour is enough to make a figure say nothing about the
code. Read from /proc; where there is none nothing is said.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from tersely.backends.cpu import processors

SLACK = 0.15
"""Processors that others may use beside the threads measured: clocks count in hundredths of a second, and systems have
chores."""
MIN_SECONDS = 0.1
"""A shorter watch says nothing."""


@dataclass(frozen=True)
class Load:
    """Means over a watch, in processors. allowed: those this process may run on. others: other processes on these.
    stolen: by the hypervisor. stopped: share of the time for which the quota kept this process standing still.
    """

    seconds: float
    allowed: int
    others: float
    stolen: float
    stopped: float

    def troubles(self, threads: int) -> str:
        """What made so many threads wait, in words; '' where nothing did."""
        if self.seconds < MIN_SECONDS:
            return ""
        found = []
        free = max(SLACK, self.allowed - threads + SLACK)
        if self.others + self.stolen > free:
            if self.others > SLACK:
                found.append(f"other processes used {self.others:.2f} of its {self.allowed} processors")
            if self.stolen > SLACK:
                found.append(f"the hypervisor kept back {self.stolen:.2f} of them")
        if self.stopped > 0.05:
            found.append(
                f"its quota of {processors.quota() or 0:.2g} processors stopped it for {self.stopped:.0%} of the time"
            )
        return ", ".join(found)


class Watch:
    """Begins when it is made; `load` tells of the time until then, as often as it is asked."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._groups = processors.groups()
        self._start = self._look()

    def load(self) -> Load:
        before, now = self._start, self._look()
        seconds = now[0] - before[0]
        own, used, stolen, stopped = (b - a for a, b in zip(before[1:], now[1:], strict=True))
        span = max(seconds, 1e-9)
        others = max(0.0, (used - own) / span)
        return Load(seconds, processors.allowed(), others, max(0.0, stolen) / span, stopped / span)

    def troubles(self, threads: int) -> str:
        """Returns what `Load.troubles` says of the time until now."""
        return self.load().troubles(threads)

    def _look(self) -> tuple[float, float, float, float, float]:
        """Clock, own time, everybody's time on our processors, stolen time, time stopped; seconds."""
        own = sum(os.times()[:4])  # children that have ended are ours
        used, stolen = self._ticks()
        if not used:
            own = 0.0
        return (
            time.monotonic(),
            own,
            used,
            stolen,
            max((group.stopped_seconds() for group in self._groups), default=0.0),
        )

    def _ticks(self) -> tuple[float, float]:
        try:
            lines = (self._proc / "stat").read_text().splitlines()
        except OSError:
            return 0.0, 0.0
        mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
        used = stolen = 0
        for line in lines:
            name, *ticks = line.split()
            if not name.startswith("cpu") or name == "cpu" or (mine is not None and int(name[3:]) not in mine):
                continue
            # user, nice, system, idle, waiting for disks, interrupts of two kinds, stolen; guests are in user
            user, nice, system, _, _, hard, soft, lost = map(int, ticks[:8])
            used += user + nice + system + hard + soft
            stolen += lost
        return used / os.sysconf("SC_CLK_TCK"), stolen / os.sysconf("SC_CLK_TCK")
