"""`palette`: which words there are, exact sizes, encoding; the NumPy reference where the native module is missing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tersely.backends.cpu import native
from tersely.codes.palette import reference
from tersely.codes.palette.layout import INDEX_DTYPE, INDICES, TABLE, index_bits, table_order
from tersely.codes.split import codec as split
from tersely.codes.split.layout import Parameters
from tersely.codes.split.sizes import SizeModel
from tersely.core.dtypes import by_name
from tersely.core.encoded import index_bytes, stored, stream_bytes
from tersely.core.errors import ArgumentError
from tersely.core.geometry import Geometry

Code = tuple[str, tuple[int, ...]]
"""A code of `split` and its widths."""


def table_of(words: np.ndarray, dtype: str, threads: int = 1) -> np.ndarray | None:
    """The table of C-contiguous words; None where there are more than 256. Stops at the first word too many."""
    if not words.size:
        return np.zeros(1, words.dtype)
    if native.module is not None:
        found, often = np.zeros(256, np.uint32), np.zeros(256, np.uint64)
        size = native.module.palette_count(words, words.itemsize, found, often, threads)
        if size < 0:
            return None
        distinct, counts = found[:size].astype(words.dtype), often[:size].astype(np.int64)
    else:
        distinct, counts = np.unique(words, return_counts=True)
    try:
        return table_order(distinct, counts, dtype)
    except ArgumentError:
        return None


@dataclass(frozen=True)
class Indexed:
    """A tensor of few distinct words. words: C-contiguous."""

    words: np.ndarray
    table: np.ndarray
    dtype: str
    threads: int = 1

    @property
    def entries(self) -> int:
        return int(self.table.size)

    @cached_property
    def indices(self) -> np.ndarray:
        """uint8 in the tensor's shape."""
        if not native.available():
            return reference.indices_of(self.words, self.table)
        indices = np.empty(self.words.shape, np.uint8)
        table = self.table.astype(np.uint32)
        native.module.palette_indices(self.words, self.words.itemsize, table, indices, self.threads)
        return indices

    def code_model(self, geometry: Geometry) -> SizeModel:
        """Sizes of the indices under every code of `split`."""
        statistics = split.statistics(self.indices, geometry, INDEX_DTYPE, self.threads)
        return SizeModel(statistics, geometry, INDEX_DTYPE)

    def packed_bytes(self, geometry: Geometry) -> dict[str, int]:
        """Stored bytes of each component with packed indices, as `pack` will make them."""
        chunks = geometry.panels * geometry.chunks_per_panel
        return {
            TABLE: index_bytes(self.entries * by_name(self.dtype).bits // 8),
            INDICES: stream_bytes(chunks * 8 * index_bits(self.entries)),
        }

    def coded_bytes(self, model: SizeModel, parameters: Parameters) -> dict[str, int]:
        """Stored bytes of each component with coded indices, as `code` will make them."""
        table = {TABLE: index_bytes(self.entries * by_name(self.dtype).bits // 8)}
        return table | {f"{INDICES}.{name}": size for name, size in model.component_bytes(parameters).items()}

    def pack(self, geometry: Geometry, threads: int) -> dict[str, np.ndarray]:
        """Components with packed indices."""
        bits, size = index_bits(self.entries), self.packed_bytes(geometry)[INDICES]
        if not native.available():
            packed = stored(reference.pack(self.indices, geometry, bits), stream_bytes)
        else:
            packed = np.zeros(size, np.uint8)
            native.module.palette_pack(self.indices, native.shape_of(geometry), bits, packed, threads)
        return {TABLE: stored(self.table, index_bytes), INDICES: packed}

    def code(self, model: SizeModel, parameters: Parameters, threads: int) -> dict[str, np.ndarray]:
        """Components with coded indices, whose sizes `model` holds."""
        coded = split.encode(self.indices, model, parameters, threads)
        table = {TABLE: stored(self.table, index_bytes)}
        return table | {f"{INDICES}.{name}": component for name, component in coded.items()}
