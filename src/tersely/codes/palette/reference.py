"""`palette` in plain NumPy: encode and decode. Slow, short, and the oracle of every kernel.

FORMAT: docs/FORMAT.md, "The formulation palette".
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tersely.codes.palette.layout import INDEX_DTYPE, INDICES, TABLE, index_bits, parts, table_order
from tersely.codes.split import reference as split
from tersely.codes.split.layout import Parameters
from tersely.core.encoded import index_bytes, stored, stream_bytes
from tersely.core.geometry import CHUNK_WEIGHTS, PANEL_ROWS, Geometry


def table_of(words: np.ndarray, dtype: str) -> np.ndarray:
    """The distinct words of a tensor in the order of the table. Raises ArgumentError for more than 256."""
    return table_order(*np.unique(words, return_counts=True), dtype)


def indices_of(words: np.ndarray, table: np.ndarray) -> np.ndarray:
    """uint8 in the tensor's shape: each word's place in the table."""
    order = np.argsort(table, kind="stable")
    return order[np.searchsorted(table[order], words)].astype(np.uint8).reshape(words.shape)


def encode(words: np.ndarray, geometry: Geometry, dtype: str, code: Parameters | None) -> dict[str, np.ndarray]:
    """Components of the tensor's words, slack included. code: of coded indices, None to pack them."""
    table = table_of(words, dtype) if words.size else np.zeros(1, words.dtype)
    indices = indices_of(words, table)
    found = {TABLE: stored(table, index_bytes)}
    if code is None:
        return found | {INDICES: stored(pack(indices, geometry, index_bits(table.size)), stream_bytes)}
    coded = split.encode(indices, geometry, INDEX_DTYPE, code)
    return found | {f"{INDICES}.{name}": component for name, component in coded.items()}


def decode(
    components: Mapping[str, np.ndarray], geometry: Geometry, entries: int, code: Parameters | None, word: np.dtype
) -> np.ndarray:
    """Inverse of `encode`: the tensor's words. Components must have passed `validate`.

    The low `index_bits(entries)` bits of an index count; where they lead beyond the table (a damaged file), to zero.
    """
    if code is None:
        indices = unpack(components[INDICES], geometry, index_bits(entries))
    else:
        prefix = f"{INDICES}."
        own = {name[len(prefix) :]: data for name, data in components.items() if name.startswith(prefix)}
        indices = split.decode(own, geometry, INDEX_DTYPE, code, np.dtype(np.uint8))
    return look_up(components, entries, indices, word)


def look_up(components: Mapping[str, np.ndarray], entries: int, indices: np.ndarray, word: np.dtype) -> np.ndarray:
    """Words by index."""
    bits = index_bits(entries)
    table = np.zeros(1 << bits, word)
    table[:entries] = components[TABLE][: entries * word.itemsize].view(word)
    return table[indices & ((1 << bits) - 1)]


def pack(indices: np.ndarray, geometry: Geometry, bits: int) -> np.ndarray:
    """uint8 [chunks, 8 bits]: the parts of each chunk one after another."""
    chunks, _ = split.to_chunks(indices, geometry)
    return pack_places(chunks.swapaxes(1, 2).reshape(-1, CHUNK_WEIGHTS), bits)


def pack_places(places: np.ndarray, bits: int) -> np.ndarray:
    """The low bits of uint8 [chunks, 64], by place (column x 16 + row), as uint8 [chunks, 8 bits]."""
    packed, shift = [], 0
    for width in parts(bits):
        fields = places >> shift & (1 << width) - 1
        if width == 1:
            packed.append(np.packbits(fields, axis=1, bitorder="little"))
        else:  # byte b holds the fields of places b, b + step, ...
            columns = fields.reshape(len(places), 8 // width, -1)
            shifts = (np.arange(8 // width) * width).astype(np.uint8)
            packed.append(np.bitwise_or.reduce(columns << shifts[:, None], axis=1))
        shift += width
    return np.concatenate(packed, axis=1).astype(np.uint8)


def unpack(stream: np.ndarray, geometry: Geometry, bits: int) -> np.ndarray:
    """Inverse of `pack`: the tensor's indices."""
    places = unpack_places(stream, geometry.panels * geometry.chunks_per_panel, bits)
    return split.from_chunks(places.reshape(-1, 4, PANEL_ROWS).swapaxes(1, 2), geometry)


def unpack_places(stream: np.ndarray, count: int, bits: int) -> np.ndarray:
    """Inverse of `pack_places`, of the first `count` chunks."""
    chunks = stream[: count * 8 * bits].reshape(count, 8 * bits)
    places, shift, at = np.zeros((count, CHUNK_WEIGHTS), np.uint8), 0, 0
    fields: np.ndarray
    for width in parts(bits):
        part = chunks[:, at : at + 8 * width]
        if width == 1:
            fields = np.unpackbits(part, axis=1, bitorder="little")
        else:
            shifts = (np.arange(8 // width) * width).astype(np.uint8)
            fields = (part[:, None, :] >> shifts[:, None] & (1 << width) - 1).reshape(count, CHUNK_WEIGHTS)
        places |= (fields << shift).astype(np.uint8)
        shift, at = shift + width, at + 8 * width
    return places
