"""What peers for matrices of few values have in common: words of an array, its distinct ones, and how a tensor is a matrix.

A word is the bits of a weight as an unsigned integer, so -0.0 is not zero and every NaN is itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

MAX_DISTINCT = 1 << 16
NUMBERS = ("float32", "float16", "bfloat16", "int8", "uint8")
"""Dtypes that a product is made of, all exact in float32."""


def words_of(array: np.ndarray) -> np.ndarray:
    """The words of an array in the order of its elements."""
    return np.ascontiguousarray(array).reshape(-1).view(f"u{array.dtype.itemsize}")


def as_matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns: the first dimension and all others; what has no second one is one row."""
    if len(shape) < 2:
        return 1, int(np.prod(shape))
    return shape[0], int(np.prod(shape[1:]))


def has_few(words: np.ndarray, limit: int) -> bool:
    """Whether at most `limit` different words occur. Most tensors that have more of them are known by their beginning."""
    return all(len(np.unique(part)) <= limit for part in (words[: 16 * limit], words))


def by_frequency(words: np.ndarray, limit: int = MAX_DISTINCT) -> tuple[np.ndarray, np.ndarray]:
    """The words that occur, the most frequent first, and indices into them as uint16.

    Raises:
        ValueError: more than `limit` of them occur.
    """
    if not has_few(words[: 16 * limit], limit):
        raise ValueError(_many(limit))
    if words.itemsize <= 2:
        counts = np.bincount(words, minlength=1)
        table = np.flatnonzero(counts).astype(words.dtype)
        counts = counts[table]
        places = np.zeros(int(words.max(initial=0)) + 1, np.int64)
        places[table] = np.arange(len(table))
        of_sorted = places[words]
    else:
        table, of_sorted, counts = np.unique(words, return_inverse=True, return_counts=True)
    if len(table) > limit:
        raise ValueError(_many(limit))
    order = np.argsort(-counts, kind="stable")
    indices = np.empty(len(table), np.uint16)
    indices[order] = np.arange(len(table), dtype=np.uint16)
    return table[order], indices[of_sorted.reshape(-1)]


def _many(limit: int) -> str:
    return f"at most {limit} distinct values are taken, and the tensor has more; quantise it first"


def with_fillers(gaps: np.ndarray, span: int) -> tuple[np.ndarray, np.ndarray]:
    """Gaps below `span`, and which of them are the given ones; the others end in a weight that is zero, a filler."""
    own = np.cumsum(gaps // span + 1) - 1
    found = np.full(int(own[-1]) + 1 if len(own) else 0, span - 1, np.int64)
    found[own] = gaps % span
    return found, own


def index_dtype(largest: int) -> Any:
    """The smaller one of 16 and 32 bits that holds integers up to `largest`."""
    return np.uint16 if largest < 1 << 16 else np.uint32


def values_of(table: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Words of a dtype as the numbers that they are, in float32."""
    with np.errstate(invalid="ignore"):  # a NaN that signals is one that does not, then
        return np.ascontiguousarray(table.view(dtype).astype(np.float32))


def row_of(x: np.ndarray, dtype: np.dtype) -> np.ndarray | None:
    """x as what a product multiplies by, one row of float32; None where it is not, or weights are no such numbers."""
    if len(x) != 1 or x.dtype != np.float32 or dtype.name not in NUMBERS:
        return None
    return np.ascontiguousarray(x[0])
