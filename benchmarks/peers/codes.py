"""Huffman codes of up to 2^16 symbols in one stream, as papers on model coding have them: the best lengths, canonical.

What they take is counted with the streams: a byte for the length of each symbol's code.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from benchmarks.peers import compiled

PADDING = 8
"""Bytes after a stream that a decoder reads and never uses; they are not counted."""


@dataclass(frozen=True)
class Coded:
    """A stream of codes. order: the symbols that occur, by the length of their code."""

    stream: np.ndarray
    lengths: np.ndarray
    order: np.ndarray
    count: int

    @property
    def nbytes(self) -> int:
        """Codes and lengths."""
        return len(self.stream) - PADDING + len(self.lengths)

    @property
    def code(self) -> tuple[np.ndarray, np.ndarray, int]:
        """What C calls a code: lengths, order, and how many symbols occur."""
        return self.lengths, self.order, len(self.order)


def code_lengths(counts: np.ndarray) -> np.ndarray:
    """The lengths of Huffman codes by symbol, 0 for what does not occur; one symbol alone needs no bits."""
    symbols = np.flatnonzero(counts)
    lengths = np.zeros(len(counts), np.uint8)
    leaves = len(symbols)
    if leaves < 2:
        return lengths
    heap = [(int(count), node) for node, count in enumerate(counts[symbols])]
    heapq.heapify(heap)
    parents = [0] * (2 * leaves - 1)
    for node in range(leaves, 2 * leaves - 1):
        first, one = heapq.heappop(heap)
        second, other = heap[0]
        parents[one] = parents[other] = node
        heapq.heapreplace(heap, (first + second, node))
    depths = [0] * (2 * leaves - 1)
    for node in range(2 * leaves - 3, -1, -1):
        depths[node] = depths[parents[node]] + 1
    lengths[symbols] = depths[:leaves]
    return lengths


def order_of(counts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The symbols that occur, by length, then by number."""
    symbols = np.flatnonzero(counts)
    return symbols[np.argsort(lengths[symbols], kind="stable")].astype(np.uint16)


def size_of(counts: np.ndarray) -> int:
    """The bytes of symbols that occur so often, with their lengths; nothing is coded."""
    return -(-int((counts * code_lengths(counts)).sum()) // 8) + len(counts)


def encode(symbols: np.ndarray, alphabet: int) -> Coded:
    """Symbols below `alphabet` in one stream."""
    counts = np.bincount(symbols, minlength=alphabet)
    lengths = code_lengths(counts)
    order = order_of(counts, lengths)
    given = np.ascontiguousarray(symbols, np.uint16)
    out = np.zeros(int((counts * lengths).sum()) // 8 + 1 + PADDING, np.uint8)
    size = compiled.call("codes", "encode", given, given.size, lengths, order, len(order), alphabet, out)
    out[size:] = 0
    return Coded(out[: size + PADDING].copy(), lengths, order, given.size)


def decode(coded: Coded) -> np.ndarray:
    """The symbols again."""
    out = np.empty(coded.count, np.uint16)
    compiled.call("codes", "decode", coded.stream, coded.count, *coded.code, out)
    return out
