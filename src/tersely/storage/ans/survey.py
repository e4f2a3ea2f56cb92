"""What the encoder counts before it chooses: by the native module, or by NumPy where there is none."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tersely.backends.cpu import native
from tersely.storage.ans.description import CLASS_ZERO, MAX_SYMBOLS, MAX_TABLES, Description
from tersely.storage.ans.reference import symbols_of, tables_of, values_of, words_of

MAX_HEAD_BITS = 16
"""Heads of more bits are not counted one by one."""


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

    def heads(self, raw: int) -> tuple[np.ndarray, int, int]:
        """How often each head occurs, above `raw` bits; how many values are 0; how many of head 0 are not."""
        # Words of 16 bits are counted once : what is wanted first is sums of what is wanted later.
        fine = 0 if self.width <= MAX_HEAD_BITS else raw
        if fine not in self._heads:
            self._heads[fine] = self._counted(fine)
        counts, zeros = self._heads[fine]
        if fine != raw:
            counts = counts.reshape(1 << self.width - raw, -1).sum(1, dtype=np.int64)
        return counts, zeros, int(counts[0]) - zeros

    def _counted(self, raw: int) -> tuple[np.ndarray, int]:
        count = 1 << self.width - raw
        if native.available():
            out = np.zeros(count, np.uint32)
            zeros = native.module.ans_heads(
                self.words, self.words.dtype.itemsize, self.rotated, self.trim, raw, out, self.workers
            )
            return out if raw == 0 else out.astype(np.int64), zeros  # of 16 bits, few are looked at
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

    def part(self, step: int) -> Surveyed:
        """One word in `step`."""
        return Surveyed(np.ascontiguousarray(self.words[::step]), self.rotated, self.trim, self.workers)

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


def axis_sums(symbols: np.ndarray, sizes: np.ndarray, dims: tuple[int, ...]) -> list[np.ndarray]:
    """The sums of symbols' sizes (integers of 16 bits), by coordinate of each axis."""
    rows, columns = np.zeros(dims[0], np.int64), np.zeros(len(symbols) // dims[0], np.int64)
    if native.available():
        native.module.ans_sum_sizes(symbols, sizes.astype(np.int16), rows, columns)
    else:
        matrix = sizes.astype(np.int64)[symbols].reshape(len(rows), len(columns))
        rows, columns = matrix.sum(1), matrix.sum(0)
    others = range(len(dims) - 1)
    inner = columns.reshape(dims[1:])
    return [rows, *(inner.sum(axis=tuple(other for other in others if other != axis)) for axis in others)]


def counts(
    symbols: np.ndarray, dims: tuple[int, ...], classes: list[np.ndarray | None], base: int, tables: int, kinds: int
) -> np.ndarray:
    """How often each of `kinds` symbols is coded by each table: [tables][kinds]."""
    if native.available():
        out = np.zeros((MAX_TABLES, MAX_SYMBOLS), np.uint32)
        some = [one for one in classes if one is not None]
        native.module.ans_count(
            symbols,
            np.array(dims, np.int64),
            np.array([one is not None for one in classes], np.uint8),
            np.concatenate([np.zeros(0, np.int8), *some]),
            base,
            tables,
            out,
        )
        return out[:tables, :kinds].astype(np.int64)
    d = Description(dims=dims, classes=classes, base=base, logs=np.zeros((tables, 1), np.uint8))
    which = tables_of(d).astype(np.int64)
    return np.bincount(which * kinds + symbols, minlength=tables * kinds).reshape(tables, kinds)


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
