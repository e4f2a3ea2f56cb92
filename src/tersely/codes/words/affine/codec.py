"""`affine`: what a tensor's words are made of, exact sizes, encoding; the NumPy reference where the native module is missing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from tersely.backends.cpu import native
from tersely.codes.words.affine import reference
from tersely.codes.words.affine.layout import (
    DIRECTORY,
    DTYPES,
    NEGATIVE_ZERO,
    NUMBERS,
    SCALES,
    SIGNED_ZERO,
    SIGNS,
    ZEROS,
    Scaling,
    side_by_side,
)
from tersely.codes.words.affine.row_fields import BITS, columns_tried, pack
from tersely.core.encoded import index_bytes, stored, stream_bytes
from tersely.core.geometry import PANEL_ROWS, Geometry

MIN_COLUMNS = 16
"""Rows of fewer columns are not looked at: a scale would stand beside next to nothing."""


@dataclass(frozen=True)
class Scaled:
    """A tensor whose words are scale x (number - zero). words: C-contiguous.

    scales: float32 [groups, 16]; zeros: int16 likewise; scaling.dtype is one that holds all of the scales, scaling.bits
    what numbers, up to `max_number`, need in row fields.
    """

    words: np.ndarray
    dtype: str
    geometry: Geometry
    scaling: Scaling
    scales: np.ndarray
    zeros: np.ndarray
    max_number: int
    threads: int = 1

    @cached_property
    def _numbers(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Numbers, and whether each weight is -0.0, where any is."""
        columns, signed = self.scaling.columns, self.scaling.signed_zeros
        if not native.available():
            numbers, negative = reference.numbers_of(
                self.words, self.geometry, self.dtype, columns, self.scales, self.zeros, self.max_number
            )
            return numbers, negative.astype(np.uint8) if signed else None
        numbers = np.empty(self.words.shape, np.uint8)
        marks = np.empty(self.words.shape, np.uint8) if signed else None
        shape, scales, zeros = native.shape_of(self.geometry), self.scales.reshape(-1), self.zeros.reshape(-1)
        if not native.module.affine_numbers(
            self.words, self.dtype, shape, columns, scales, zeros, self.max_number, numbers, marks, self.threads
        ):
            raise RuntimeError("the words changed while they were encoded")
        return numbers, marks

    @property
    def numbers(self) -> np.ndarray:
        """uint8 in the tensor's shape."""
        return self._numbers[0]

    @cached_property
    def sparse(self) -> tuple[np.ndarray, Scaling]:
        """uint8 in the tensor's shape, number - zero modulo 256, which a sparse child has; and how the node says so.

        Where the differences fit signed bytes, any zero gives them, and `SIGNED_ZERO` is the one that kernels need not add.
        """
        steps = reference.from_zeros(self.numbers, self.geometry, self.scaling.columns, self.zeros)
        fits = steps.min() >= -SIGNED_ZERO and steps.max() < SIGNED_ZERO
        scaling = replace(self.scaling, bits=None)
        return steps.astype(np.uint8), replace(scaling, zero=SIGNED_ZERO) if fits else scaling

    @cached_property
    def _signs(self) -> tuple[np.ndarray, np.ndarray | None]:
        """uint64 [segments + 1], bytes before each segment's signs; the signs themselves where they are made with them."""
        numbers, negative = self._numbers
        assert negative is not None
        columns, zeros = self.scaling.columns, self.zeros
        if not native.available():
            return reference.signs_of(numbers, negative.astype(bool), self.geometry, columns, zeros)
        lengths = np.empty(self.geometry.segments, np.uint64)
        native.module.affine_signs(
            numbers,
            negative,
            native.shape_of(self.geometry),
            columns,
            zeros.reshape(-1),
            lengths,
            None,
            None,
            self.threads,
        )
        return np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64), None

    def component_bytes(self, scaling: Scaling) -> dict[str, int]:
        """Stored bytes of each component but coded numbers, as `components` will make them."""
        sizes = scaling.component_bytes(self.geometry)
        if scaling.signed_zeros:
            starts = self._signs[0]
            sizes |= {SIGNS: stream_bytes(int(starts[-1])), DIRECTORY: index_bytes(starts.nbytes)}
        return sizes

    def components(self, scaling: Scaling, threads: int) -> dict[str, np.ndarray]:
        """All components but coded numbers. scaling: the tensor's own, or that without bits."""
        raw = reference.words_of(self.scales, scaling.dtype)
        found = {SCALES: stored(raw, index_bytes)}
        if scaling.zero is None:
            found[ZEROS] = stored(self.zeros.astype("<i2"), index_bytes)
        if scaling.bits is not None:
            found[NUMBERS] = pack(self.numbers, self.geometry, scaling.bits, threads)
        if scaling.signed_zeros:
            starts, signs = self._signs
            if signs is None:
                signs = self._write_signs(starts, threads)
            found |= {SIGNS: stored(signs, stream_bytes), DIRECTORY: stored(starts, index_bytes)}
        return found

    def _write_signs(self, starts: np.ndarray, threads: int) -> np.ndarray:
        numbers, negative = self._numbers
        assert negative is not None
        signs, lengths = np.zeros(int(starts[-1]), np.uint8), np.empty(self.geometry.segments, np.uint64)
        shape, columns, zeros = native.shape_of(self.geometry), self.scaling.columns, self.zeros.reshape(-1)
        native.module.affine_signs(numbers, negative, shape, columns, zeros, lengths, starts, signs, threads)
        return signs


