"""Our plain implementation of sHAC, or sHAM (Marinò, Furia, Malchiodi, Frasca, "Efficient and Compact Representations of Deep
Neural Networks via Entropy Coding", IEEE Access 2023); one thread.

The words that are not zero have Huffman codes in one stream, column by column, beside the row indices and the column
pointers of compressed sparse columns; their columns are our rows (`hac`). Indices have 16 bits where they fit, else 32.
The product is a scalar loop that goes through the stream. It takes tensors that have at most 2^16 distinct values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import Stored, codes, compiled, csr, hac
from benchmarks.peers.words import as_matrix, by_frequency, row_of, values_of, words_of

version, takes = hac.version, hac.takes


def encode(array: np.ndarray) -> Stored:
    found, indices, pointers = csr.of_lines(words_of(array).reshape(as_matrix(array.shape)), array).data
    table, symbols = by_frequency(found)
    coded = codes.encode(symbols, len(table))
    size = coded.nbytes + table.nbytes + indices.nbytes + pointers.nbytes
    return Stored((coded, table, indices, pointers), size, array.shape, array.dtype)


def decode(stored: Stored) -> Any:
    coded, table, indices, pointers = stored.data
    out = np.zeros(int(np.prod(stored.shape)), table.dtype)
    function = f"sparse_decode_{8 * table.itemsize}_{8 * indices.itemsize}"
    code = (coded.stream, *coded.code)
    compiled.call("hac", function, *code, table, indices, pointers, *as_matrix(stored.shape), out)
    return out


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    column = row_of(x, stored.dtype)
    if column is None:
        return None
    coded, table, indices, pointers = stored.data
    y, values = np.empty(as_matrix(stored.shape)[0], np.float32), values_of(table, stored.dtype)
    code = (coded.stream, *coded.code)
    function = f"sparse_product_{8 * indices.itemsize}"
    call = compiled.Call("hac", function, *code, values, indices, pointers, len(y), column, y)
    return lambda: (call(), y)[1]
