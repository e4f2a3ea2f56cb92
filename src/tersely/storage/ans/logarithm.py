"""Logarithms as integers: what an encoder chooses by them is the same on every machine, as those of floats need not be."""

from __future__ import annotations

import functools
from typing import Final

import numpy as np

from tersely.backends.cpu import native

ONE: Final = 1 << 16
"""A bit: sizes that are compared count in parts of it."""
_PLACES, _STEPS, _FINER = 24, 11, 16
"""Places of an entry of the table, how many of a number's highest bits choose one, and those between two entries."""
_MOST = 1 << 40


@functools.cache
def _table() -> np.ndarray:
    """log2(1 + i / 2^11), a bit of it by each squaring."""
    x = (np.uint64(1) << np.uint64(31)) + (np.arange((1 << _STEPS) + 1, dtype=np.uint64) << np.uint64(31 - _STEPS))
    out = (x >> np.uint64(32)).astype(np.int64) << _PLACES
    x >>= x >> np.uint64(32)
    for place in reversed(range(_PLACES)):
        x = x * x >> np.uint64(31)
        high = x >> np.uint64(32)
        out |= high.astype(np.int64) << place
        x >>= high
    return out


def log2(numbers: np.ndarray) -> np.ndarray:
    """Of integers, at most 2^40, in parts of a bit; 0 for 0."""
    some = np.maximum(numbers.astype(np.int64), 1)
    exponents = np.frexp(some.astype(np.float64))[1].astype(np.int64) - 1
    mantissas = some.astype(np.uint64) << (63 - exponents).astype(np.uint64)
    index = (mantissas >> np.uint64(63 - _STEPS)).astype(np.int64) & (1 << _STEPS) - 1
    rest = (mantissas >> np.uint64(63 - _STEPS - _FINER)).astype(np.int64) & (1 << _FINER) - 1
    table = _table()
    between = table[index] + ((table[index + 1] - table[index]) * rest >> _FINER)
    return exponents * ONE + (between >> _PLACES - 16)


def entropy(counts: np.ndarray) -> int:
    """Bits of symbols that occur so often, under their own frequencies, in parts of a bit. counts: of one table, or of each,
    [tables][symbols]."""
    rows = counts.reshape(-1, counts.shape[-1]).astype(np.int64)
    if native.available():
        return native.module.ans_entropy(rows, rows.shape[1])
    totals = rows.sum(1)
    return int((totals * log2(totals)).sum() - (rows * log2(rows)).sum())


def clamped(number: int) -> int:
    """A number whose logarithm can be taken."""
    return min(number, _MOST)
