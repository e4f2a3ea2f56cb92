"""Work that is done behind its caller, in order: hashing and writing one tensor while the next is decoded and coded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

_BYTES = 1 << 25
"""Most bytes that wait: a part of the bound of memory. What has more is not left for later."""


class Behind:
    """Does what it is given one after another, on a thread of its own where there are several workers.

    A context manager. What a piece of work raises comes out of a later call, at the latest of `finish`.
    """

    def __init__(self, threads: int) -> None:
        """threads: workers; with one, everything is done at once."""
        self._worker = ThreadPoolExecutor(1, "tersely-behind") if threads > 1 else None
        self._waiting: deque[tuple[int, Future[None]]] = deque()
        self._held = 0

    def __enter__(self) -> Behind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._worker is not None:
            self._worker.shutdown(cancel_futures=True)

    def do(self, nbytes: int, work: Callable[[], None]) -> None:
        """Have something done after all that was given before. nbytes: that it keeps in memory until then."""
        if self._worker is None:
            work()
            return
        while self._waiting and (nbytes + self._held > _BYTES or self._waiting[0][1].done()):
            self._take()
        if nbytes > _BYTES:
            work()
        else:
            self._waiting.append((nbytes, self._worker.submit(work)))
            self._held += nbytes

    def finish(self) -> None:
        """Return when all is done."""
        while self._waiting:
            self._take()

    def _take(self) -> None:
        size, first = self._waiting.popleft()
        self._held -= size
        first.result()
