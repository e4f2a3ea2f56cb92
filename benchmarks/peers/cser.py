"""Our plain implementation of CSER, "Compressed Shared Elements Row" (Wiedemann, Müller, Samek, "Compact and Computationally
Efficient Representation of Deep Neural Networks", IEEE TNNLS 2020); one thread.

As `cer`, without its assumption that words are as frequent in every row as in the matrix: a list says which word it is of,
and no list is empty. That takes 8 bits, 16 where there are more than 256 distinct values, of which it takes at most 2^16.
"""

from __future__ import annotations

import numpy as np

from benchmarks.peers import Stored, cer
from benchmarks.peers.words import MAX_DISTINCT, as_matrix, by_frequency, has_few, words_of

version, decode, product = cer.version, cer.decode, cer.product


def takes(array: np.ndarray) -> bool:
    return has_few(words_of(array), MAX_DISTINCT)


def encode(array: np.ndarray) -> Stored:
    rows, columns = as_matrix(array.shape)
    table, indices = by_frequency(words_of(array))
    row, column, index = cer.listed(indices.reshape(rows, columns))
    begins = np.flatnonzero((np.diff(row, prepend=-1) != 0) | (np.diff(index, prepend=-1) != 0))
    lists = np.append(begins, len(row))
    counts = np.bincount(row[begins], minlength=rows)
    return cer.stored(array, table, column, lists, np.concatenate([[0], np.cumsum(counts)]), index[begins])
