"""`sparse`: where words are that are not zero, and those words."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from tersely.codes import checks
from tersely.codes.checks import expect_bytes
from tersely.codes.layouts import Groups, Words
from tersely.codes.node import Formulation, Part, Run, Span, expect_child
from tersely.codes.protocol import Work, is_wide
from tersely.codes.selection.sparse import candidates, costs, reference
from tersely.codes.selection.sparse.layout import (
    BYTES,
    CHILD,
    DTYPES,
    MAX_CODED_BLOCKS,
    NAME,
    WINDOW_ROWS,
    Positions,
    positions_of,
)
from tersely.codes.selection.sparse.values import BY_NAME, ROWS
from tersely.codes.words.dense.formulation import dense
from tersely.core.dtypes import by_name
from tersely.core.encoded import Node, index_bytes, stream_bytes
from tersely.core.errors import CorruptError, UnsupportedError
from tersely.core.geometry import CHUNK_WEIGHTS, PANEL_ROWS, Geometry

# MEASURED with AVX2: 0.22 ns an entry against 0.13 and 0.07 ns for reading a dense word, two threads (`costs`).
SLOW_SHARE = {32: 0.6, 16: 0.3, 8: 0.12}
"""Entries per weight from which gaps are slower than dense words of so many bits."""
SLOW_INDEX_SHARE = {32: 0.18, 16: 0.04}
"""Values per weight from which coded indices are slower than dense words; by `costs`."""


class Sparse(Formulation):
    NAME = NAME
    DTYPES = DTYPES
    HUE = 48
    NEVER_NOISE = True
    OFFERS = candidates
    COSTS = costs
    INDEXES = frozenset({"directory", "rows"})

    @property
    def nests(self) -> Mapping[str, tuple[Formulation, ...]]:
        return {CHILD: (dense, *ROWS)}

    def walks(self, node: Node) -> bool:
        return node.parameters.get("positions") != "gaps"

    def lists(self, node: Node) -> bool:
        return True

    def density(self, part: Part) -> float:
        """What fills segments and lanes up is counted too."""
        positions = part.parameters
        if positions.kind == "n_of_m":
            return float(positions.n / positions.m)
        return int(_starts(part)[-1]) / max(1, part.padded_weights)

    def parse(self, node: Node, dtype: str, layout: Any) -> Positions:
        expect_child(node, CHILD)
        coding = BY_NAME.get(node.children[CHILD].formulation)
        positions = positions_of(node, dtype)
        if coding is not None and dtype not in coding.VALUE_DTYPES:
            raise UnsupportedError(
                f"values of {dtype} under formulation {coding.NAME!r}; the file is damaged or needs a newer tersely"
            )
        return positions

    def sizes(self, parameters: Positions, dtype: str, layout: Geometry) -> Mapping[str, int | None]:
        if parameters.kind == "bitmap":
            return {"masks": stream_bytes(layout.panels * layout.chunks_per_panel * 8), "directory": None}
        if parameters.kind == "n_of_m":
            return {"codes": stream_bytes(layout.panels * parameters.panel_bytes(layout))}
        if parameters.kind == "gaps":
            return {"gaps": None, "rows": index_bytes(layout.panels * PANEL_ROWS), "directory": None}
        return {"upper": None, "lower": None, "directory": None}

    def check(self, part: Part) -> None:
        """Sizes and the directory; never the masks, codes or values."""
        positions, geometry, components = part.parameters, part.layout, part.components
        if positions.kind == "gaps":
            _check_lanes(components["rows"], geometry)
            limit = geometry.chunks_per_panel  # no row has more entries than columns
            limit = min(limit, int(MAX_CODED_BLOCKS)) if _is_coded(part) else limit
            starts = checks.directory_of(
                components, geometry.panels, lambda: np.full(geometry.panels, limit, np.uint64), "blocks"
            )
            expect_bytes(components, "gaps", stream_bytes(int(starts[-1]) * CHUNK_WEIGHTS))
        elif positions.kind != "n_of_m":
            starts = checks.directory_of(
                components, geometry.segments, lambda: geometry.segment_lengths * np.uint64(CHUNK_WEIGHTS), "values"
            )
            if positions.kind == "elias_fano":
                upper = int(positions.upper_starts(geometry, starts)[-1])
                expect_bytes(components, "upper", stream_bytes(upper * 8))
                expect_bytes(components, "lower", stream_bytes(-(-int(starts[-1]) * positions.low_bits // 8)))
            partial = np.flatnonzero(np.diff(starts).astype(np.int64) % CHUNK_WEIGHTS)
            if _is_coded(part) and partial.size:
                where = int(partial[0] + 1) * 8
                raise CorruptError("a segment's values are not whole groups", component="directory", byte=where)

    def child(self, part: Part, name: str) -> tuple[str, Any]:
        starts = _starts(part)
        if _is_coded(part):
            return part.dtype, Groups(np.diff(starts) // CHUNK_WEIGHTS)
        return part.dtype, Words(int(starts[-1]))

    def words(self, part: Part) -> np.ndarray:
        values = part.children[CHILD]
        own, positions = values.row.words(values), part.parameters
        return reference.decode(part.components, part.layout, part.dtype, positions, _starts(part), own)

    def work(self, part: Part) -> Work:
        positions, child = part.parameters, part.children[CHILD]
        coding = BY_NAME.get(child.row.NAME)
        plain = coding is None and positions.kind in ("bitmap", "n_of_m")
        return Work(
            costs.kernel_of(positions, None if coding is None else coding.value_kernel(child)),
            part.layout,
            part.nbytes,
            part.padded_weights,
            0 if plain else int(_starts(part)[-1]),
        )

    def slower_than_dense(self, part: Part, profile: str) -> bool:
        """Gaps with many entries: visiting one costs as much as reading the dense weights around it. Without AVX-512, many
        values whose indices are coded. Integers but gaps and, with AVX-512, bitmaps, both with dense values. Others never
        are.
        """
        positions, bits = part.parameters, by_name(part.dtype).bits
        if part.dtype in BYTES and positions.kind != "gaps":
            by_rows = part.layout.view == "matrix" and part.layout.orientation == "out_in"
            return not (by_rows and positions.kind == "bitmap" and not _is_coded(part) and is_wide(profile))
        if part.dtype in BYTES and _is_coded(part):
            return True
        weights = max(1, math.prod(part.layout.shape))
        if part.children[CHILD].children and not is_wide(profile):
            share = positions.n / positions.m if positions.kind == "n_of_m" else int(_starts(part)[-1]) / weights
            return share > SLOW_INDEX_SHARE[bits]
        return positions.kind == "gaps" and gaps_are_slow(part, part.dtype, profile)

    def samples(self, normal: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
        shape = normal.shape
        for zeros in (0.5, 0.8, 0.95):
            yield f"{zeros:.0%} zeros", np.where(rng.random(shape) < zeros, 0, normal)
        order = np.argsort(np.abs(normal.reshape(shape[0], -1, 4)), axis=2)
        two_of_four = normal.reshape(shape[0], -1, 4).copy()
        np.put_along_axis(two_of_four, order[:, :, :2], 0, axis=2)
        yield "2 of 4", two_of_four.reshape(shape)
        fifteen = np.where(rng.random(shape) < 0.8, 0, rng.integers(15, size=shape) + 1)
        yield "80% zeros of 15 values", fifteen.astype(np.float32)

    def label(self, parameters: Mapping[str, Any], children: Collection[str] = ()) -> str:
        kind = parameters.get("positions")
        return f"{self.NAME} {kind}" if isinstance(kind, str) else self.NAME

    def step(self, part: Part) -> int:
        """Gaps have no segments but windows of 256 rows, whose lanes are sorted together."""
        lanes = part.parameters.kind == "gaps"
        return WINDOW_ROWS // PANEL_ROWS if lanes else int(part.layout.panels_per_unit)

    def slice_panels(self, part: Part, span: Span) -> Run:
        """Masks, codes and lanes stand alone; only directories count from the first one, and low bits of Elias-Fano
        positions begin between bytes."""
        positions, geometry, components = part.parameters, part.layout, part.components

        def own(name: str, size: int, of: tuple[int, int] = span.panels) -> np.ndarray:
            return components[name][of[0] * size : of[1] * size]

        if positions.kind == "n_of_m":
            return Run({"codes": own("codes", positions.panel_bytes(geometry))})
        starts = _starts(part)
        first, last = span.panels if positions.kind == "gaps" else span.segments
        counts = {"directory": np.diff(starts[first : last + 1])}
        if positions.kind == "bitmap":
            return Run({"masks": own("masks", geometry.chunks_per_panel * 8)}, counts=counts)
        if positions.kind == "gaps":
            counts = {"directory": counts["directory"] // CHUNK_WEIGHTS}
            gaps = components["gaps"][int(starts[first]) : int(starts[last])]
            return Run({"gaps": gaps, "rows": own("rows", PANEL_ROWS)}, counts=counts)
        words = positions.upper_starts(geometry, starts.astype(np.uint64)).astype(np.int64)
        upper = own("upper", 8, (int(words[first]), int(words[last])))
        begin, end = (int(starts[place]) * positions.low_bits for place in (first, last))
        bits = np.unpackbits(components["lower"][begin // 8 : -(-end // 8)], bitorder="little")
        return Run({"upper": upper}, {"lower": bits[begin % 8 : begin % 8 + end - begin]}, counts)

    def child_span(self, part: Part, name: str, span: Span) -> Span:
        """Words of dense values, groups of coded ones."""
        segments = span.panels if part.parameters.kind == "gaps" else span.segments
        unit, starts = CHUNK_WEIGHTS if _is_coded(part) else 1, _starts(part)
        first, last = (int(starts[place]) // unit for place in segments)
        return Span((first, last), segments)


def gaps_are_slow(part: Part, dtype: str, profile: str, times: float = 1.0) -> bool:
    """Whether there are so many entries that dense weights of this dtype are faster. times: what an entry takes, in entries
    whose words are at hand."""
    faster = 1.8 if is_wide(profile) and dtype not in BYTES else 1
    weights = max(1, math.prod(part.layout.shape))
    return part.components["gaps"].nbytes / weights * times > SLOW_SHARE[by_name(dtype).bits] * faster


def _is_coded(part: Part) -> bool:
    return part.node.children[CHILD].formulation in BY_NAME


def _starts(part: Part) -> np.ndarray:
    """int64: values before each segment, or before each group of lanes."""
    positions, geometry = part.parameters, part.layout
    if positions.kind == "gaps":
        return part.directory(geometry.panels) * CHUNK_WEIGHTS
    if positions.kind != "n_of_m":
        return part.directory(geometry.segments)
    granule = CHUNK_WEIGHTS if _is_coded(part) else 1
    counts = -(-positions.segment_values(geometry) // granule) * granule
    return np.concatenate([[0], np.cumsum(counts)])


def _check_lanes(rows: np.ndarray, geometry: Geometry) -> None:
    """Every window must hold each of its rows once: then no two lanes write the same row, and every row is found."""
    if not geometry.panels:
        return  # a stack of matrices without rows may have any number of them
    for window in reference.windows(geometry):
        seen = np.bincount(rows[window], minlength=window.stop - window.start)
        if seen.size > window.stop - window.start or (seen != 1).any():
            raise CorruptError("a window does not hold each of its rows once", component="rows", byte=window.start)


sparse = Sparse()
