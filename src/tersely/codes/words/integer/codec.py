"""`integer`: statistics, bits and base of every group, exact sizes, encoding; NumPy without native module."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tersely.backends.cpu import native
from tersely.codes.words.integer import reference
from tersely.codes.words.integer.layout import ESCAPE_BYTES, MAX_BITS, field_bytes, flip, unit_panels
from tersely.codes.words.split.reference import to_chunks
from tersely.core.encoded import index_bytes, stream_bytes
from tersely.core.geometry import Geometry


@dataclass(frozen=True)
class Groups:
    """Bits and base of every group, and how many weights of every segment they leave out.

    table: uint8 [units, 2]. escapes: int64 [segments].
    """

    geometry: Geometry
    dtype: str
    table: np.ndarray
    escapes: np.ndarray

    def component_bytes(self) -> dict[str, int]:
        """Stored bytes of each component, as `encode` will make them."""
        count = int(self.escapes.sum())
        return {
            "fields": stream_bytes(int(field_bytes(self.geometry, self.table[:, 0]).sum())),
            "groups": index_bytes(self.table.size),
            "directory": index_bytes((self.geometry.segments + 1) * 8),
            "escape_positions": stream_bytes(count * 2),
            "escapes": stream_bytes(count),
        }

    def total(self) -> int:
        return sum(self.component_bytes().values())


def statistics(words: np.ndarray, geometry: Geometry, dtype: str, threads: int = 1) -> np.ndarray:
    """int64 [segments, 256]: how often each level occurs in each segment, padding left out. words: C-contiguous."""
    counts = np.zeros((geometry.segments, 256), np.uint32)
    if native.module is not None:
        native.module.integer_statistics(words, native.shape_of(geometry), dtype, counts, threads)
    else:
        chunks, real = to_chunks(words, geometry)
        for segment, (first, last) in enumerate(geometry.segment_chunks()):
            counts[segment] = np.bincount((chunks[first:last] ^ flip(dtype))[real[first:last]], minlength=256)
    return counts.astype(np.int64)


def choose(counts: np.ndarray, geometry: Geometry, dtype: str, escape_cost: float, bits: int | None = None) -> Groups:
    """The cheapest bits and base of each group, where an escape costs `escape_cost` bytes; `bits` for all if given."""
    units, per_panel = unit_panels(geometry).size, geometry.segments_per_panel
    seen = counts.reshape(units, per_panel, 256)
    before = np.zeros((units, 257), np.int64)
    np.cumsum(seen.sum(axis=1), axis=1, out=before[:, 1:])
    table, best = np.zeros((units, 2), np.uint8), np.full(units, np.inf)
    for width in range(MAX_BITS + 1) if bits is None else (bits,):
        inside = before[:, 1 << width :] - before[:, : 257 - (1 << width)]
        base = inside.argmax(axis=1)
        escapes = before[:, -1] - inside[np.arange(units), base]
        cost = field_bytes(geometry, np.full(units, width)) + escape_cost * escapes
        better = cost < best
        table[better, 0], table[better, 1], best[better] = width, base[better], cost[better]
    first = table[:, 1].astype(np.int64)
    level, stop = np.arange(256), first + (1 << table[:, 0].astype(np.int64))
    outside = (level < first[:, None]) | (level >= stop[:, None])
    escapes = (seen * outside[:, None, :]).sum(axis=2).reshape(-1)
    return Groups(geometry, dtype, table, escapes)


def encode(words: np.ndarray, groups: Groups, threads: int = 1) -> dict[str, np.ndarray]:
    """Components of C-contiguous words, whose groups were chosen from their statistics."""
    geometry, dtype = groups.geometry, groups.dtype
    if not native.available():
        return reference.encode(words, geometry, dtype, groups.table)
    components = {name: np.zeros(size, np.uint8) for name, size in groups.component_bytes().items()}
    components["groups"][: groups.table.size] = groups.table.reshape(-1)
    components["directory"].view("<u8")[1 : groups.escapes.size + 1] = np.cumsum(groups.escapes)
    native.module.integer_encode(words, native.shape_of(geometry), dtype, components, threads)
    return components


SMALLEST = float(ESCAPE_BYTES)
"""Cost of an escape where only size counts."""
