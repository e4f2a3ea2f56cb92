"""Tensors in blocks of level `max` in Python: how a word is taken apart, and the tree of its symbols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

BYTES, INTEGER, PALETTE, FLOATING = range(4)
"""Kinds of words."""


@dataclass(frozen=True)
class Item:
    """A tensor in a block: its bytes, and what it is.

    word_bytes: of a number, 1, 2, 4 or 8. exponent, mantissa: bits of floats; 0: none. axes: four lengths, C order.
    """

    data: bytearray
    word_bytes: int
    exponent: int
    mantissa: int
    axes: tuple[int, int, int, int]


@dataclass
class Form:
    """How a word of a tensor is a symbol, a sign and low bits (word_form.hpp)."""

    kind: int = BYTES
    signs: int = 0
    contexts: int = 1
    depth: int = 0
    smallest: int = 0
    logs: list[int] = field(default_factory=list)
    zero: int = 0
    palette: list[int] = field(default_factory=list)
    word_bits: int = 0
    mantissa: int = 0
    top: int = 0
    zeros: int = 0
    tail: int = 0
    modelled: int = 0

    def split(self, word: int) -> tuple[int, bool, int]:
        if self.kind == FLOATING:
            magnitude, below = word & (1 << self.word_bits - 1) - 1, self.mantissa - self.top
            low = (magnitude & (1 << below) - 1) >> self.zeros
            return (magnitude >> below) - self.smallest, bool(word >> self.word_bits - 1), low
        if self.kind == INTEGER:
            ahead = word - self.zero & 255
            return min(ahead, 256 - ahead) - self.smallest, ahead >= 128, 0
        index = self.palette.index(word)
        return abs(index - self.zero) - self.smallest, index < self.zero, 0

    def join(self, symbol: int, negative: bool, low: int) -> int:
        magnitude = symbol + self.smallest
        if self.kind == FLOATING:
            word = magnitude << self.mantissa - self.top | low << self.zeros
            return word & (1 << self.word_bits - 1) - 1 | negative << self.word_bits - 1
        index = self.zero - magnitude if negative else self.zero + magnitude
        if self.kind == INTEGER:
            return index & 255
        return self.palette[index if 0 <= index < len(self.palette) else 0]


def tree(logs: Sequence[int]) -> tuple[list[tuple[int, list[int]]], int]:
    """Returns the nodes (split, children) of the tree over the symbols that have a count, and its root.

    A child is a node, or -1 - symbol.
    """
    symbols = [symbol for symbol, log in enumerate(logs) if log]
    sums = [0]
    for symbol in symbols:
        sums.append(sums[-1] + (1 << logs[symbol]))
    nodes: list[tuple[int, list[int]]] = []

    def build(begin: int, end: int) -> int:
        if end - begin == 1:
            return -1 - symbols[begin]
        split = min(range(begin + 1, end), key=lambda at: (abs(2 * sums[at] - sums[begin] - sums[end]), at))
        nodes.append((symbols[split], [0, 0]))
        at = len(nodes) - 1
        nodes[at][1][:] = build(begin, split), build(split, end)
        return at

    return nodes, build(0, len(symbols))
