"""Work behind its caller: in order, whoever does it, and what it raises comes out."""

from __future__ import annotations

import threading

import pytest

from tersely.files.behind import Behind


@pytest.mark.parametrize("threads", [1, 2])
def test_work_is_done_in_order(threads: int) -> None:
    done: list[int] = []
    with Behind(threads) as behind:
        for number in range(50):  # some too large to wait
            behind.do(1 << (10 + number % 20), lambda number=number: done.append(number))  # type: ignore[misc]
        behind.finish()
    assert done == list(range(50))


@pytest.mark.parametrize("threads", [1, 2])
def test_what_work_raises_comes_out(threads: int) -> None:
    def fail() -> None:
        raise ValueError("no room")

    def work() -> None:
        with Behind(threads) as behind:
            behind.do(1, fail)
            behind.finish()

    with pytest.raises(ValueError, match="no room"):
        work()


def test_work_that_waits_is_not_counted_again_and_again() -> None:
    """Many small pieces of work: what each keeps in memory is added once."""

    class Counted(int):
        added = 0

        def __add__(self, other: int) -> int:
            Counted.added += 1
            return int(self) + other

        __radd__ = __add__

    gate = threading.Event()
    with Behind(2) as behind:
        behind.do(0, lambda: gate.wait() and None)
        for _ in range(200):
            behind.do(Counted(1), lambda: None)
        gate.set()
        behind.finish()
    assert Counted.added <= 3 * 200
