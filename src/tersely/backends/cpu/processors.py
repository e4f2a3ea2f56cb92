"""How many processors this process may keep busy: those it may run on, and the quota of the control groups it is in.

A quota is time, not processors: more threads than it has spend it sooner, and then all of them stand still. Containers
are limited this way by default (`docker run --cpus`, Kubernetes' limits). Nobody else's doing:
`tersely.backends.cpu.busy`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class Group:
    """The folder of a control group that this process is in, or of one that holds it. version: 1 or 2."""

    folder: Path
    version: int

    def quota(self) -> float | None:
        """Processors, None without a limit."""
        try:
            if self.version == 2:
                most, period = (self.folder / "cpu.max").read_text().split()[:2]
            else:
                most = (self.folder / "cpu.cfs_quota_us").read_text()
                period = (self.folder / "cpu.cfs_period_us").read_text()
            return float(most) / float(period) if most != "max" and float(most) > 0 else None
        except (OSError, ValueError, ZeroDivisionError):  # the root has no files of it
            return None

    def stopped_seconds(self) -> float:
        """How long the quota has kept this group standing still since it was made."""
        try:
            pairs = dict(line.split() for line in (self.folder / "cpu.stat").read_text().splitlines())
            return int(pairs["throttled_usec"]) / 1e6 if self.version == 2 else int(pairs["throttled_time"]) / 1e9
        except (OSError, ValueError, KeyError):
            return 0.0


def groups(proc: Path = Path("/proc/self")) -> list[Group]:
    """Innermost first, of both versions; none where the system has no control groups or does not show them."""
    try:
        own = [line.split(":", 2) for line in (proc / "cgroup").read_text().splitlines()]
        mounts = (proc / "mountinfo").read_text().splitlines()
    except OSError:
        return []
    found = []
    for version, root, at in _mounts(mounts):
        paths = [path for _, names, path in own if (names == "" if version == 2 else "cpu" in names.split(","))]
        for path in paths:
            inside = PurePosixPath(path)
            # A container sees its own group as the mount's root, under the path that it has outside.
            below = inside.relative_to(root) if inside.is_relative_to(root) else PurePosixPath()
            while True:
                found.append(Group(at / below, version))
                if below == PurePosixPath():
                    break
                below = below.parent
    return found


def _mounts(lines: list[str]) -> Iterator[tuple[int, PurePosixPath, Path]]:
    """(version, root, mount point) of the mounts that may say how much time groups have."""
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        root, at = (field.encode().decode("unicode_escape") for field in fields[3:5])
        if kind[0] == "cgroup2":
            yield 2, PurePosixPath(root), Path(at)
        elif kind[0] == "cgroup" and "cpu" in kind[-1].split(","):
            yield 1, PurePosixPath(root), Path(at)


@cache
def quota() -> float | None:
    """The least quota of the groups of this process, in processors, as it was when first asked for."""
    if sys.platform != "linux":
        return None
    return min((found for group in groups() if (found := group.quota()) is not None), default=None)


@cache
def max_threads() -> int:
    """Threads that the quota feeds: the nearest integer, at least 1; without a quota more than anybody has."""
    found = quota()
    return sys.maxsize if found is None else max(1, int(found + 0.5))


def allowed() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
