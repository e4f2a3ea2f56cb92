"""A sequence of bytes and delimiters in a wavelet tree that is shaped by a Huffman code (Grossi, Gupta, Vitter, SODA 2003;
Mäkinen, Navarro, 2005), with access, rank and select.

Its size is that of its bits, which are those of the Huffman code; of the rank directory, a 32-bit count of ones for each
512 bits (6.25 %), by which selects search, too; of where each node begins (32 bits); and of the lengths of codes (8 bits a
symbol), which give the shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.peers import codes, compiled

DELIMITER = 256
ALPHABET = 257
BLOCK_BITS = 512
COUNT_BYTES = 4
RUN = 4096
"""Symbols that are decoded at a time."""


@dataclass(frozen=True)
class Tree:
    """What is stored: bits, before, starts, lengths. What follows from it: ones, children, path (wavelet.c says what they are)."""

    bits: np.ndarray
    before: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    ones: np.ndarray
    children: np.ndarray
    path: np.ndarray
    only: int
    symbols: int

    @property
    def nbytes(self) -> int:
        return size_of_parts(int(self.bits.size) * 64, len(self.starts))

    @property
    def given(self) -> tuple[np.ndarray | int, ...]:
        """The tree as C takes it."""
        arrays = (self.bits, self.before, self.starts, self.ones, self.children)
        return (*arrays, len(self.starts), len(self.before) - 1, self.only, self.path, len(self.path) // 2)


def size_of_parts(bits: int, nodes: int) -> int:
    blocks = -(-bits // BLOCK_BITS)
    return -(-bits // 64) * 8 + blocks * COUNT_BYTES + nodes * COUNT_BYTES + ALPHABET


def size_of(counts: np.ndarray) -> int:
    """The bytes of a tree of symbols that occur so often; nothing is built."""
    return size_of_parts(int((counts * codes.code_lengths(counts)).sum()), max(0, int(np.count_nonzero(counts)) - 1))


def build(symbols: np.ndarray) -> Tree:
    """The tree of a sequence of symbols below ALPHABET."""
    given = np.ascontiguousarray(symbols, np.uint16)
    counts = np.bincount(given, minlength=ALPHABET)
    lengths = codes.code_lengths(counts)
    order = codes.order_of(counts, lengths)
    by_symbol = _codes(lengths, order)
    children, sizes = _nodes(counts, lengths, order, by_symbol)
    ends = np.cumsum(sizes)
    starts = (ends - sizes).astype(np.uint32)
    total = int(ends[-1]) if len(ends) else 0
    if total >> 32:
        raise ValueError("a tree of more than 2^32 bits has no counts of 32 bits; give it a part of the tensor")
    bits = np.zeros(-(-total // 64), np.uint64)
    places = np.zeros(len(starts) + 1, np.int64)
    compiled.call("wavelet", "build", given, given.size, lengths, by_symbol, starts, children, places, bits)
    before, ones = np.zeros(-(-total // BLOCK_BITS) + 1, np.uint32), np.zeros(len(starts), np.uint32)
    compiled.call("wavelet", "count_ones", bits, len(bits), before)
    compiled.call("wavelet", "count_starts", bits, before, starts, len(starts), ones)
    only = int(order[0]) if len(order) == 1 else 0
    path = _path(children, lengths, by_symbol)
    return Tree(bits, before, starts, lengths, ones, children, path, only, given.size)


def _codes(lengths: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The canonical code of each symbol."""
    found, code, before = np.zeros(ALPHABET, np.uint64), 0, 0
    for symbol in order:
        length = int(lengths[symbol])
        code <<= length - before
        found[symbol], code, before = code, code + 1, length
    return found


def _nodes(
    counts: np.ndarray, lengths: np.ndarray, order: np.ndarray, by_symbol: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Children of nodes, the root first, and the bits of each."""
    if len(order) < 2:
        return np.zeros(0, np.int32), np.zeros(0, np.int64)
    children, sizes, next_node = np.zeros(2 * (len(order) - 1), np.int32), np.zeros(len(order) - 1, np.int64), 1
    for symbol in order:
        node = 0
        for level in range(int(lengths[symbol]) - 1, -1, -1):
            side = 2 * node + (int(by_symbol[symbol]) >> level & 1)
            sizes[node] += counts[symbol]
            if level == 0:
                children[side] = ~int(symbol)
            elif children[side] == 0:  # the root is nobody's child
                children[side], next_node = next_node, next_node + 1
            node = int(children[side])
    return children, sizes


def _path(children: np.ndarray, lengths: np.ndarray, by_symbol: np.ndarray) -> np.ndarray:
    """The nodes from the delimiter up, each followed by the side on which it is."""
    found, node = [], 0
    for level in range(int(lengths[DELIMITER]) - 1, -1, -1):
        side = int(by_symbol[DELIMITER]) >> level & 1
        found.append((node, side))
        node = int(children[2 * node + side])
    return np.array(found[::-1], np.int32).reshape(-1)


def room(tree: Tree, symbols: int) -> np.ndarray:
    """What access to so many neighbouring symbols needs."""
    return np.empty((int(tree.lengths.max()) + 1) * symbols, np.uint16)


def decode(tree: Tree) -> np.ndarray:
    """All symbols."""
    out = np.empty(tree.symbols, np.uint16)
    compiled.call("wavelet", "decode", *tree.given, tree.symbols, out, room(tree, RUN))
    return out
