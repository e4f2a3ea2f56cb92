"""`palette` in plain NumPy: encode and decode. Slow, short, and the oracle of every kernel.

FORMAT: docs/FORMAT.md, "A table for the tensor".
"""

from __future__ import annotations

import numpy as np

from tersely.codes.layouts import Groups
from tersely.codes.words.palette.layout import bit_fields, table_order
from tersely.codes.words.split import reference as split
from tersely.core.geometry import CHUNK_WEIGHTS, PANEL_ROWS, Geometry


def table_of(words: np.ndarray, dtype: str) -> np.ndarray:
    """The distinct words of a tensor in the order of the table. Raises ArgumentError for more than 256."""
    return table_order(*np.unique(words, return_counts=True), dtype)


def indices_of(words: np.ndarray, table: np.ndarray) -> np.ndarray:
    """uint8 in the tensor's shape: each word's place in the table."""
    order = np.argsort(table, kind="stable")
    return order[np.searchsorted(table[order], words)].astype(np.uint8).reshape(words.shape)


def look_up(table: np.ndarray, bits: int, indices: np.ndarray) -> np.ndarray:
    """Words by the low bits of indices; where they lead beyond the table (a damaged file), zero."""
    every = np.zeros(1 << bits, table.dtype)
    every[: table.size] = table
    return every[indices & ((1 << bits) - 1)]


def pack(indices: np.ndarray, layout: Geometry | Groups, bits: int, dtype: str) -> np.ndarray:
    """uint8 [chunks, 8 bits]: the slices of each chunk one after another. dtype: of the words."""
    if isinstance(layout, Groups):
        return pack_columns(by_columns(indices, dtype), bits)
    chunks, _ = split.to_chunks(indices, layout)
    return pack_columns(chunks.swapaxes(1, 2).reshape(-1, CHUNK_WEIGHTS), bits)


def by_columns(values: np.ndarray, dtype: str) -> np.ndarray:
    """[groups, 64]: a sequence of values in the order of packed indices, column x 16 + row of their chunks."""
    return np.ascontiguousarray(values.reshape(-1, CHUNK_WEIGHTS)[:, split.vector_order(dtype).T.reshape(-1)])


def from_columns(columns: np.ndarray, dtype: str) -> np.ndarray:
    """Inverse of `by_columns`."""
    order = np.argsort(split.vector_order(dtype).T.reshape(-1))
    return columns.reshape(-1, CHUNK_WEIGHTS)[:, order].reshape(-1)


def pack_columns(columns: np.ndarray, bits: int) -> np.ndarray:
    """The low bits of uint8 [chunks, 64], by column x 16 + row, as uint8 [chunks, 8 bits]."""
    packed, shift = [], 0
    for width in bit_fields(bits):
        fields = columns >> shift & (1 << width) - 1
        if width == 1:
            packed.append(np.packbits(fields, axis=1, bitorder="little"))
        else:  # byte b holds fields b, b + step, ...
            runs = fields.reshape(len(columns), 8 // width, -1)
            shifts = (np.arange(8 // width) * width).astype(np.uint8)
            packed.append(np.bitwise_or.reduce(runs << shifts[:, None], axis=1))
        shift += width
    return np.concatenate(packed, axis=1).astype(np.uint8)


def unpack(stream: np.ndarray, layout: Geometry | Groups, bits: int, dtype: str) -> np.ndarray:
    """Inverse of `pack`: the indices."""
    columns = unpack_columns(stream, layout.panels * layout.chunks_per_panel, bits)
    if isinstance(layout, Groups):
        return from_columns(columns, dtype)
    return split.from_chunks(columns.reshape(-1, 4, PANEL_ROWS).swapaxes(1, 2), layout)


def unpack_columns(stream: np.ndarray, count: int, bits: int) -> np.ndarray:
    """Inverse of `pack_columns`, of the first `count` chunks."""
    chunks = stream[: count * 8 * bits].reshape(count, 8 * bits)
    columns, shift, at = np.zeros((count, CHUNK_WEIGHTS), np.uint8), 0, 0
    fields: np.ndarray
    for width in bit_fields(bits):
        part = chunks[:, at : at + 8 * width]
        if width == 1:
            fields = np.unpackbits(part, axis=1, bitorder="little")
        else:
            shifts = (np.arange(8 // width) * width).astype(np.uint8)
            fields = (part[:, None, :] >> shifts[:, None] & (1 << width) - 1).reshape(count, CHUNK_WEIGHTS)
        columns |= (fields << shift).astype(np.uint8)
        shift, at = shift + width, at + 8 * width
    return columns
