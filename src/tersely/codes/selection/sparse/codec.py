"""`sparse`: one pass of statistics, exact sizes, encoding; the NumPy reference where the native module is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tersely.backends.cpu import native
from tersely.codes.selection.sparse import reference
from tersely.codes.selection.sparse.layout import MAX_CODED_BLOCKS, MAXIMUM_LOW_BITS, VALUE_BYTES, Positions, node
from tersely.codes.words.dense.formulation import NODE as DENSE
from tersely.codes.words.split.reference import to_chunks
from tersely.core.dtypes import by_name
from tersely.core.encoded import index_bytes, stored, stream_bytes
from tersely.core.errors import ArgumentError
from tersely.core.geometry import CHUNK_WEIGHTS, Geometry


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
        """Rows of all lanes and blocks of each group, for `gaps`."""
        return reference.sort_lanes(self.entries, self.geometry)

    @property
    def blocks(self) -> int:
        return int(self.lanes[1].sum())

    def component_bytes(self, positions: str) -> dict[str, int]:
        """Stored bytes of each component of a bitmap or of gaps with dense values, as `encode` will make them."""
        geometry, width = self.geometry, by_name(self.dtype).bits // 8
        if positions == "gaps":
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
    if native.available():
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
    if not native.available():
        return reference.encode(words, geometry, dtype, node(Positions(positions), DENSE))
    components = {name: np.zeros(size, np.uint8) for name, size in found.component_bytes(positions).items()}
    if positions == "gaps":
        lanes, blocks = found.lanes
        components["rows"][: lanes.size] = lanes
        starts = np.cumsum(blocks, dtype="<u8")
        components["directory"].view("<u8")[1 : starts.size + 1] = starts
        native.module.gaps_encode(words, native.shape_of(geometry), dtype, components, threads)
        return components
    starts = np.cumsum(found.counts, dtype="<u8")
    components["directory"].view("<u8")[1 : starts.size + 1] = starts
    native.module.bitmap_encode(words, native.shape_of(geometry), dtype, components, 1, threads)
    return components


def bitmap_of(
    words: np.ndarray, found: Statistics, granule: int = CHUNK_WEIGHTS, threads: int = 1
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Masks and directory of a bitmap, and all values, each segment's filled up to a multiple of `granule`."""
    geometry, dtype = found.geometry, found.dtype
    starts = np.cumsum([0, *(-(-found.counts.astype(np.int64) // granule) * granule)], dtype="<u8")
    if not native.available():
        masks, pieces = reference.encode_masks(words, geometry, dtype)
        filled = pieces if granule == 1 else map(reference.fill, pieces)
        values = np.concatenate([np.zeros(0, words.dtype), *filled])
        return {
            "masks": stored(masks, stream_bytes),
            "directory": stored(starts, index_bytes),
        }, values
    components = {
        "masks": np.zeros(found.component_bytes("bitmap")["masks"], np.uint8),
        "directory": stored(starts, index_bytes),
    }
    values = np.zeros(int(starts[-1]), words.dtype)
    outputs = components | {VALUE_BYTES: values.view(np.uint8)}
    native.module.bitmap_encode(words, native.shape_of(geometry), dtype, outputs, granule, threads)
    return components, values


def lanes_of(
    words: np.ndarray, found: Statistics, threads: int = 1
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray] | None:
    """Components of gaps without the values, the values, and blocks of each group; None where one has too many."""
    blocks = found.lanes[1]
    if blocks.max(initial=0) > MAX_CODED_BLOCKS:
        return None
    components = encode(words, found, "gaps", threads)
    values = components.pop(VALUE_BYTES)[: found.blocks * CHUNK_WEIGHTS * words.itemsize].view(words.dtype)
    return components, values, blocks


def elias_fano_sizes(geometry: Geometry, starts: np.ndarray) -> tuple[Positions, dict[str, int]]:
    """The low bits that make the positions smallest, and the bytes of their components. starts: the directory's entries."""

    def sizes(positions: Positions) -> dict[str, int]:
        return {
            "upper": stream_bytes(int(positions.upper_starts(geometry, starts)[-1]) * 8),
            "lower": stream_bytes(-(-int(starts[-1]) * positions.low_bits // 8)),
            "directory": index_bytes((geometry.segments + 1) * 8),
        }

    found = [Positions("elias_fano", low_bits=bits) for bits in range(MAXIMUM_LOW_BITS + 1)]
    best = min(found, key=lambda positions: sum(sizes(positions).values()))
    return best, sizes(best)


def elias_fano_of(bitmap: Mapping[str, np.ndarray], geometry: Geometry, positions: Positions) -> dict[str, np.ndarray]:
    """The components of the same positions as a bitmap's."""
    masks = bitmap["masks"][: geometry.panels * geometry.chunks_per_panel * 8].reshape(-1, 8)
    starts = bitmap["directory"][: (geometry.segments + 1) * 8].view("<u8")
    upper, lower = reference.encode_elias_fano(masks, geometry, positions, starts)
    return {
        "upper": stored(upper, stream_bytes),
        "lower": stored(lower, stream_bytes),
        "directory": bitmap["directory"],
    }


def selection_of(
    words: np.ndarray, geometry: Geometry, dtype: str, positions: Positions, granule: int, threads: int = 1
) -> tuple[dict[str, np.ndarray], np.ndarray] | None:
    """Codes of n_of_m, and all values, each segment's filled up to a multiple of `granule`; None where it does not fit."""
    if not native.available():
        try:
            codes, pieces = reference.encode_codes(words, geometry, dtype, positions)
        except ArgumentError:
            return None
        filled = pieces if granule == 1 else map(reference.fill, pieces)
        return {"codes": stored(codes, stream_bytes)}, np.concatenate([np.zeros(0, words.dtype), *filled])
    counts = -(-positions.segment_values(geometry) // granule) * granule
    codes = np.zeros(stream_bytes(geometry.panels * positions.panel_bytes(geometry)), np.uint8)
    values = np.zeros(int(counts.sum()), words.dtype)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint64)
    fits = native.module.n_of_m_encode(
        words,
        native.shape_of(geometry),
        dtype,
        json.dumps(positions.to_json()),
        starts,
        granule,
        codes,
        values,
        threads,
    )
    return ({"codes": codes}, values) if fits else None
