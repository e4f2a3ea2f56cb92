"""Our plain implementation of the method of "Succinct Compression" (2022; no code was published); one thread.

Weights are a sequence of symbols in a wavelet tree (`wavelet_tree`). *Block-wise* a delimiter ends every row (a filter, in
a convolution), *element-wise* every weight. `encode` is block-wise, which is the smaller one: it has fewer delimiters.

The symbols of a weight are its bytes, those of floats after they are turned left by one bit. Where a tensor has at most
256 distinct values, its symbol is an index into a table of them, the most frequent first, which is stored beside the tree.
Where most weights are zero, an operand is a tuple: the number of zeros between it and its left neighbour, of the same row
in a block-wise sequence, and its value. More than 255 zeros are cut by operands that are zero (fillers).

The product is the paper's: two selects find a row, or a weight, and access goes through it; a scalar loop (wavelet.c).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.peers import Stored, codes, compiled, wavelet_tree
from benchmarks.peers.wavelet_tree import DELIMITER
from benchmarks.peers.words import as_matrix, by_frequency, has_few, row_of, values_of, with_fillers, words_of

FLOATS = ("float32", "float16", "bfloat16", "float64")
SPAN = 256
"""Zeros before a value, and one more."""
NO_TABLE = np.zeros(0, np.uint8)


@dataclass(frozen=True)
class Sequence:
    """Operands of a tensor, the symbols of each in a row; how many of them each range has; the table of values, if any."""

    operands: np.ndarray
    ranges: np.ndarray
    table: np.ndarray
    pruned: bool

    def symbols(self) -> np.ndarray:
        """The sequence, with a delimiter after each range."""
        width = self.operands.shape[1]
        found = np.full(self.operands.size + len(self.ranges), DELIMITER, np.uint16)
        of_operands = np.ones(len(found), np.bool_)
        of_operands[np.cumsum(self.ranges * width + 1) - 1] = False
        found[of_operands] = self.operands.reshape(-1)
        return found

    def counts(self) -> np.ndarray:
        """How often each symbol occurs, delimiters too."""
        return np.append(np.bincount(self.operands.reshape(-1), minlength=DELIMITER), len(self.ranges))


def version() -> str:
    for name in ("codes", "wavelet"):
        compiled.library(name)
    return "ours"


def sequence_of(array: np.ndarray, by_elements: bool) -> Sequence:
    """The operands of an array and their ranges: rows, or single operands."""
    words = words_of(array).reshape(as_matrix(array.shape))
    rows, columns = words.shape
    pruned = 2 * np.count_nonzero(words) < words.size
    quantised = has_few(words.reshape(-1), SPAN)
    if not pruned:
        values, table = _values(words.reshape(-1), array.dtype, quantised)
        return Sequence(values, _ranges(len(values), by_elements, np.full(rows, columns)), table, False)
    row, column = np.nonzero(words)
    places = row * columns + column if by_elements else column
    gaps = np.diff(places, prepend=-1) - 1
    if not by_elements:
        begins = np.diff(row, prepend=-1) != 0
        gaps[begins] = column[begins]
    all_gaps, own = with_fillers(gaps, SPAN)
    values, table = _values(words[row, column], array.dtype, quantised)
    operands = np.zeros((len(all_gaps), 1 + values.shape[1]), np.uint8)
    operands[:, 0] = all_gaps
    if quantised and len(all_gaps) > len(own):
        operands[:, 1] = len(table)
        table = np.append(table, np.zeros(1, table.dtype))
    operands[own, 1:] = values
    of_rows = np.bincount(row, weights=np.diff(own, prepend=-1), minlength=rows).astype(np.int64)
    return Sequence(operands, _ranges(len(operands), by_elements, of_rows), table, True)


def _values(words: np.ndarray, dtype: np.dtype, quantised: bool) -> tuple[np.ndarray, np.ndarray]:
    """Symbols of words, a row for each, and their table."""
    if quantised:
        table, indices = by_frequency(words)
        return indices.astype(np.uint8)[:, None], table
    if dtype.name in FLOATS:
        words = (words << 1) | (words >> (8 * words.itemsize - 1))
    return words.view(np.uint8).reshape(-1, words.itemsize), NO_TABLE


def _ranges(operands: int, by_elements: bool, of_rows: np.ndarray) -> np.ndarray:
    return np.ones(operands, np.int64) if by_elements else of_rows


def shares(array: np.ndarray) -> dict[str, float]:
    """Sizes as percentages of float32, with tables: HF, a Huffman code of the same symbols; E and B, element- and block-wise.

    HF is of the element-wise symbols, without delimiters.
    """
    elements, blocks = sequence_of(array, True), sequence_of(array, False)
    sizes = {
        "HF": codes.size_of(elements.counts()[:DELIMITER]) + elements.table.nbytes,
        "E": wavelet_tree.size_of(elements.counts()) + elements.table.nbytes,
        "B": wavelet_tree.size_of(blocks.counts()) + blocks.table.nbytes,
    }
    return {name: 100 * size / (4 * array.size) for name, size in sizes.items()}


def encode(array: np.ndarray) -> Stored:
    return encode_as(array, False)


def encode_as(array: np.ndarray, by_elements: bool) -> Stored:
    """A tensor element-wise, or block-wise."""
    sequence = sequence_of(array, by_elements)
    tree = wavelet_tree.build(sequence.symbols())
    size = tree.nbytes + sequence.table.nbytes
    longest = int(sequence.ranges.max(initial=0)) * sequence.operands.shape[1]
    data = (tree, sequence.table, sequence.pruned, by_elements, sequence.operands.shape[1], longest)
    return Stored(data, size, array.shape, array.dtype)


def decode(stored: Stored) -> Any:
    tree, table, pruned, by_elements, width, _ = stored.data
    symbols = wavelet_tree.decode(tree)
    rows, columns = as_matrix(stored.shape)
    ends = symbols == DELIMITER
    operands = symbols[~ends].astype(np.uint8).reshape(-1, width)
    words = _words(operands[:, 1:] if pruned else operands, table, stored.dtype)
    if not pruned:
        return words
    after = np.cumsum(operands[:, 0].astype(np.int64) + 1)
    if not by_elements:
        of_rows = np.diff(np.flatnonzero(ends), prepend=-1) // width
        firsts = np.cumsum(of_rows) - of_rows
        before = np.concatenate([[0], after])[firsts]
        after += np.repeat(np.arange(rows) * columns - before, of_rows)
    out = np.zeros(rows * columns, words.dtype)
    out[after - 1] = words
    return out


def _words(values: np.ndarray, table: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if values.shape[1] == 1 and table.size:
        return table[values[:, 0]]
    words = np.ascontiguousarray(values).reshape(-1).view(f"u{dtype.itemsize}")
    return (words >> 1) | (words << (8 * words.itemsize - 1)) if dtype.name in FLOATS else words


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    column = row_of(x, stored.dtype)
    tree, table, pruned, by_elements, width, longest = stored.data
    if column is None or (not table.size and stored.dtype.name not in ("float32", "bfloat16")):
        return None
    rows, columns = as_matrix(stored.shape)
    y = np.empty(rows, np.float32)
    values: np.ndarray | int = values_of(table, stored.dtype) if table.size else 0
    ranges = tree.symbols // (width + 1) if by_elements else rows
    settings = (ranges, int(by_elements), int(pruned), width - int(pruned), values)
    room = wavelet_tree.room(tree, longest + 1)
    call = compiled.Call("wavelet", "product", *tree.given, *settings, rows, columns, column, y, room)
    return lambda: (call(), y)[1]