def find_scales(words: np.ndarray, geometry: Geometry, dtype: str, threads: int = 1) -> Scaled | None:
    """One scale for each row, or for the longest groups of a row's columns that have one; None where none have."""
    if not words.size or geometry.view == "folded" or geometry.columns < MIN_COLUMNS:
        return None
    tried = (scales_of_groups(words, geometry, dtype, columns, threads) for columns in columns_tried(geometry))
    return next((found for found in tried if found is not None), None)


def scales_of_groups(
    words: np.ndarray, geometry: Geometry, dtype: str, columns: int, threads: int = 1
) -> Scaled | None:
    """So many columns a group, 0 for all of a row; None where they have no such scales, or there are no weights."""
    if not words.size:
        return None
    scaling = Scaling(columns, dtype, None, False, None)
    shape = (scaling.all_groups(geometry), PANEL_ROWS)
    if native.available():
        scales = {kind: np.empty(shape, np.float32) for kind in DTYPES}
        low, high = np.empty(shape, np.int16), np.empty(shape, np.int16)
        negative = native.module.affine_fit(
            words,
            dtype,
            native.shape_of(geometry),
            columns,
            scales["float32"].reshape(-1),
            scales["bfloat16"].reshape(-1),
            scales["float16"].reshape(-1),
            low.reshape(-1),
            high.reshape(-1),
            threads,
        )
        if negative is None:
            return None
    else:
        found = reference.fit(words, geometry, dtype, columns)
        if found is None:
            return None
        scales = {kind: side_by_side(own, geometry, 1.0) for kind, own in found[0].items()}
        low, high = side_by_side(found[1], geometry, 0), side_by_side(found[2], geometry, 0)
        negative = found[3]
    limit = NEGATIVE_ZERO - 1 if negative else NEGATIVE_ZERO
    lengths = high.astype(int) - low
    if lengths.max() > limit:
        return None  # no number is left for -0.0
    # One zero for all where it costs no bits; else every group counts from its lowest number on.
    lowest, span = int(low.min()), int(high.max()) - int(low.min())
    common = span <= limit and span.bit_length() == int(lengths.max()).bit_length()
    zeros = np.full_like(low, -lowest) if common else (-low).astype(np.int16)
    if negative and (zeros == NEGATIVE_ZERO).any():
        return None  # it would stand for -0.0 and be a zero, too
    kinds = sorted(DTYPES, key=lambda kind: (kind == "float32", kind != dtype))
    kind = next(kind for kind in kinds if not np.isnan(scales[kind]).any())
    used = span if common else int(lengths.max())
    bits = next(bits for bits in BITS if used >> bits == 0)
    scaling = Scaling(columns, kind, -lowest if common else None, bool(negative), bits)
    return Scaled(words, dtype, geometry, scaling, scales[kind], zeros, used, threads)
