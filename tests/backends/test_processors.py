"""Threads by default, under affinity and under quotas of control groups of both versions; machines that are busy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tersely.backends.cpu import busy, processors, threads
from tersely.report.bench import Row, notes


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Quotas are read once; other tests choose a number of threads."""
    monkeypatch.setattr(threads, "_chosen", None)
    kept = (processors.quota, processors.most_threads)

    def forget() -> None:
        for one in kept:
            one.cache_clear()
        threads._limit = 0

    forget()
    yield
    forget()


class Machine:
    """/proc/self and mounted control groups, made of files."""

    def __init__(self, root: Path) -> None:
        self.root, self.proc = root, root / "proc"
        self.proc.mkdir()
        self.paths: list[str] = []
        self.mounts: list[str] = ["21 1 0:5 / /proc rw - proc proc rw", "broken line"]
        self._write()

    def mount(self, version: int, path: str, seen_as: str = "/", controllers: str = "cpu,cpuacct") -> Path:
        """The folder of a mount whose root is the group `seen_as`; the process is in the group `path`."""
        at = self.root / f"mount {len(self.mounts)}"  # mountinfo writes blanks as octal
        at.mkdir()
        name = "" if version == 2 else controllers
        self.paths.append(f"{len(self.paths)}:{name}:{path}")
        kind = "cgroup2 cgroup2 rw" if version == 2 else f"cgroup cgroup rw,{controllers}"
        self.mounts.append(f"30 1 0:26 {seen_as} {str(at).replace(' ', chr(92) + '040')} rw,relatime shared:4 - {kind}")
        self._write()
        return at

    def _write(self) -> None:
        (self.proc / "cgroup").write_text("\n".join(self.paths) + "\n")
        (self.proc / "mountinfo").write_text("\n".join(self.mounts) + "\n")

    def quota(self) -> float | None:
        found = [group.quota() for group in processors.groups(self.proc)]
        return min((one for one in found if one is not None), default=None)


def limit(folder: Path, version: int, most: str, period: str = "100000") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if version == 2:
        (folder / "cpu.max").write_text(f"{most} {period}\n")
    else:
        (folder / "cpu.cfs_quota_us").write_text(f"{'-1' if most == 'max' else most}\n")
        (folder / "cpu.cfs_period_us").write_text(f"{period}\n")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, None),
        ({"": "max", "a": "max", "a/b": "max"}, None),
        ({"a/b": "150000"}, 1.5),
        ({"a": "50000", "a/b": "max"}, 0.5),
        ({"a": "300000", "a/b": "200000"}, 2.0),
        ({"": "100000", "a": "300000", "a/b": "200000"}, 1.0),
        ({"a/c": "100000", "d": "100000"}, None),
        ({"a/b": "garbage"}, None),
    ],
)
def test_quotas_of_nested_groups(tmp_path: Path, version: int, limits: dict[str, str], expected: float | None) -> None:
    machine = Machine(tmp_path)
    at = machine.mount(version, "/a/b")
    for path, most in limits.items():
        limit(at / path, version, most)
    assert machine.quota() == expected


@pytest.mark.parametrize("version", [1, 2])
def test_a_container_sees_its_group_as_the_root_of_the_mount(tmp_path: Path, version: int) -> None:
    machine = Machine(tmp_path)
    limit(machine.mount(version, "/docker/abc", seen_as="/docker/abc"), version, "250000")
    assert machine.quota() == 2.5


