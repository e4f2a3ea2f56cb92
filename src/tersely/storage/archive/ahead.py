"""Blocks decoded before they are asked for, by as many workers as there are, while somebody reads them in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from tersely.core import forks

_BYTES = 1 << 26
"""Most bytes that lie decoded and have not been asked for: a part of the bound of memory."""

Decode = Callable[[int, int], list[np.ndarray]]
"""A block's items, from its number and the number of workers."""


class ReadAhead:
    """Gives blocks by number. Not for several threads at once: its caller holds a lock."""

    def __init__(self, decode: Decode, sizes: Sequence[int], threads: int) -> None:
        """sizes: decoded bytes of each block."""
        self._decode, self._sizes, self._threads = decode, sizes, threads
        self.renew()
        forks.renew_in_children(self)

    def renew(self) -> None:
        """No workers, and nothing that they were to do."""
        self._workers: ThreadPoolExecutor | None = None
        self._running: dict[int, Future[list[np.ndarray]]] = {}
        self._last = -2

    def get(self, number: int) -> list[np.ndarray]:
        """A block. One that follows the last one lets workers begin with those after it."""
        in_order = number in self._running or number == self._last + 1
        self._last = number
        if not in_order:
            self.stop()
        if self._threads > 1 and in_order:
            self._begin(number)
        running = self._running.pop(number, None)
        return self._decode(number, self._threads) if running is None else running.result()

    def _begin(self, first: int) -> None:
        """Have workers decode from a block on, as far as memory goes."""
        if self._workers is None:
            self._workers = ThreadPoolExecutor(self._threads, "tersely-blocks")
        for number in [one for one in self._running if one < first]:
            self._running.pop(number).cancel()
        total, number = 0, first
        while number < len(self._sizes) and number - first <= self._threads:
            total += self._sizes[number]
            if number > first and total > _BYTES:
                break
            if number not in self._running:
                self._running[number] = self._workers.submit(self._decode, number, 1)
            number += 1

    def stop(self) -> None:
        """Forget what nobody has asked for."""
        for running in self._running.values():
            running.cancel()
        self._running.clear()
