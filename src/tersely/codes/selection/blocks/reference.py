"""`blocks` in plain NumPy: encode and decode. Slow, short, and the oracle of every kernel.

FORMAT: docs/FORMAT.md, "Blocks".
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tersely.codes.selection.blocks.layout import (
    TABLE_BYTES,
    block_words,
    from_blocks,
    index_bits,
    indices,
    panel_blocks,
    real_blocks,
    shelve,
    stored_words,
    to_blocks,
    unshelve,
)
from tersely.core.encoded import stored, stream_bytes
from tersely.core.geometry import Geometry


def distinct(words: np.ndarray, geometry: Geometry, shape: str) -> tuple[np.ndarray, np.ndarray]:
    """Distinct blocks [count, words] by first occurrence, and the index of every place, uint32 [panels, indices]."""
    blocks = to_blocks(words, geometry, shape)
    real = real_blocks(geometry, shape)
    ids = np.zeros((geometry.panels, indices(shape, geometry)), np.uint32)
    flat = np.ascontiguousarray(blocks[real])
    if not flat.size:
        return np.zeros((0, block_words(shape, geometry)), words.dtype), ids
    whole = flat.view(np.dtype((np.void, flat.shape[1] * flat.itemsize))).reshape(-1)
    inside = np.zeros(real.shape, np.uint32)
    _, inside[real], first = first_occurrences(whole)
    ids[:, : real.shape[1]] = inside
    return flat[first], ids


def first_occurrences(items: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct items by first occurrence; the number of each item among them, uint32; where each occurs first."""
    distinct, first, inverse = np.unique(items, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(order.size, np.uint32)
    rank[order] = np.arange(order.size, dtype=np.uint32)
    return distinct[order], rank[inverse.reshape(-1)], first[order]


def pack(ids: np.ndarray, bits: int) -> np.ndarray:
    """Eight indices in `bits` bytes, the first in the lowest bits."""
    planes = ids.reshape(-1, 1) >> np.arange(bits, dtype=np.uint32) & 1
    return np.packbits(planes.astype(np.uint8).reshape(-1), bitorder="little")


def unpack(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
    planes = np.unpackbits(packed[: count * bits // 8], bitorder="little").reshape(count, bits)
    return (planes.astype(np.uint32) << np.arange(bits, dtype=np.uint32)).sum(axis=1, dtype=np.uint32)


def encode(words: np.ndarray, geometry: Geometry, shape: str) -> dict[str, np.ndarray]:
    """Components of the tensor's words, slack included."""
    table, ids = distinct(words, geometry, shape)
    return {
        "indices": stored(pack(ids, index_bits(len(table))), stream_bytes),
        TABLE_BYTES: stored(shelve(table, shape), stream_bytes),
    }


def decode(
    components: Mapping[str, np.ndarray], geometry: Geometry, shape: str, count: int, word: np.dtype
) -> np.ndarray:
    """Inverse of `encode`: the tensor's words. An index beyond the last block (a damaged file) is the last one."""
    held = stored_words(shape, count, geometry)
    table = unshelve(components[TABLE_BYTES][: held * word.itemsize].view(word), count, shape, geometry)
    each = indices(shape, geometry)
    ids = unpack(components["indices"], index_bits(count), geometry.panels * each)
    ids = np.minimum(ids, max(0, count - 1)).reshape(geometry.panels, each)[:, : panel_blocks(shape, geometry)]
    if count == 0:
        return from_blocks(np.zeros((*ids.shape, block_words(shape, geometry)), word), geometry, shape)
    return from_blocks(table[ids], geometry, shape)
