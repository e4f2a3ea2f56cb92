"""Python's collector of cycles, held off while many objects are made of which none is garbage.

It would look at all of them again and again: half of the time that a file of 100,000 tensors takes to open.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside = 0
_was_on = False


@contextmanager
def paused() -> Iterator[None]:
    """No collection inside, in any thread; afterwards the collector is as it was.

    Not for work that makes large arrays.
    """
    global _inside, _was_on
    with _lock:
        if not _inside:
            _was_on = gc.isenabled()
            gc.disable()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and _was_on:
                gc.enable()
