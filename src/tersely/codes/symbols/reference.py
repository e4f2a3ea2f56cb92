"""Symbol codes in plain NumPy: the explanation and the oracle of the kernels.

A code turns a sequence of symbols (bytes, here exponents) into 64-bit words. The sequence is split into groups of
64 symbols, and a *plane* is one bit of 64 symbols in one word: bit b belongs to symbol b of the group.

    constant         no words: every symbol is table[0]
    packed, 4 bits   a group is 32 bytes: byte b holds field b (low nibble) and field b + 32 (high nibble);
                     field 15 is an escape, any other field f means table[f]
    layered(w1, w2)  a group is w1 planes; a field of all ones means "look at the next level", whose sequence is
                     just those survivors, coded the same way with w2 planes and the next part of the table;
                     survivors of the last level are escapes

An escape is the symbol itself, one byte, in order. Layered codes are directly addressable codes (Brisaboa, Ladra,
Navarro, "DACs: Bringing direct access to variable-length codes", 2013), transposed into planes.
FORMAT: docs/FORMAT.md, "Symbol codes".
"""

from __future__ import annotations

import numpy as np

PACKED_ESCAPE = 15


def level_symbols(width: int) -> int:
    """Symbols that one level of `width` planes codes itself: all fields but all-ones."""
    return (1 << width) - 1


def ranks(table: bytes) -> np.ndarray:
    """uint16[256]: position of each symbol in the table; len(table) for symbols outside it (escapes)."""
    rank = np.full(256, len(table), dtype=np.uint16)
    for position, symbol in reversed(list(enumerate(table))):
        rank[symbol] = position
    return rank


def pack_planes(fields: np.ndarray, width: int) -> np.ndarray:
    """Fields (length a multiple of 64) to uint64 words [groups, width]."""
    bits = (fields.reshape(-1, 1, 64) >> np.arange(width, dtype=np.uint16)[:, None]) & 1
    return np.packbits(bits.astype(np.uint8), axis=-1, bitorder="little").view("<u8")[..., 0]


def unpack_planes(words: np.ndarray) -> np.ndarray:
    """Inverse of `pack_planes`: uint64 [groups, width] to fields uint8 [groups * 64]."""
    groups, width = words.shape
    octets = np.ascontiguousarray(words, dtype="<u8").view(np.uint8).reshape(groups, width, 8)
    bits = np.unpackbits(octets, axis=-1, bitorder="little")
    return (bits << np.arange(width, dtype=np.uint8)[:, None]).sum(axis=1, dtype=np.uint8).reshape(-1)


def encode_layered(symbols: np.ndarray, widths: tuple[int, ...], table: bytes) -> tuple[list[np.ndarray], np.ndarray]:
    """One segment's symbols (uint8, length a multiple of 64) to (words of each level, escapes)."""
    rank = ranks(table)
    levels: list[np.ndarray] = []
    start = 0
    for width in widths:
        if levels:  # a level below the first: survivors fill whole groups
            symbols = pad_group(symbols, table[start])
        local = rank[symbols] - np.uint16(start)
        levels.append(pack_planes(np.minimum(local, level_symbols(width)), width))
        symbols = symbols[local >= level_symbols(width)]
        start += level_symbols(width)
    return levels, symbols


def pad_group(symbols: np.ndarray, filler: int) -> np.ndarray:
    """Symbols padded to a multiple of 64 with the level's own first symbol, which never survives."""
    return np.concatenate([symbols, np.full(-symbols.size % 64, filler, dtype=np.uint8)])


def decode_layered(levels: list[np.ndarray], escapes: np.ndarray, widths: tuple[int, ...], table: bytes) -> np.ndarray:
    """Inverse of `encode_layered`. Missing survivors (a damaged file) read as zero, never out of bounds."""
    starts = np.concatenate([[0], np.cumsum([level_symbols(width) for width in widths])])
    below = escapes
    for level in range(len(widths) - 1, -1, -1):
        fields = unpack_planes(levels[level])
        survives = fields == level_symbols(widths[level])
        own = np.frombuffer(table, np.uint8)[starts[level] : starts[level + 1]]
        symbols = np.append(own, 0)[fields].astype(np.uint8)
        at = np.flatnonzero(survives)[: below.size]
        symbols[at] = below[: at.size]
        below = symbols
    return below


def encode_packed(symbols: np.ndarray, table: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Symbols (length a multiple of 64) to (uint8 [groups, 32], escapes)."""
    fields = np.minimum(ranks(table)[symbols], PACKED_ESCAPE).astype(np.uint8)
    halves = fields.reshape(-1, 2, 32)
    return halves[:, 0] | halves[:, 1] << 4, symbols[fields == PACKED_ESCAPE]


def decode_packed(groups: np.ndarray, escapes: np.ndarray, table: bytes) -> np.ndarray:
    """Inverse of `encode_packed`. Missing escapes read as zero."""
    fields = np.stack([groups & 15, groups >> 4], axis=1).reshape(-1)
    symbols = np.append(np.frombuffer(table, np.uint8), 0)[fields].astype(np.uint8)
    at = np.flatnonzero(fields == PACKED_ESCAPE)[: escapes.size]
    symbols[at] = escapes[: at.size]
    return symbols
