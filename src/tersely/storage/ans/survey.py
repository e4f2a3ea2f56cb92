"""What the encoder counts before it chooses: by the native module, or by NumPy where there is none."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np

from tersely.backends.cpu import native
from tersely.storage.ans.description import CLASS_ZERO, MAX_SYMBOLS, Description
from tersely.storage.ans.logarithm import ONE
from tersely.storage.ans.reference import symbols_of, values_of, words_of

MAX_HEAD_BITS = 16
"""Heads of more bits are not counted one by one."""
_EVEN_SHARE = 96
"""Of so many distinct ones in a hundred that noise would have, words do not repeat."""
_SAMPLE, _RUN = 1 << 13, 16
"""About so many words are a sample, runs of so many."""


@dataclass
class Surveyed:
    """Words that are looked at: unsigned, the sign turned to the lowest bit where `rotated`, `trim` bits left out.

    In place of words, numbers in a palette may be looked at.
    """

    words: np.ndarray
    rotated: bool
    trim: int
    workers: int
    _heads: dict[int, tuple[np.ndarray, int]] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Bits of a value."""
        return self.words.dtype.itemsize * 8 - self.trim

    def values(self) -> np.ndarray:
        """The values, 64 bits wide."""
        return values_of(self.words, Description(trim=self.trim), self.rotated)

    def heads(self, raw: int) -> tuple[np.ndarray, int]:
        """How often each head occurs, above `raw` bits; how many values are 0."""
        if raw not in self._heads:
            finer = min((one for one in self._heads if one < raw), default=None)
            if finer is None:
                self._heads[raw] = self._counted(raw)
            else:
                counts, zeros = self._heads[finer]
                self._heads[raw] = counts.reshape(1 << self.width - raw, -1).sum(1, dtype=np.int64), zeros
        return self._heads[raw]

    def _counted(self, raw: int) -> tuple[np.ndarray, int]:
        count = 1 << self.width - raw
        if native.available():
            out = np.zeros(count, np.uint32)
            zeros = native.module.ans_heads(
                self.words, self.words.dtype.itemsize, self.rotated, self.trim, raw, out, self.workers
            )
            return out, zeros
        values = self.values()
        return np.bincount((values >> np.uint64(raw)).astype(np.int64), minlength=count), int((values == 0).sum())

    def numbers(self, palette: np.ndarray) -> np.ndarray:
        """The number of each word's value in a palette, which has all of them."""
        words, dtype = self.words, np.uint8 if len(palette) <= MAX_SYMBOLS else np.uint16
        if words.dtype.itemsize == 2:
            every = Surveyed(np.arange(1 << 16, dtype=np.uint16), self.rotated, self.trim, 1).values()
            return np.searchsorted(palette, every).astype(dtype)[words]
        if native.available() and words.dtype.itemsize == 4 and len(palette) <= MAX_SYMBOLS:
            out = np.empty(len(words), np.uint8)
            table = words_of(palette, Description(trim=self.trim), self.rotated, words.dtype)
            native.module.palette_indices(words, words.dtype.itemsize, table, out, self.workers)
            return out
        return np.searchsorted(palette, self.values()).astype(dtype)

    def even(self, raw: int) -> bool:
        """Whether a sample of values repeats as seldom as if the `raw` bits below heads were noise: then no palette pays."""
        some = Surveyed(np.ascontiguousarray(self.sample.words[::2]), self.rotated, self.trim, self.workers)
        if native.available():
            distinct, expected = native.module.ans_distinct(
                some.words, some.words.dtype.itemsize, self.rotated, self.trim, raw
            )
        else:
            values = some.values()
            known, often = np.unique(values[values != 0], return_counts=True)
            head = np.unique(known >> np.uint64(raw), return_inverse=True)[1]
            each = np.bincount(head, often).astype(np.int64)
            distinct, expected = len(known), int(_distinct_of_noise(raw, int(each.max(initial=0)))[each].sum())
        return 100 * ONE * distinct >= _EVEN_SHARE * expected

    @functools.cached_property
    def sample(self) -> Surveyed:
        """Some of the words, from all over."""
        some = self.words
        if (step := len(some) // _SAMPLE) > 1:
            some = some[: len(some) // _RUN * _RUN].reshape(-1, _RUN)[::step].reshape(-1)
        return Surveyed(some, self.rotated, self.trim, self.workers)

    def lowest(self, bits: int, nonzero: bool) -> np.ndarray:
        """How often values have each number in their lowest `bits` bits, of at most 8; nonzero: those other than 0."""
        if native.available():
            out = np.zeros(1 << bits, np.uint32)
            native.module.ans_lowest(
                self.words, self.words.dtype.itemsize, self.rotated, self.trim, bits, nonzero, out, self.workers
            )
            return out.astype(np.int64)
        values = self.values()
        if nonzero:
            values = values[values != 0]
        return np.bincount((values & np.uint64((1 << bits) - 1)).astype(np.int64), minlength=1 << bits)

    def symbols(self, d: Description) -> np.ndarray:
        """The symbol of each word, as the description cuts them."""
        bits = self.width - d.raw
        if not native.available() or bits > MAX_HEAD_BITS:
            cut = Description(trim=self.trim, raw=d.raw, zero=d.zero, starts=d.starts, extras=d.extras)
            return symbols_of(self.values(), cut)[0]
        first = int(d.zero)
        by_head = np.cumsum(np.bincount(np.array(d.starts[first:], np.int64), minlength=1 << bits)) - 1 + first
        out = np.empty(len(self.words), np.uint8)
        native.module.ans_symbols(
            self.words,
            self.words.dtype.itemsize,
            self.rotated,
            self.trim,
            d.raw,
            d.zero,
            np.clip(by_head, 0, MAX_SYMBOLS - 1).astype(np.uint8),
            out,
            self.workers,
        )
        return out


@functools.lru_cache(maxsize=8)
def _distinct_of_noise(raw: int, most: int) -> np.ndarray:
    """How many distinct ones so many random numbers of `raw` bits have, in 1/65536, for 0 to `most` of them."""
    found = [0]
    for _ in range(most):
        found.append(found[-1] + ONE - (found[-1] >> raw))
    return np.array(found, np.int64)


def repeats(data: np.ndarray, word: int) -> int:
    """Of runs of 8 bytes that begin with a word, one in 32 by its hash: how many have been there before."""
    if native.available():
        return native.module.ans_repeats(data, word)
    windows = (
        np.lib.stride_tricks.sliding_window_view(data, 8)[::word] if len(data) >= 8 else np.zeros((0, 8), np.uint8)
    )
    runs = np.ascontiguousarray(windows).view("<u8").reshape(-1)
    runs = runs[runs * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(59) == 0]
    return len(runs) - len(np.unique(runs))


def few_words(words: np.ndarray, workers: int) -> np.ndarray | None:
    """The distinct words in any order where there are at most 256; else None."""
    if native.available() and words.dtype.itemsize in (2, 4):
        found, often = np.zeros(256, np.uint32), np.zeros(256, np.uint64)
        count = native.module.palette_count(words, words.dtype.itemsize, found, often, workers)
        return None if count < 0 else found[:count].astype(words.dtype)
    some = np.unique(words[:4096])
    if len(some) > 256:
        return None
    every = np.unique(words)
    return every if len(every) <= 256 else None


assert CLASS_ZERO <= 16, "sums of classes of all axes are kept in bytes"