def test_both_versions_at_once_and_mounts_without_processors(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.mount(1, "/a", controllers="memory")
    limit(machine.mount(1, "/b") / "b", 1, "400000")
    limit(machine.mount(2, "/c") / "c", 2, "300000")
    assert machine.quota() == 3.0


def test_systems_without_control_groups(tmp_path: Path) -> None:
    assert processors.groups(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("quota", "expected"), [(0.2, 1), (1.0, 1), (1.4, 1), (1.5, 2), (2.0, 2), (3.7, 4), (None, 64)]
)
def test_threads_default_to_the_smaller(monkeypatch: pytest.MonkeyPatch, quota: float | None, expected: int) -> None:
    monkeypatch.setattr(processors, "quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delenv("TERSELY_NUM_THREADS", raising=False)
    assert threads.get_num_threads() == expected
    source, count = threads.source_and_count()
    assert count == expected
    assert ("quota" in source) == (quota is not None)
    monkeypatch.setenv("TERSELY_NUM_THREADS", "7")  # who says it gets it
    assert threads.get_num_threads() == 7


def test_torch_and_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    class Torch:
        count = 8

        @classmethod
        def get_num_threads(cls) -> int:
            return cls.count

    monkeypatch.setattr(processors, "quota", lambda: 2.0)
    monkeypatch.setitem(sys.modules, "torch", Torch)
    monkeypatch.delenv("TERSELY_NUM_THREADS", raising=False)
    assert (threads.get_num_threads(), threads.source_and_count()[1]) == (2, 2)
    Torch.count = 1
    assert threads.source_and_count() == ("torch.get_num_threads()", 1)
    assert threads.get_num_threads() == 1


def test_the_quota_of_a_real_group() -> None:
    group = Path("/sys/fs/cgroup/cpu/tersely-test")
    try:
        group.mkdir()
        limit(group, 1, "5000")
    except OSError as error:
        pytest.skip(f"control groups cannot be made here: {error}")
    code = f"""
import pathlib, os
pathlib.Path({str(group)!r}, "cgroup.procs").write_text(str(os.getpid()))
from tersely.backends.cpu import busy, processors, threads
watch = busy.Watch()
while watch.load().seconds < 0.4: pass
print(processors.quota(), threads.get_num_threads(), "quota" in watch.troubles(1))
"""
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    finally:
        group.rmdir()
    assert done.stdout.split() == ["0.05", "1", "True"]


def load(others: float = 0.0, *, allowed: int = 2, stolen: float = 0.0, stopped: float = 0.0) -> busy.Load:
    return busy.Load(1.0, allowed, others, stolen, stopped)


@pytest.mark.parametrize(
    ("found", "count", "said"),
    [
        (load(), 2, ""),
        (load(0.1), 2, ""),
        (load(0.97), 2, "other processes used 0.97 of its 2 processors"),
        (load(0.97), 1, ""),
        (load(1.5), 1, "other processes used 1.50 of its 2 processors"),
        (load(0.5, allowed=64), 64, "other processes"),
        (load(1.0, allowed=64), 32, ""),
        (load(stolen=0.4), 2, "the hypervisor kept back 0.40"),
        (load(stopped=0.34), 1, "stopped it for 34% of the time"),
        (load(5.0, allowed=4, stolen=1.0, stopped=0.5), 4, "hypervisor"),
    ],
)
def test_what_is_busy(found: busy.Load, count: int, said: str) -> None:
    troubles = found.troubles(count)
    assert said in troubles
    assert bool(said) == bool(troubles)


def test_a_watch_sees_others_and_not_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tick = os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2})
    own = [10.0]
    monkeypatch.setattr(os, "times", lambda: (own[0], 0.0, 0.0, 0.0, 0.0))
    clock = [100.0]
    monkeypatch.setattr(busy.time, "monotonic", lambda: clock[0])

    def stat(first: float, third: float, stolen: float) -> None:
        (tmp_path / "stat").write_text(
            f"cpu 9 9 9 9 9 9 9 9 0 0\ncpu0 {first * tick:.0f} 0 0 7 7 0 0 0 0 0\ncpu1 99999 0 0 7 7 0 0 99999 0 0\n"
            f"cpu2 0 {third * tick:.0f} 0 7 7 0 0 {stolen * tick:.0f} 0 0\nintr 5\n"
        )

    stat(50, 60, 1)
    watch = busy.Watch(tmp_path)
    own[0] += 3
    clock[0] += 4
    stat(53, 62, 2)
    found = watch.load()
    assert (found.seconds, found.allowed, found.others, found.stolen) == (4.0, 2, 0.5, 0.25)
    assert "other processes used 0.50 of its 2 processors" in watch.troubles(2)


def test_systems_without_proc_say_nothing(tmp_path: Path) -> None:
    found = busy.Watch(tmp_path / "nowhere").load()
    assert (found.others, found.stolen) == (0, 0)


def test_rows_measured_beside_others_are_void() -> None:
    row = Row("w", 1, "speed", "split", 12.0, 1.0, 1.0, "own", None, 0.99, "avx2", 2)
    disturbed = Row("w", 1, "speed", "split", 12.0, 1.0, 1.0, "own", None, 0.99, "avx2", 2, "others did")
    assert not row.void
    assert disturbed.void
    assert "(void)" in " ".join(disturbed.cells())
    assert "others did" in " ".join(notes([row, disturbed]))
