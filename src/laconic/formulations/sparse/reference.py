"""`sparse` in plain NumPy: encode and decode. Slow, short, and the oracle of every kernel.

FORMAT: docs/FORMAT.md, "The formulation sparse".
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from laconic.encoded import index_bytes, stream_bytes
from laconic.formulations.sparse.layout import VALUE_BYTES, places
from laconic.formulations.split.reference import from_chunks, to_chunks
from laconic.geometry import CHUNK_WEIGHTS, PANEL_ROWS, Geometry


def encode(words: np.ndarray, geometry: Geometry, dtype: str, positions: str) -> dict[str, np.ndarray]:
    """Components of the tensor's words, slack included."""
    return encode_bitmap(words, geometry, dtype)


def decode(
    components: Mapping[str, np.ndarray], geometry: Geometry, dtype: str, positions: str, word: np.dtype
) -> np.ndarray:
    """Inverse of `encode`: the tensor's words. Components must have passed `validate`."""
    return decode_bitmap(components, geometry, dtype, word)


def encode_bitmap(words: np.ndarray, geometry: Geometry, dtype: str) -> dict[str, np.ndarray]:
    chunks, _ = to_chunks(words, geometry)
    ordered = chunks.reshape(-1, CHUNK_WEIGHTS)[:, np.argsort(places(dtype).reshape(-1))]
    bits = ordered != 0
    counts = [int(np.count_nonzero(bits[first:last])) for first, last in geometry.segment_chunks()]
    return {
        "masks": stored(np.packbits(bits, axis=1, bitorder="little"), stream_bytes),
        "directory": stored(np.cumsum([0, *counts], dtype="<u8"), index_bytes),
        VALUE_BYTES: stored(ordered[bits], stream_bytes),
    }


def decode_bitmap(components: Mapping[str, np.ndarray], geometry: Geometry, dtype: str, word: np.dtype) -> np.ndarray:
    """A chunk whose values are not all there (a damaged file) is zeros and takes none."""
    chunk_count = geometry.panels * geometry.chunks_per_panel
    masks = components["masks"][: chunk_count * 8].reshape(chunk_count, 8)
    bits = np.unpackbits(masks, axis=1, bitorder="little").astype(bool)
    starts = components["directory"][: (geometry.segments + 1) * 8].view("<u8").astype(np.int64)
    stored_values = components[VALUE_BYTES]
    values = stored_values[: stored_values.size // word.itemsize * word.itemsize].view(word)
    ordered = np.zeros((chunk_count, CHUNK_WEIGHTS), word)
    for segment, (first, last) in enumerate(geometry.segment_chunks()):
        at, stop = starts[segment], starts[segment + 1]
        for chunk in range(first, last):
            count = np.count_nonzero(bits[chunk])
            if at + count <= stop:
                ordered[chunk, bits[chunk]] = values[at : at + count]
                at += count
    return from_chunks(ordered[:, places(dtype).reshape(-1)].reshape(-1, PANEL_ROWS, 4), geometry)


def stored(used: np.ndarray, stored_bytes: object) -> np.ndarray:
    raw = np.ascontiguousarray(used).reshape(-1).view(np.uint8)
    component = np.zeros(stored_bytes(raw.size), dtype=np.uint8)  # type: ignore[operator]
    component[: raw.size] = raw
    return component
