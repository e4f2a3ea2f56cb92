"""Blocks of coder 'differences': of a tensor that is nearly another one, word by word - an average of weights that are
stored too, weights after some more steps of training.

What a word differs by has about one size whatever the weight is, so in units of its last bit it is larger the smaller the
weight: differences are shared out to classes by the exponent of the reference, and each class is a block of whole
numbers by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from tersely.backends.cpu import native
from tersely.core.dtypes import BY_TAG, DType
from tersely.core.errors import CorruptError
from tersely.storage.differences import reference as oracle
from tersely.storage.numbers import Cursor, varints

FLOATS: Final = {"F64": (11, 52), "F32": (8, 23), "F16": (5, 10), "BF16": (8, 7)}
"""Bits of exponent and mantissa of the dtypes that have differences, by tag."""
MAX_CLASSES: Final = 16
_SHARE: Final = 64
"""One part of so many of the elements is enough for a class: docs/decisions/0008-references.md has the sizes."""
_LEAST: Final = 256
"""Elements of the smallest class but for the last: its block has a description."""

Code = Callable[[np.ndarray, DType], bytes]
"""A block of numbers: their bytes, and their dtype."""
Decode = Callable[[memoryview, DType, int], np.ndarray]
"""The bytes of so many numbers of a dtype from their block."""


def numbers_of(dtype: DType) -> DType:
    """The dtype of differences."""
    return BY_TAG[f"U{dtype.bits}"]


def encode(raw: np.ndarray, reference: np.ndarray, dtype: DType, code: Code) -> bytes:
    """What a block has of a tensor behind the number of its reference.

    Args:
        raw: its bytes, uint8.
        reference: those of the reference, as many.
        dtype: of both, one of FLOATS.
        code: of a class.
    """
    counts = _counts(reference, dtype)
    firsts = _chosen(counts)
    sizes = np.add.reduceat(counts, firsts).tolist()
    classes = _classes(firsts, len(counts))
    split, at, blocks = _split(raw, reference, dtype, classes), 0, []
    for size in sizes:
        end = at + size * (dtype.bits // 8)
        blocks.append(code(split[at:end], numbers_of(dtype)) if size else b"")
        at = end
    gaps = [second - first for first, second in itertools.pairwise(firsts)]
    return b"".join([varints([len(firsts) - 1, *gaps, *map(len, blocks)]), *blocks])


def decode(block: memoryview, reference: np.ndarray, dtype: DType, decode_class: Decode) -> np.ndarray:
    """The bytes of a tensor, from what `encode` made. Raises CorruptError."""
    counts = _counts(reference, dtype)
    cursor = Cursor(block)
    firsts = [0]
    for _ in range(cursor.number(MAX_CLASSES - 1, "the number of classes")):
        firsts.append(firsts[-1] + cursor.number(len(counts), "the first exponent of a class"))
        if firsts[-1] == firsts[-2] or firsts[-1] >= len(counts):
            raise CorruptError("a class of exponents that there are not; get the file again")
    lengths = [cursor.number(len(block), "bytes of a class") for _ in firsts]
    sizes = np.add.reduceat(counts, firsts).tolist()
    if sum(lengths) != cursor.left or any(
        (length == 0) != (size == 0) for length, size in zip(lengths, sizes, strict=True)
    ):
        raise CorruptError("classes do not fill the block, or have no block; get the file again")
    parts = [np.empty(0, np.uint8)]
    for length, size in zip(lengths, sizes, strict=True):
        if size:
            parts.append(decode_class(cursor.bytes(length), numbers_of(dtype), size))
    return _joined(np.concatenate(parts), reference, dtype, _classes(firsts, len(counts)))


def _chosen(counts: np.ndarray) -> list[int]:
    """The first exponent of each class: about as many elements in each, none of few."""
    total = int(counts.sum())
    least, firsts, here, left = max(_LEAST, total // _SHARE), [0], 0, total
    for exponent, count in enumerate(counts.tolist()):
        if here >= least and left >= least and len(firsts) < MAX_CLASSES:
            firsts.append(exponent)
            here = 0
        here, left = here + count, left - count
    return firsts


def _classes(firsts: Sequence[int], exponents: int) -> np.ndarray:
    """The class of each exponent."""
    return (np.searchsorted(firsts, np.arange(exponents), "right") - 1).astype(np.uint8)


def _bits(dtype: DType) -> tuple[int, int, int]:
    return (dtype.bits // 8, *FLOATS[dtype.tag])


def _counts(reference: np.ndarray, dtype: DType) -> np.ndarray:
    """How often each exponent occurs."""
    word_bytes, exponent, mantissa = _bits(dtype)
    if native.available():
        counts = np.zeros(1 << exponent, np.int64)
        native.module.difference_exponents(reference, word_bytes, exponent, mantissa, counts)
        return counts
    return np.bincount(oracle.exponents(reference.view(dtype.word), exponent, mantissa), minlength=1 << exponent)


def _split(raw: np.ndarray, reference: np.ndarray, dtype: DType, classes: np.ndarray) -> np.ndarray:
    word_bytes, exponent, mantissa = _bits(dtype)
    if native.available():
        out = np.empty(raw.size, np.uint8)
        native.module.difference_split(raw, reference, word_bytes, exponent, mantissa, classes, out)
        return out
    words, near = raw.view(dtype.word), reference.view(dtype.word)
    return oracle.difference(words, near)[oracle.order(near, exponent, mantissa, classes)].view(np.uint8)


def _joined(differences: np.ndarray, reference: np.ndarray, dtype: DType, classes: np.ndarray) -> np.ndarray:
    word_bytes, exponent, mantissa = _bits(dtype)
    out = np.empty(reference.size, np.uint8)
    if native.available():
        native.module.difference_join(differences, reference, word_bytes, exponent, mantissa, classes, out)
        return out
    near = reference.view(dtype.word)
    lying = np.empty(near.size, dtype.word)
    lying[oracle.order(near, exponent, mantissa, classes)] = differences.view(dtype.word)
    out[:] = oracle.undone(lying, near).view(np.uint8)
    return out
