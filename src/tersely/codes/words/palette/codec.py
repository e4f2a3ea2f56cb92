"""`palette`: which words there are, exact sizes, encoding; the NumPy reference where the native module is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from tersely.backends.cpu import native
from tersely.codes.layouts import Groups
from tersely.codes.node import INDEX, prefixed
from tersely.codes.words.palette import reference
from tersely.codes.words.palette.costs import Kernel
from tersely.codes.words.palette.layout import INDICES, PACKED_BITS, TABLE, Indices, table_order
from tersely.codes.words.split import codec as split
from tersely.codes.words.split.sizes import SizeModel
from tersely.core.encoded import Node, index_bytes, stored, stream_bytes
from tersely.core.errors import ArgumentError
from tersely.core.geometry import Geometry


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
class StoredIndices:
    """Indices in one of the ways to store them, sized to the byte and not yet coded."""

    node: Node
    nbytes: int
    components: Callable[[int], dict[str, np.ndarray]]
    kernel: Kernel
    options: dict[str, Any]


@dataclass(frozen=True)
class Indexed:
    """A tensor, or a sequence of values, of few distinct words. words: C-contiguous."""

    words: np.ndarray
    table: np.ndarray
    dtype: str
    threads: int = 1

    @property
    def entries(self) -> int:
        return int(self.table.size)

    @cached_property
    def indices(self) -> np.ndarray:
        """uint8 in the shape of the words."""
        if not native.available():
            return reference.indices_of(self.words, self.table)
        indices = np.empty(self.words.shape, np.uint8)
        table = self.table.astype(np.uint32)
        native.module.palette_indices(self.words, self.words.itemsize, table, indices, self.threads)
        return indices

    def ordered(self, layout: Geometry | Groups) -> np.ndarray:
        """Indices as `split` codes them: those of values in the order of packed ones."""
        own = isinstance(layout, Groups)
        return reference.by_columns(self.indices, self.dtype).reshape(-1) if own else self.indices

    def models(self, layout: Geometry | Groups, count: int = 1) -> list[SizeModel]:
        """Sizes of the bits of indices above 0, 1, ... low bits under every code of `split`."""
        found = split.statistics(self.ordered(layout), layout, INDEX, self.threads)
        models = []
        for low in range(count):
            merged = np.zeros_like(found.histograms)
            merged[:, : 256 >> low] = found.histograms.reshape(-1, 256 >> low, 1 << low).sum(axis=2)
            models.append(SizeModel(replace(found, histograms=merged), layout, INDEX))
        return models

    def packed(self, layout: Geometry | Groups) -> StoredIndices:
        """All bits packed."""
        parameters = Indices(self.entries)
        sizes = parameters.sizes(self.dtype, layout.panels * layout.chunks_per_panel)
        kernel = Kernel(parameters.bits)

        def components(threads: int) -> dict[str, np.ndarray]:
            packed = self._pack(layout, parameters.bits, sizes[INDICES], threads)
            return {TABLE: stored(self.table, index_bytes), INDICES: packed}

        return StoredIndices(parameters.node(None), sum(sizes.values()), components, kernel, {"code": "fixed"})

    def coded(
        self, layout: Geometry | Groups, model: SizeModel, code: split.Code | None = None, low_bits: int = 0
    ) -> StoredIndices:
        """Under a code of `split`, None for the smallest, but for low bits. model: of what is above them."""
        coded = split.under(model, lambda: self.ordered(layout) >> np.uint8(low_bits), code)
        parameters = Indices(self.entries, True, low_bits)
        sizes = parameters.sizes(self.dtype, layout.panels * layout.chunks_per_panel)

        def components(threads: int) -> dict[str, np.ndarray]:
            found = {TABLE: stored(self.table, index_bytes)}
            if low_bits:
                found[parameters.packed] = self._pack(layout, low_bits, sizes[parameters.packed], threads)
            return found | prefixed(INDICES, coded.encode(threads))

        return StoredIndices(
            parameters.node(coded.node),
            sum(sizes.values()) + coded.nbytes,
            components,
            Kernel(parameters.bits, coded.parameters.code),
            coded.options | ({PACKED_BITS: low_bits} if isinstance(layout, Groups) else {}),
        )

    def _pack(self, layout: Geometry | Groups, bits: int, nbytes: int, threads: int) -> np.ndarray:
        """The low bits of all indices."""
        if not native.available():
            return stored(reference.pack(self.indices, layout, bits, self.dtype), stream_bytes)
        packed = np.zeros(nbytes, np.uint8)
        if isinstance(layout, Groups):
            native.module.palette_pack_groups(self.ordered(layout), bits, packed, threads)
        else:
            native.module.palette_pack(self.indices, native.shape_of(layout), bits, packed, threads)
        return packed
