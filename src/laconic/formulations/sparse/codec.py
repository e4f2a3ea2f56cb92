"""`sparse`: one pass of statistics, exact sizes, encoding; the NumPy reference where the native module is missing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from laconic import native
from laconic.dtypes import by_name
from laconic.encoded import index_bytes, stream_bytes
from laconic.formulations.sparse import reference
from laconic.formulations.sparse.layout import VALUE_BYTES
from laconic.formulations.split.reference import to_chunks
from laconic.geometry import Geometry


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
        """Stored bytes of each component, as `encode` will make them."""
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
        return reference.encode(words, geometry, dtype, positions)
    components = {name: np.zeros(size, np.uint8) for name, size in found.component_bytes(positions).items()}
    if positions == "deltas":
        lanes, blocks = found.lanes
        components["rows"][: lanes.size] = lanes
        starts, run = np.cumsum(blocks, dtype="<u8"), native.module.deltas_encode
    else:
        starts, run = np.cumsum(found.counts, dtype="<u8"), native.module.bitmap_encode
    components["directory"].view("<u8")[1 : starts.size + 1] = starts
    run(words, native.shape_of(geometry), dtype, components, threads)
    return components
