"""Our plain implementation of compressed sparse columns, the form that EIE (Han et al., ISCA 2016) multiplies by; one thread.

As `csr`, by columns: an x that is zero costs nothing, but a product adds to elements of y that lie apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import Stored, compiled, csr
from benchmarks.peers.words import as_matrix, row_of, words_of

version = csr.version


def encode(array: np.ndarray) -> Stored:
    return csr.of_lines(words_of(array).reshape(as_matrix(array.shape)).T, array)


def decode(stored: Stored) -> Any:
    columns = as_matrix(stored.shape)[1]
    return csr.scattered(stored, columns, 1, columns)


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    row = row_of(x, stored.dtype)
    if row is None or stored.dtype.name not in csr.PRODUCTS:
        return None
    values, indices, pointers = stored.data
    rows, columns = as_matrix(stored.shape)
    y = np.empty(rows, np.float32)
    function = f"columns_{stored.dtype.name}_{8 * indices.itemsize}"
    call = compiled.Call("compressed_sparse", function, values, indices, pointers, columns, row, y, rows)
    return lambda: (call(), y)[1]
