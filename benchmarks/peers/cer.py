"""Our plain implementation of CER, "Compressed Entropy Row" (Wiedemann, Müller, Samek, "Compact and Computationally Efficient
Representation of Deep Neural Networks", IEEE TNNLS 2020); one thread.

Distinct words are ordered by their frequency in the matrix, and the first is stored nowhere. Of each row there is a list of
columns for each other word, in that order, up to the last one that occurs in the row: a list can be empty, which costs its
pointer. Columns, and pointers to lists and rows, have 16 bits where they fit, else 32. The product has one multiplication
a list. It takes tensors that have at most 1024 distinct values: with more of them pointers to empty lists are larger than
the matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import Stored, compiled
from benchmarks.peers.words import as_matrix, by_frequency, has_few, index_dtype, row_of, values_of, words_of

LIMIT = 1024
NO_WORDS = np.zeros(0, np.uint16)


def version() -> str:
    compiled.library("cer")
    return "ours"


def takes(array: np.ndarray) -> bool:
    return has_few(words_of(array), LIMIT)


def encode(array: np.ndarray) -> Stored:
    rows, columns = as_matrix(array.shape)
    table, indices = by_frequency(words_of(array), LIMIT)
    row, column, index = listed(indices.reshape(rows, columns))
    last = np.zeros(rows, np.int64)
    np.maximum.at(last, row, index)  # how many lists the row has: of the words 1 to its last one
    first_list = np.concatenate([[0], np.cumsum(last)])
    sizes = np.bincount(first_list[row] + index - 1, minlength=int(first_list[-1]))
    return stored(array, table, column, np.concatenate([[0], np.cumsum(sizes)]), first_list, NO_WORDS)


def listed(indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, column and index of what is not the most frequent word, by row, then by index, then by column."""
    row, column = np.nonzero(indices)
    index = indices[row, column].astype(np.int64)
    order = np.lexsort((index, row))  # stable: columns keep their order
    return row[order], column[order], index[order]


def stored(
    array: np.ndarray, table: np.ndarray, column: np.ndarray, lists: np.ndarray, rows: np.ndarray, words: np.ndarray
) -> Stored:
    """The parts, each in the smallest of its dtypes. words: the index of the word of each list, where that is stored."""
    columns = as_matrix(array.shape)[1]
    pointer = index_dtype(max(int(lists[-1]), int(rows[-1])))
    small = column.astype(index_dtype(columns - 1)), lists.astype(pointer), rows.astype(pointer)
    size = table.nbytes + sum(part.nbytes for part in small)
    size += words.size * (1 if len(table) <= 256 else 2)
    return Stored((table, *small, words.astype(np.uint16)), size, array.shape, array.dtype)


def decode(stored: Stored) -> Any:
    table, column, lists, rows, words = stored.data
    out = np.empty(int(np.prod(stored.shape)), table.dtype)
    if out.size:
        function = f"decode_{8 * table.itemsize}_{8 * column.itemsize}_{8 * lists.itemsize}"
        parts = (column, lists, rows, words if words.size else 0)
        compiled.call("cer", function, table, *parts, *as_matrix(stored.shape), out)
    return out


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    given = row_of(x, stored.dtype)
    if given is None or not given.size:
        return None
    table, column, lists, rows, words = stored.data
    count, columns = as_matrix(stored.shape)
    y, values = np.empty(count, np.float32), values_of(table, stored.dtype)
    function = f"product_{8 * column.itemsize}_{8 * lists.itemsize}"
    parts = (column, lists, rows, words if words.size else 0)
    call = compiled.Call("cer", function, values, *parts, count, columns, given, y)
    return lambda: (call(), y)[1]
