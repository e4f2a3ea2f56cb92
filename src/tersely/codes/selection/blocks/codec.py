"""`blocks`: the distinct blocks of a tensor, exact sizes, encoding; NumPy where the native module is missing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tersely.backends.cpu import native
from tersely.codes.selection.blocks import reference
from tersely.codes.selection.blocks.layout import (
    MAX_BLOCKS,
    TABLE_BYTES,
    block_words,
    index_bits,
    indices,
    shelve,
    stored_words,
)
from tersely.core.encoded import stored, stream_bytes
from tersely.core.geometry import Geometry

_KEPT_PLACES = 1 << 12
"""Places up to which they are kept for the next tensor of the same shape."""
_PREFIXES_BYTES = (8, 256)
"""What rows are told apart by before whole rows are compared."""


@dataclass(frozen=True)
class Found:
    """Distinct blocks [count, words] by first occurrence, and the index of every block, uint32 [panels, indices]."""

    geometry: Geometry
    shape: str
    table: np.ndarray
    ids: np.ndarray

    def component_bytes(self) -> dict[str, int]:
        """Stored bytes of each component, as `encode` will make them."""
        return component_bytes(self.shape, len(self.table), self.geometry, self.table.itemsize)


def component_bytes(shape: str, count: int, geometry: Geometry, word_bytes: int) -> dict[str, int]:
    """Stored bytes of each component for so many distinct blocks."""
    return {
        "indices": stream_bytes(geometry.panels * indices(shape, geometry) // 8 * index_bits(count)),
        TABLE_BYTES: stream_bytes(stored_words(shape, count, geometry) * word_bytes),
    }


def find(words: np.ndarray, geometry: Geometry, dtype: str, shape: str, limit: int = MAX_BLOCKS) -> Found | None:
    """The distinct blocks of C-contiguous words; None where there are more than `limit`."""
    if shape == "row" and any(_kinds_by_prefix(words, geometry, prefix) > limit for prefix in _PREFIXES_BYTES):
        return None
    if not native.available() or shape == "row":
        table, ids = reference.distinct(words, geometry, shape)
        return Found(geometry, shape, table, ids) if len(table) <= limit else None
    ids = np.zeros((geometry.panels, indices(shape, geometry)), np.uint32)
    limit = min(limit, ids.size)
    table = np.empty((limit, block_words(shape, geometry)), words.dtype)
    count = native.module.blocks_find(words, native.shape_of(geometry), dtype, shape, limit, ids, table)
    return None if count < 0 else Found(geometry, shape, table[:count].copy(), ids)


def _kinds_by_prefix(words: np.ndarray, geometry: Geometry, used_bytes: int) -> int:
    """How many kinds of row beginnings there are: at most as many as there are kinds of rows."""
    columns = min(geometry.columns, used_bytes // words.itemsize)
    if not words.size:
        return 0
    small = geometry.count * geometry.rows * columns <= _KEPT_PLACES
    elements = _beginnings(geometry, columns) if small else _beginnings.__wrapped__(geometry, columns)
    first = words.reshape(-1).take(elements, mode="clip")
    if geometry.view == "folded":
        first[elements >= words.size] = 0
    first = first.reshape(geometry.count * geometry.rows, columns)
    if columns * words.itemsize != 8:
        return len(np.unique(first.view(np.dtype((np.void, columns * words.itemsize)))))
    kinds = np.sort(first.view(np.uint64).reshape(-1))
    return 1 + int((kinds[1:] != kinds[:-1]).sum())


@lru_cache(maxsize=128)  # networks have many tensors of few shapes
def _beginnings(geometry: Geometry, columns: int) -> np.ndarray:
    """The elements of the first columns: [count, rows, columns]."""
    found = geometry.elements_at(*np.ix_(*map(np.arange, (geometry.count, geometry.rows, columns))))
    found.flags.writeable = False
    return found


def encode(found: Found) -> dict[str, np.ndarray]:
    """Components of the tensor whose blocks are `found`."""
    bits = index_bits(len(found.table))
    components = {TABLE_BYTES: stored(shelve(found.table, found.shape), stream_bytes)}
    if not native.available():
        return {"indices": stored(reference.pack(found.ids, bits), stream_bytes), **components}
    packed = np.zeros(found.component_bytes()["indices"], np.uint8)
    native.module.blocks_pack(found.ids, bits, packed)
    return {"indices": packed, **components}
