"""`block_sparse` in plain NumPy: encode and decode. Slow, short, and the oracle of every kernel.

FORMAT: docs/FORMAT.md, "Blocks".
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tersely.codes.selection.block_sparse.layout import VALUE_BYTES, mask_words
from tersely.codes.selection.blocks.layout import (
    block_words,
    from_blocks,
    panel_blocks,
    shelve,
    stored_words,
    to_blocks,
    unshelve,
)
from tersely.core.encoded import index_bytes, stored, stream_bytes
from tersely.core.geometry import Geometry


def encode(words: np.ndarray, geometry: Geometry, shape: str) -> dict[str, np.ndarray]:
    """Components of the tensor's words, slack included."""
    blocks = to_blocks(words, geometry, shape)
    kept = blocks.any(axis=2)
    bits = np.zeros((geometry.panels, mask_words(shape, geometry) * 64), np.uint8)
    bits[:, : kept.shape[1]] = kept
    starts = np.cumsum([0, *kept.sum(axis=1)], dtype="<u8")
    return {
        "masks": stored(np.packbits(bits, axis=1, bitorder="little"), stream_bytes),
        "directory": stored(starts, index_bytes),
        VALUE_BYTES: stored(shelve(blocks[kept], shape), stream_bytes),
    }


def bits_of(masks: np.ndarray, geometry: Geometry, shape: str) -> np.ndarray:
    """uint8 [panels, 64 x words of a mask]: every bit of the component, those beyond the blocks too."""
    size = mask_words(shape, geometry) * 8
    return np.unpackbits(masks[: geometry.panels * size].reshape(geometry.panels, size), axis=1, bitorder="little")


def decode(components: Mapping[str, np.ndarray], geometry: Geometry, shape: str, word: np.dtype) -> np.ndarray:
    """Inverse of `encode`: the tensor's words. Components must be valid."""
    kept = bits_of(components["masks"], geometry, shape)[:, : panel_blocks(shape, geometry)].astype(bool)
    count = int(kept.sum())
    words = stored_words(shape, count, geometry)
    blocks = np.zeros((*kept.shape, block_words(shape, geometry)), word)
    blocks[kept] = unshelve(components[VALUE_BYTES][: words * word.itemsize].view(word), count, shape, geometry)
    return from_blocks(blocks, geometry, shape)
