"""Arrays that codes are made for. Each maker: (rng, shape, dtype, orientation, kind) -> array; kind counts its variants.

Makers of bits take every word that a code may hold, NaN payloads, infinities, -0.0 and subnormals among them; makers of
weights take finite ones, for products.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from support import affine_weights, row_palette_weights, sparse_forms
from support.arrays import normal, random_bits

Maker = Callable[[np.random.Generator, tuple[int, ...], np.dtype, str, int], np.ndarray]
Shape = tuple[int, ...]


def any_bits(rng: np.random.Generator, shape: Shape, dtype: np.dtype, orientation: str, kind: int) -> np.ndarray:
    if dtype == np.bool_:
        return rng.integers(2, size=shape).astype(bool)
    return random_bits(rng, shape, dtype)


def drawn(rng: np.random.Generator, shape: Shape, dtype: np.dtype, orientation: str, kind: int) -> np.ndarray:
    return normal(rng, shape, dtype)


def exponents(rng: np.random.Generator, shape: Shape, dtype: np.dtype, orientation: str, kind: int) -> np.ndarray:
    """As drawn, any bits, one value, precision that is hidden: of the whole, of half of the panels."""
    plain = normal(rng, shape, dtype)
    if kind == 1:
        return random_bits(rng, shape, dtype)
    if kind == 2:
        return np.full(shape, plain.reshape(-1)[:1].sum() + 1).astype(dtype)
    if dtype != np.float32 or kind == 0:
        return plain
    if kind == 3:
        return (plain.view(np.uint32) & 0xFFFF0000).view(np.float32)
    half = plain.astype(np.float16).astype(np.float32)
    if kind == 5 and len(shape) == 2 and shape[0] > 32:
        half[:16] = plain[:16]
    return half


def pruned_bits(form: str) -> Maker:
    def make(rng: np.random.Generator, shape: Shape, dtype: np.dtype, orientation: str, kind: int) -> np.ndarray:
        zeros = (0.9, 0.5, 1.0, 0.0, 0.999)[kind]
        return sparse_forms.fit(sparse_forms.pruned(rng, shape, dtype, zeros), form, orientation)

    return make


def pruned_weights(form: str) -> Maker:
    def make(rng: np.random.Generator, shape: Shape, dtype: np.dtype, orientation: str, kind: int) -> np.ndarray:
        zeros = (0.93, 0.5, 1.0)[kind]
        if dtype.kind in "iu":
            plain = sparse_forms.quantised(rng, shape, dtype, zeros, 40)
        else:
            plain = normal(rng, shape, dtype)
            plain[rng.random(shape) < zeros] = 0
        return sparse_forms.fit(plain, form, orientation)

    return make


def around(rng: np.random.Generator, shape: Shape, dtype: np.dtype, spread: float) -> np.ndarray:
    """Integers about a middle, with both ends of the dtype where they are spread widely."""
    limits = np.iinfo(dtype)
    middle = limits.max // 2 - 5 if dtype.kind == "u" else 3
    return np.clip(np.rint(rng.standard_normal(shape) * spread + middle), limits.min, limits.max).astype(dtype)


def integers(rng: np.random.Generator, shape: Shape, dtype: np.dtype, orientation: str, kind: int) -> np.ndarray:
    return around(rng, shape, dtype, (10, 0.4, 0.0, 25, 3, 0.15 * np.iinfo(dtype).max)[kind])


def near_integers(rng: np.random.Generator, shape: Shape, dtype: np.dtype, orientation: str, kind: int) -> np.ndarray:
    """In a range of 256 neighbours, whatever the dtype."""
    return (
        np.clip(around(rng, shape, dtype, (10, 0.0)[kind]), *(np.iinfo(dtype).max // 2 + np.array((-120, 100)))).astype(
            dtype
        )
        if dtype.kind == "u"
        else np.clip(around(rng, shape, dtype, (10, 0.0)[kind]), -120, 120).astype(dtype)
    )


def nibbles(rng: np.random.Generator, shape: Shape, dtype: np.dtype, orientation: str, kind: int) -> np.ndarray:
    """Two values of 4 bits a byte, signed ones or others."""
    middle = (0, 8)[kind]
    low, high = (np.clip(np.rint(rng.standard_normal(shape) * 1.6 + middle), middle - 8, middle + 7) for _ in range(2))
    return ((low.astype(np.int64) & 15) | (high.astype(np.int64) & 15) << 4).astype(dtype)


SIZES = (16, 3, 40, 5, 256, 1, 9, 17, 2, 100)
"""Distinct words of palettes: a few for every number of bits."""


def few_words(rng: np.random.Generator, shape: Shape, words: np.ndarray, skew: float = 0.3) -> np.ndarray:
    """Weights drawn from a few words; with a skew, the first of them far more often."""
    share = np.exp(-skew * np.arange(words.size))
    return rng.choice(words, size=shape, p=share / share.sum())


def few_bits(rng: np.random.Generator, shape: Shape, dtype: np.dtype, orientation: str, kind: int) -> np.ndarray:
    words = random_bits(rng, (SIZES[kind] - (SIZES[kind] == 256),), dtype).view(f"u{dtype.itemsize}")
    return np.asarray(few_words(rng, shape, words)).view(dtype).reshape(shape)


def few_weights(rng: np.random.Generator, shape: Shape, dtype: np.dtype, orientation: str, kind: int) -> np.ndarray:
    return np.asarray(few_words(rng, shape, normal(rng, (SIZES[kind],), dtype), 0.0)).astype(dtype)


def grid(rng: np.random.Generator, shape: Shape, dtype: np.dtype, orientation: str, kind: int) -> np.ndarray:
    """scale (number - zero), even or normal, two numbers neighbours; a scale of one bit for 16 bits."""
    size = SIZES[kind]
    numbers = rng.integers(size, size=shape)
    if kind % 2:
        numbers = np.clip(np.rint(rng.standard_normal(shape) * 9 + size / 2), 0, size - 1).astype(int)
    if size > 1 and numbers.size > 1:
        numbers.reshape(-1)[:2] = size // 2, size // 2 - 1
    zero = int(rng.integers(size))
    scale = np.float32(rng.random() * 0.1 + 1e-4) if dtype == np.float32 else np.float32(2.0**-6)
    return ((numbers - zero).astype(np.float32) * scale).astype(dtype)


def scaled(columns: int) -> Maker:
    def make(rng: np.random.Generator, shape: Shape, dtype: np.dtype, orientation: str, kind: int) -> np.ndarray:
        """Numbers of 4, 2, 1, 3 and 8 bits times scales; zeros of either sign, zero points in some."""
        bits = (4, 2, 1, 3, 8)[kind]
        if bits == 8 and (columns or shape[-1] < 64 or dtype.itemsize == 2):
            bits = 4  # too few weights of too many levels to tell their scale
        return affine_weights.quantised(
            rng,
            shape,
            dtype,
            bits,
            0 if len(shape) == 4 else columns,
            scale_dtype=dtype,
            zeros=kind in (1, 3),
            negative=kind in (0, 2),
            orientation=orientation,
        )

    return make


def pruned_scales(columns: int) -> Maker:
    def make(rng: np.random.Generator, shape: Shape, dtype: np.dtype, orientation: str, kind: int) -> np.ndarray:
        """Most weights 0.0, the others as quantising leaves them: symmetric, with zeros of their own, one number, none."""
        kept = rng.random(shape) < (0.25, 0.1, 0.5, 0.0)[kind]
        array = affine_weights.quantised(
            rng,
            shape,
            dtype,
            (4, 4, 1, 4)[kind],
            0 if len(shape) == 4 else columns,
            scale_dtype=dtype,
            zeros=kind == 1,
            orientation=orientation,
        )
        if kind == 1:
            array = np.abs(array) * np.array(0.125, dtype)
            array[array == array.max()] *= np.array(32, dtype)  # more than signed bytes count from zero on
        return np.where(kept, array, np.zeros((), dtype))

    return make


def pruned_bytes(columns: int) -> Maker:
    def make(rng: np.random.Generator, shape: Shape, dtype: np.dtype, orientation: str, kind: int) -> np.ndarray:
        """Most weights 0.0, the others as rounding to integers leaves them: as large as signed bytes, small, none."""
        width = 0 if len(shape) == 4 else columns
        array = affine_weights.quantised(rng, shape, dtype, 4, width, scale_dtype=dtype, orientation=orientation)
        if kind == 0:
            array = (rng.choice((-128, -64, -1, 1, 32, 127), shape) * 2.0**-9).astype(dtype)
        return np.where(rng.random(shape) < (0.1, 0.3, 0.0)[kind], array, np.zeros((), dtype))

    return make


def pruned_tables(columns: int) -> Maker:
    def make(rng: np.random.Generator, shape: Shape, dtype: np.dtype, orientation: str, kind: int) -> np.ndarray:
        """A few words a row, or for so many of its columns, beside the 0.0 that most weights are."""
        length = int(np.prod(shape[1:])) if len(shape) == 4 else shape[-2] if orientation == "in_out" else shape[-1]
        entries = min((12, 3, 100, 1)[kind], max(1, (columns or length) // 4 - 1))
        array = row_palette_weights.shared(rng, shape, dtype, entries, columns, orientation=orientation)
        return np.where(rng.random(shape) < (0.25, 0.1, 0.5, 0.0)[kind], array, np.zeros((), dtype))

    return make


def tables(columns: int) -> Maker:
    def make(rng: np.random.Generator, shape: Shape, dtype: np.dtype, orientation: str, kind: int) -> np.ndarray:
        """16, 3, 1, 100, 2 or 5 words a row, or 4 in so many of its columns."""
        length = int(np.prod(shape[1:])) if len(shape) == 4 else shape[-2] if orientation == "in_out" else shape[-1]
        entries = min((16, 3, 1, 100, 2, 5)[kind], max(1, (columns or length) // 4))
        return row_palette_weights.shared(rng, shape, dtype, entries, columns, orientation=orientation)

    return make


def blocky(rng: np.random.Generator, shape: Shape, dtype: np.dtype, orientation: str, kind: int) -> np.ndarray:
    """Any bits, with empty and repeated rows, and empty blocks of several sizes."""
    return _blocky(rng, random_bits(rng, shape, dtype), (0.6, 1.0, 0.0)[kind])


def blocky_weights(rng: np.random.Generator, shape: Shape, dtype: np.dtype, orientation: str, kind: int) -> np.ndarray:
    if kind:
        return np.full(shape, (0.0, 0.25)[kind - 1], dtype)
    array = around(rng, shape, dtype, 40) if dtype.kind in "iu" else normal(rng, shape, dtype)
    array = array.reshape(shape[0], -1)
    array[rng.random(len(array)) < 0.4] = array[0]
    mask = np.kron(rng.random((-(-array.shape[0] // 16), -(-array.shape[1] // 4))) < 0.5, np.ones((16, 4), bool))
    array[~mask[: array.shape[0], : array.shape[1]]] = 0
    array[rng.random(len(array)) < 0.2] = 0
    return array.reshape(shape)


def _blocky(rng: np.random.Generator, array: np.ndarray, kept: float) -> np.ndarray:
    if not array.size:
        return array
    shape, dtype = array.shape, array.dtype
    array = array.copy().reshape(shape[0] if shape else 1, -1)
    rows, columns = array.shape
    array[rng.random(rows) < 0.3] = array[0]
    array = array[:, np.minimum(np.arange(columns), rng.integers(1, 1 + columns))]
    mask = np.kron(rng.random((-(-rows // 16), -(-columns // 4))) < kept, np.ones((16, 4), bool))[:rows, :columns]
    array = np.where(mask, array, np.zeros((), dtype))
    array[:, rng.random(columns) > kept] = 0
    array[rng.random(rows) > kept] = 0
    return np.ascontiguousarray(array.reshape(shape))


def holed(kept: str) -> Maker:
    def make(rng: np.random.Generator, shape: Shape, dtype: np.dtype, orientation: str, kind: int) -> np.ndarray:
        """What a code can hold, with empty rows and columns, so that what is kept needs no padding."""
        array = normal(rng, shape, dtype)
        if kept == "sparse":
            array = np.where(rng.random(shape) < 0.6, np.zeros((), dtype), array)
        elif kept in ("palette", "row_palette", "affine"):
            array = (rng.choice(np.array((-3, -1, 0, 1, 3), np.float32), shape) * np.float32(0.3)).astype(dtype)
        elif kind:
            array = random_bits(rng, shape, dtype).copy()
        array[1::3] = 0
        array[:, 1::4] = 0
        return array

    return make


def holed_integers(kept: str) -> Maker:
    def make(rng: np.random.Generator, shape: Shape, dtype: np.dtype, orientation: str, kind: int) -> np.ndarray:
        """Rows and columns are empty, rows alone, columns alone; what is left is what the code is for."""
        array = around(rng, shape, dtype, (20, 0.1 * np.iinfo(dtype).max, 3)[kind])
        if kept == "sparse":
            array = np.where(rng.random(shape) < 0.8, np.zeros((), dtype), array)
        if kept == "block_sparse" and len(shape) == 2:
            array[:16, : shape[1] // 2] = 0
        if kind != 2:
            array[1::3] = 0
        if kind != 1:
            array[:, 1::4] = 0
        return array

    return make


def signed(clean: Maker) -> Maker:
    def make(rng: np.random.Generator, shape: Shape, dtype: np.dtype, orientation: str, kind: int) -> np.ndarray:
        """Half of the zeros negative, or all of them."""
        array = np.array(clean(rng, shape, dtype, orientation, kind))
        words = array.view(f"u{dtype.itemsize}")
        signs = (words << 1 == 0) & (rng.random(shape) < (0.5 if kind % 2 else 2.0))
        return np.where(signs, words.dtype.type(1 << 8 * dtype.itemsize - 1), words).view(dtype)

    return make
