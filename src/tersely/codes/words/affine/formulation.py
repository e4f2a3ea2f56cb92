"""`affine`: scale x (number - zero), by rows or groups of their columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tersely.codes import checks
from tersely.codes.node import INFO, Part, Run, Span
from tersely.codes.protocol import Work, is_wide
from tersely.codes.selection.sparse.formulation import gaps_are_slow
from tersely.codes.words.affine import candidates, costs, reference
from tersely.codes.words.affine.layout import (
    DIRECTORY,
    MAX_SCALE,
    MAX_ZERO,
    MIN_SCALE,
    NAME,
    NEGATIVE_ZERO,
    NUMBERS,
    SCALES,
    SIGNED_ZERO,
    SIGNS,
    ZEROS,
    Scaling,
)
from tersely.codes.words.affine.row_fields import RowFields, sparse_work
from tersely.codes.words.affine.sparse_numbers import GAPS, is_sparse, positions
from tersely.core.dtypes import by_name
from tersely.core.encoded import Node, stream_bytes
from tersely.core.errors import CorruptError
from tersely.core.geometry import CHUNK_WEIGHTS, PANEL_ROWS

GROUPED_ENTRY = 2.6
"""MEASURED on Zen 4 like the figures of `costs`: an entry of gaps whose row has several scales, in entries of gaps."""
MAX_FLOAT16 = 65504.0
"""The largest of its numbers."""


class Affine(RowFields):
    NAME = NAME
    HUE = 20
    NEVER_NOISE = True
    OFFERS = candidates
    COSTS = costs
    CHILD, SPARSE_DTYPE = NUMBERS, "int8"
    INDEXES = frozenset({SCALES, ZEROS, DIRECTORY})

    def walks(self, node: Node) -> bool:
        return all(child.parameters.get("positions") != "gaps" for child in node.children.values())

    def parse(self, node: Node, dtype: str, layout: Any) -> Scaling:
        scaling = Scaling.parse(node)
        self.check_node(node, layout, positions(signed=scaling.zero == SIGNED_ZERO))
        if scaling.signed_zeros and NUMBERS in node.children and is_sparse(node.children[NUMBERS]):
            raise CorruptError("sparse numbers have no signs of zeros; get the file again", component=INFO)
        return scaling

    def sizes(self, parameters: Scaling, dtype: str, layout: Any) -> Mapping[str, int | None]:
        found: dict[str, int | None] = dict(parameters.component_bytes(layout))
        return found | (dict.fromkeys((SIGNS, DIRECTORY)) if parameters.signed_zeros else {})

    def check(self, part: Part) -> None:
        """Sizes, the directory, scales and zeros; never numbers or signs."""
        _check_scales(part)
        geometry = part.layout
        if part.parameters.signed_zeros:
            starts = checks.directory_of(
                part.components,
                geometry.segments,
                lambda: geometry.segment_lengths * np.uint64(CHUNK_WEIGHTS // 8),
                "signs",
            )
            checks.expect_bytes(part.components, SIGNS, stream_bytes(int(starts[-1])))

    def words(self, part: Part) -> np.ndarray:
        numbers, sparse = self.numbers(part), part.only is not None and is_sparse(part.only.node)
        return reference.decode(part.components, part.layout, part.dtype, part.parameters, numbers, from_zero=sparse)

    def work(self, part: Part) -> Work:
        scaling, geometry = part.parameters, part.layout
        numbers, entries = sparse_work(part)
        kernel = costs.Kernel(scaling.bits, scaling.columns, numbers)
        return Work(kernel, geometry, part.nbytes, scaling.padded_weights(geometry), entries)

    def slower_than_dense(self, part: Part, profile: str) -> bool:
        """Coded numbers: symbol by symbol without AVX-512, and with it for more bytes than 16-bit weights have to spare.
        Sparse ones: under masks those of 16-bit weights, which are rounded one by one, Elias-Fano positions, many gaps and,
        without AVX-512, coded values.
        """
        if part.only is not None and is_sparse(part.only.node):
            if part.only.children["values"].only is not None and not is_wide(profile):
                return True
            if part.only.parameters.kind == GAPS:
                return gaps_are_slow(part.only, part.dtype, profile, GROUPED_ENTRY if part.parameters.columns else 1.0)
            return part.only.parameters.kind != "bitmap" or part.dtype != "float32"
        return part.only is not None and not (is_wide(profile) and part.dtype == "float32")

    def samples(self, normal: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
        for bits, columns in ((4, normal.shape[1]), (8, normal.shape[1]), (4, 128), (4, 32)):
            yield f"{bits} bits by {columns}", quantised(normal, bits, columns)
        pruned = np.where(rng.random(normal.shape) < 0.8, 0, quantised(normal, 8, normal.shape[1]))
        yield f"8 bits by {normal.shape[1]}, 80% zeros", pruned.astype(np.float32)

    def slice_panels(self, part: Part, span: Span) -> Run:
        scaling, components, geometry = part.parameters, part.components, part.layout
        first, last = (panel * scaling.groups(geometry) * PANEL_ROWS for panel in span.panels)
        size = by_name(scaling.dtype).bits // 8
        streams = {SCALES: components[SCALES][first * size : last * size]}
        if scaling.zero is None:
            streams[ZEROS] = components[ZEROS][first * 2 : last * 2]
        counts = {}
        if scaling.signed_zeros:
            starts = part.directory(geometry.segments, DIRECTORY)[span.segments[0] : span.segments[1] + 1]
            streams[SIGNS] = components[SIGNS][int(starts[0]) : int(starts[-1])]
            counts[DIRECTORY] = np.diff(starts)
        return Run(streams | dict(super().slice_panels(part, span).streams), counts=counts)


def quantised(weights: np.ndarray, bits: int, columns: int) -> np.ndarray:
    """Rounded to integers times a scale, one for so many columns of a row or all, and back."""
    columns = min(columns, weights.shape[1])
    grouped, largest = weights.reshape(len(weights), -1, columns), 2 ** (bits - 1) - 1
    scales = np.abs(grouped).max(axis=2, keepdims=True) / np.float32(largest)
    # Adding zero makes -0.0 of what was rounded to it 0.0.
    return (np.rint(grouped / scales) * scales + np.float32(0)).reshape(weights.shape)


def _check_scales(part: Part) -> None:
    """Raises CorruptError for scales and zeros out of range, alone or, in float16, together."""
    scaling, components = part.parameters, part.components
    count, kind = scaling.all_groups(part.layout) * PANEL_ROWS, by_name(scaling.dtype)
    scales = reference.values_of(components[SCALES][: count * kind.bits // 8].view(kind.word), scaling.dtype)
    if scaling.zero is None:
        zeros = components[ZEROS][: count * 2].view("<i2").astype(np.int64)
    else:
        zeros = np.array([scaling.zero])
    taken = (zeros == NEGATIVE_ZERO) & scaling.signed_zeros
    wrong = np.flatnonzero((np.abs(zeros) > MAX_ZERO) | taken)
    if wrong.size:
        component, byte = (INFO, None) if scaling.zero is not None else (ZEROS, int(wrong[0]) * 2)
        raise CorruptError(f"zero {wrong[0]} is out of range: {zeros[wrong[0]]}", component=component, byte=byte)
    fits = (scales >= MIN_SCALE) & (scales <= MAX_SCALE)
    if part.dtype == "float16":
        fits &= scales * (NEGATIVE_ZERO + np.abs(zeros)).astype(np.float32) <= MAX_FLOAT16
    wrong = np.flatnonzero(~fits)
    if wrong.size:
        byte = int(wrong[0]) * kind.bits // 8
        raise CorruptError(f"scale {wrong[0]} is out of range: {scales[wrong[0]]}", component=SCALES, byte=byte)


affine = Affine()
