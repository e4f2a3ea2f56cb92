"""Work behind its caller: in order, whoever does it, and what it raises comes out."""

from __future__ import annotations

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
