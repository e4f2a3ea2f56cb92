"""What the encoder counts before it chooses: by the native module, or by NumPy where there is none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tersely.backends.cpu import native
from tersely.storage.ans.description import CLASS_ZERO, MAX_SYMBOLS, MAX_TABLES, Description
from tersely.storage.ans.reference import symbols_of, tables_of, values_of

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

    @property
    def width(self) -> int:
        """Bits of a value."""
        return self.words.dtype.itemsize * 8 - self.trim

    def values(self) -> np.ndarray:
        """The values, 64 bits wide."""
        return values_of(self.words, Description(trim=self.trim), self.rotated)

    def heads(self, raw: int) -> tuple[np.ndarray, int, int]:
        """How often each head occurs, above `raw` bits; how many values are 0; how many of head 0 are not."""
        count = 1 << self.width - raw
        if native.available():
            out = np.zeros(count, np.uint32)
            zeros = native.module.ans_heads(
                self.words, self.words.dtype.itemsize, self.rotated, self.trim, raw, out, self.workers
            )
        else:
            values = self.values()
            out = np.bincount((values >> np.uint64(raw)).astype(np.int64), minlength=count).astype(np.uint32)
            zeros = int((values == 0).sum())
        return out.astype(np.int64), zeros, int(out[0]) - zeros

    def part(self, step: int) -> Surveyed:
        """One word in `step`."""
        return Surveyed(np.ascontiguousarray(self.words[::step]), self.rotated, self.trim, self.workers)

    def lowest(self, bits: int, nonzero: bool) -> np.ndarray:
        """How often values have each number in their lowest `bits` bits, of at most 8; nonzero: those other than 0."""
        words, top = self.words, self.words.dtype.itemsize * 8 - 1
        if self.rotated:
            whole = words >> words.dtype.type(self.trim) << words.dtype.type(1)
            whole = whole | words >> words.dtype.type(top)
        else:
            whole = words >> words.dtype.type(self.trim)
        if nonzero:
            whole = whole[whole != 0]
        return np.bincount(whole.astype(np.uint8) & np.uint8((1 << bits) - 1), minlength=1 << bits)

    def symbols(self, d: Description) -> np.ndarray:
        """The symbol of each word, as the description cuts them."""
        bits = self.width - d.raw
        if not native.available() or bits > MAX_HEAD_BITS:
            cut = Description(trim=self.trim, raw=d.raw, zero=d.zero, starts=d.starts, extras=d.extras)
            return symbols_of(self.values(), cut)[0]
        first = int(d.zero)
        by_head = np.searchsorted(np.array(d.starts[first:]), np.arange(1 << bits), side="right") - 1 + first
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


def axis_sums(symbols: np.ndarray, sizes: np.ndarray, dims: tuple[int, ...], axis: int) -> np.ndarray:
    """The sums of symbols' sizes (integers of 16 bits), by coordinate of an axis."""
    outer = int(np.prod(dims[:axis], dtype=np.int64))
    inner = int(np.prod(dims[axis + 1 :], dtype=np.int64))
    if native.available():
        out = np.zeros(dims[axis], np.int64)
        native.module.ans_axis_sums(symbols, sizes.astype(np.int16), outer, inner, out)
        return out
    return sizes.astype(np.int64)[symbols].reshape(outer, dims[axis], inner).sum(axis=(0, 2))


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


def numbers(words: np.ndarray, table: np.ndarray, workers: int) -> np.ndarray:
    """The number of each word in a table of at most 256 words, which has all of them."""
    if native.available() and words.dtype.itemsize in (2, 4):
        out = np.empty(len(words), np.uint8)
        native.module.palette_indices(words, words.dtype.itemsize, table.astype(np.uint32), out, workers)
        return out
    order = np.argsort(table, kind="stable")
    return order[np.searchsorted(table[order], words)].astype(np.uint8)


assert CLASS_ZERO <= 16, "sums of classes of all axes are kept in bytes"
