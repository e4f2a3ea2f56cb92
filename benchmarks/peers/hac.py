"""Our plain implementation of HAC, or HAM (Marinò, Furia, Malchiodi, Frasca, "Efficient and Compact Representations of Deep
Neural Networks via Entropy Coding", IEEE Access 2023); one thread.

Every word of a matrix has a Huffman code, and the codes of all are one stream, column by column. Their matrices are the
transposes of ours, so their columns are our rows. A product goes through the stream, as in the paper: a scalar loop. The
codes are canonical and looked up in a table, as in the authors' later programs. It takes tensors that have at most 2^16
distinct values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import Stored, codes, compiled
from benchmarks.peers.words import MAX_DISTINCT, as_matrix, by_frequency, has_few, row_of, values_of, words_of


def version() -> str:
    for name in ("codes", "hac"):
        compiled.library(name)
    return "ours"


def takes(array: np.ndarray) -> bool:
    return has_few(words_of(array), MAX_DISTINCT)


def encode(array: np.ndarray) -> Stored:
    table, indices = by_frequency(words_of(array))
    coded = codes.encode(indices, len(table))
    return Stored((coded, table), coded.nbytes + table.nbytes, array.shape, array.dtype)


def decode(stored: Stored) -> Any:
    coded, table = stored.data
    out = np.empty(coded.count, table.dtype)
    compiled.call("hac", f"decode_{8 * table.itemsize}", coded.stream, *coded.code, table, out.size, out)
    return out


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    column = row_of(x, stored.dtype)
    if column is None:
        return None
    coded, table = stored.data
    rows, columns = as_matrix(stored.shape)
    y, values = np.empty(rows, np.float32), values_of(table, stored.dtype)
    call = compiled.Call("hac", "product", coded.stream, *coded.code, values, rows, columns, column, y)
    return lambda: (call(), y)[1]
