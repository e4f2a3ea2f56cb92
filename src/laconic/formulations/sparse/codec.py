"""`sparse`: one pass of statistics, exact sizes, encoding; the NumPy reference where the native module is missing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from laconic import native
from laconic.dtypes import by_name
from laconic.encoded import index_bytes, stream_bytes
from laconic.errors import ArgumentError
from laconic.formulations.protocol import Values
from laconic.formulations.sparse import reference
from laconic.formulations.sparse.layout import Positions, node
from laconic.formulations.sparse.values import DENSE, VALUE_BYTES
from laconic.formulations.split.reference import to_chunks
from laconic.geometry import CHUNK_WEIGHTS, Geometry


@dataclass(frozen=True)
class Statistics:
    """What one pass over a tensor finds.

    counts: uint32 [segments], words that are not zero. entries: uint32 [panels * 16], entries of each row as gaps.
    """

    geometry: Geometry
    dtype: str
    counts: np.ndarray
    entries: np.ndarray

    @cached_property
    def nonzero(self) -> int:
        return int(self.counts.sum(dtype=np.int64))

    @cached_property
    def lanes(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of all lanes and blocks of each group, for `deltas`."""
        return reference.sort_lanes(self.entries, self.geometry)

    @property
    def blocks(self) -> int:
        return int(self.lanes[1].sum())

    def component_bytes(self, positions: str) -> dict[str, int]:
        """Stored bytes of each component of a bitmap or of gaps with dense values, as `encode` will make them."""
        geometry, width = self.geometry, by_name(self.dtype).bits // 8
        if positions == "deltas":
            return {
                "gaps": stream_bytes(self.blocks * 64),
                "rows": index_bytes(geometry.panels * 16),
                "directory": index_bytes((geometry.panels + 1) * 8),
                VALUE_BYTES: stream_bytes(self.blocks * 64 * width),
            }
        return {
            "masks": stream_bytes(geometry.panels * geometry.chunks_per_panel * 8),
            "directory": index_bytes((geometry.segments + 1) * 8),
            VALUE_BYTES: stream_bytes(self.nonzero * width),
        }

    def total(self, positions: str) -> int:
        return sum(self.component_bytes(positions).values())


def statistics(words: np.ndarray, geometry: Geometry, dtype: str, threads: int = 1) -> Statistics:
    """words: C-contiguous."""
    counts = np.zeros(geometry.segments, np.uint32)
    entries = np.zeros(geometry.panels * 16, np.uint32)
    if native.module is not None:
        native.module.sparse_statistics(words, native.shape_of(geometry), dtype, counts, entries, threads)
        return Statistics(geometry, dtype, counts, entries)
    chunks, _ = to_chunks(words, geometry)
    for segment, (first, last) in enumerate(geometry.segment_chunks()):
        counts[segment] = np.count_nonzero(chunks[first:last])
    entries[:] = [reference.entries_of(row)[0].size for row in reference.rows_of(words, geometry)]
    return Statistics(geometry, dtype, counts, entries)


def encode(words: np.ndarray, found: Statistics, positions: str, threads: int = 1) -> dict[str, np.ndarray]:
    """Components of C-contiguous words, whose statistics are `found`."""
    geometry, dtype = found.geometry, found.dtype
    if native.module is None:
        return reference.encode(words, geometry, dtype, node(Positions(positions), DENSE))
    components = {name: np.zeros(size, np.uint8) for name, size in found.component_bytes(positions).items()}
    if positions == "deltas":
        lanes, blocks = found.lanes
        components["rows"][: lanes.size] = lanes
        starts = np.cumsum(blocks, dtype="<u8")
        components["directory"].view("<u8")[1 : starts.size + 1] = starts
        native.module.deltas_encode(words, native.shape_of(geometry), dtype, components, threads)
        return components
    starts = np.cumsum(found.counts, dtype="<u8")
    components["directory"].view("<u8")[1 : starts.size + 1] = starts
    native.module.bitmap_encode(words, native.shape_of(geometry), dtype, components, 1, threads)
    return components


def bitmap_parts(words: np.ndarray, found: Statistics, threads: int = 1) -> tuple[dict[str, np.ndarray], Values]:
    """Masks and directory of a bitmap whose values are coded, and these values."""
    geometry, dtype = found.geometry, found.dtype
    groups = -(-found.counts.astype(np.int64) // CHUNK_WEIGHTS)
    if native.module is None:
        masks, parts = reference.encode_masks(words, geometry, dtype)
        values = np.concatenate([np.zeros(0, words.dtype), *map(reference.fill, parts)])
        starts = np.concatenate([[0], np.cumsum(groups * CHUNK_WEIGHTS)]).astype("<u8")
        components = {
            "masks": reference.stored(masks, stream_bytes),
            "directory": reference.stored(starts, index_bytes),
        }
        return components, Values(values, groups, dtype)
    sizes = found.component_bytes("bitmap")
    components = {name: np.zeros(sizes[name], np.uint8) for name in ("masks", "directory")}
    components["directory"].view("<u8")[1 : groups.size + 1] = np.cumsum(groups * CHUNK_WEIGHTS, dtype="<u8")
    values = np.zeros(int(groups.sum()) * CHUNK_WEIGHTS, words.dtype)
    parts = components | {VALUE_BYTES: values.view(np.uint8)}
    native.module.bitmap_encode(words, native.shape_of(geometry), dtype, parts, CHUNK_WEIGHTS, threads)
    return components, Values(values, groups, dtype)


def select_parts(
    words: np.ndarray, geometry: Geometry, dtype: str, positions: Positions, granule: int, threads: int = 1
) -> tuple[dict[str, np.ndarray], np.ndarray] | None:
    """Codes of n_of_m, and all values, each segment's filled up to a multiple of `granule`; None where it does not fit."""
    if native.module is None:
        try:
            codes, parts = reference.encode_codes(words, geometry, dtype, positions)
        except ArgumentError:
            return None
        filled = parts if granule == 1 else map(reference.fill, parts)
        return {"codes": reference.stored(codes, stream_bytes)}, np.concatenate([np.zeros(0, words.dtype), *filled])
    counts = -(-positions.segment_values(geometry) // granule) * granule
    codes = np.zeros(stream_bytes(geometry.panels * positions.panel_bytes(geometry)), np.uint8)
    values = np.zeros(int(counts.sum()), words.dtype)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint64)
    fits = native.module.select_encode(
        words,
        native.shape_of(geometry),
        native_select(dtype, positions, geometry),
        starts,
        granule,
        codes,
        values,
        threads,
    )
    return ({"codes": codes}, values) if fits else None


def native_select(dtype: str, positions: Positions, geometry: Geometry) -> Any:
    """n_of_m as the native module takes it."""
    masks = bytes(sum(1 << column for column in selection) for selection in positions.selections())
    return native.module.SelectParameters(
        dtype, positions.n, positions.m, positions.code_bits, positions.panel_bytes(geometry), masks
    )
