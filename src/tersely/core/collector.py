"""Python's collector of cycles, held off while many objects are made of which none is garbage.

It would look at all of them again and again: half of the time that a file of 100,000 tensors takes to open.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tersely.core import forks


class _Pauses:
    """Pauses of this process. A child of a fork has none: the threads that would end them are not there."""

    def __init__(self) -> None:
        self._began, self._was_on = 0, False
        self._lock = threading.Lock()
        self._process = 0
        forks.renew_in_children(self)

    def renew(self) -> None:
        self._lock = threading.Lock()
        self._process += 1
        if self._began and self._was_on:
            gc.enable()
        self._began = 0

    def begin(self) -> int:
        """Returns the process, for `end`."""
        with self._lock:
            if not self._began:
                self._was_on = gc.isenabled()
                gc.disable()
            self._began += 1
            return self._process

    def end(self, process: int) -> None:
        """End a pause. process: where it began; one that this process was forked amid has ended."""
        with self._lock:
            if process != self._process:
                return
            self._began -= 1
            if not self._began and self._was_on:
                gc.enable()


_pauses = _Pauses()


@contextmanager
def paused() -> Iterator[None]:
    """No collection inside, in any thread; afterwards the collector is as it was. A child forked inside collects.

    Not for work that makes large arrays.
    """
    process = _pauses.begin()
    try:
        yield
    finally:
        _pauses.end(process)
