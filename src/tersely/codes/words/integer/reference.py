"""`integer` in plain NumPy: encode, decode, product. Slow, short, and the oracle of every kernel.

FORMAT: docs/FORMAT.md, "Fields by blocks".
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tersely.codes.words.integer.layout import BLOCK_WEIGHTS, RUN_BYTES, bit_fields, blocks_per_panel, flip, unit_panels
from tersely.codes.words.split.reference import from_chunks, to_chunks
from tersely.core.encoded import index_bytes, stored, stream_bytes
from tersely.core.geometry import Geometry


def pack(fields: np.ndarray, bits: int) -> np.ndarray:
    """Fields [blocks, 256] to bytes [blocks, 32 * bits]."""
    found, shift = [], 0
    for width in bit_fields(bits):
        per_run = 8 // width
        halves = (fields >> shift & ((1 << width) - 1)).reshape(-1, width, per_run, RUN_BYTES).astype(np.uint8)
        shifts = (np.arange(per_run, dtype=np.uint8) * np.uint8(width)).reshape(1, 1, -1, 1)
        found.append(np.bitwise_or.reduce(halves << shifts, axis=2).reshape(len(fields), -1))
        shift += width
    return np.concatenate([np.zeros((len(fields), 0), np.uint8), *found], axis=1)


def unpack(runs: np.ndarray, bits: int) -> np.ndarray:
    """Inverse of `pack`."""
    fields, shift, at = np.zeros((len(runs), BLOCK_WEIGHTS), np.uint8), 0, 0
    for width in bit_fields(bits):
        part = runs[:, at : at + width * RUN_BYTES].reshape(-1, width, 1, RUN_BYTES)
        shifts = (np.arange(8 // width, dtype=np.uint8) * np.uint8(width)).reshape(1, 1, -1, 1)
        fields |= ((part >> shifts & ((1 << width) - 1)) << shift).reshape(fields.shape).astype(np.uint8)
        shift, at = shift + width, at + width * RUN_BYTES
    return fields


def bases_of(groups: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Bits and base of each panel."""
    panels = unit_panels(geometry)
    if not panels.size:
        return np.zeros(geometry.panels, np.int64), np.zeros(geometry.panels, np.int64)
    return np.repeat(groups[:, 0], panels).astype(np.int64), np.repeat(groups[:, 1], panels).astype(np.int64)


def encode(words: np.ndarray, geometry: Geometry, dtype: str, groups: np.ndarray) -> dict[str, np.ndarray]:
    """Components of the tensor's words. groups: uint8 [units, 2], bits and base of each."""
    chunks, real = (part.reshape(geometry.panels, geometry.chunks_per_panel, 64) for part in to_chunks(words, geometry))
    bits, base = bases_of(groups, geometry)
    levels = (chunks ^ flip(dtype)).astype(np.int64) - base[:, None, None]
    outside = real & ((levels < 0) | (levels >= (1 << bits)[:, None, None]))
    levels[outside | ~real] = 0
    blocks = blocks_per_panel(geometry)
    fields = np.zeros((geometry.panels, blocks * 4, 64), np.uint8)
    fields[:, : geometry.chunks_per_panel] = levels
    runs = [
        pack(panel.reshape(blocks, BLOCK_WEIGHTS), int(own)).reshape(-1)
        for panel, own in zip(fields, bits, strict=True)
    ]
    outside, flat = outside.reshape(-1, 64), chunks.reshape(-1, 64)
    escape_positions, escapes = [], []
    for first, last in geometry.segment_chunks():
        where = np.flatnonzero(outside[first:last])
        escape_positions.append(where.astype("<u2"))
        escapes.append(flat[first:last].reshape(-1)[where])
    return {
        "fields": stored(np.concatenate([np.zeros(0, np.uint8), *runs]), stream_bytes),
        "groups": stored(groups, index_bytes),
        "directory": stored(np.cumsum([0, *map(len, escape_positions)], dtype="<u8"), index_bytes),
        "escape_positions": stored(np.concatenate([np.zeros(0, "<u2"), *escape_positions]), stream_bytes),
        "escapes": stored(np.concatenate([np.zeros(0, np.uint8), *escapes]).astype(np.uint8), stream_bytes),
    }


def decode(components: Mapping[str, np.ndarray], geometry: Geometry, dtype: str) -> np.ndarray:
    """Inverse of `encode`: the tensor's words. Components must be valid."""
    units, blocks = unit_panels(geometry).size, blocks_per_panel(geometry)
    groups = components["groups"][: units * 2].reshape(units, 2)
    bits, base = bases_of(groups, geometry)
    words, at = np.zeros((geometry.panels, geometry.chunks_per_panel, 64), np.uint8), 0
    for panel in range(geometry.panels if units else 0):
        length = blocks * RUN_BYTES * int(bits[panel])
        runs = components["fields"][at : at + length].reshape(blocks, -1)
        fields = unpack(runs, int(bits[panel])).reshape(-1, 64)[: geometry.chunks_per_panel]
        words[panel] = (fields.astype(np.int64) + base[panel]).astype(np.uint8) ^ np.uint8(flip(dtype))
        at += length
    flat = words.reshape(-1, 64)
    starts = components["directory"][: (geometry.segments + 1) * 8].view("<u8").astype(np.int64)
    escape_positions, escapes = components["escape_positions"].view("<u2"), components["escapes"]
    for segment, (first, last) in enumerate(geometry.segment_chunks()):
        own = flat[first:last].reshape(-1)
        for k in range(starts[segment], starts[segment + 1]):
            if escape_positions[k] < own.size:  # else only in a damaged file
                own[escape_positions[k]] = escapes[k]
    return from_chunks(flat.reshape(-1, 16, 4), geometry)


def linear(x: np.ndarray, weight: np.ndarray, zero_point: np.ndarray | int = 0) -> np.ndarray:
    """x [batch, columns] @ (weight - zero_point).T: exact int64 for integers, else float64."""
    kind = np.int64 if x.dtype.kind in "iu" else np.float64
    values = weight.astype(np.int64) - np.reshape(np.asarray(zero_point, np.int64), (-1, 1))
    return x.astype(kind) @ values.astype(kind).T
