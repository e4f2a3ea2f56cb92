"""Our plain implementation of compressed sparse rows (the Yale format: Eisenstat, Gursky, Schultz, Sherman, 1977); one thread.

Indices have 16 bits where there are at most 2^16 columns, else 32; pointers have 32. Unlike others' it keeps -0.0. The
product sums a row with AVX2 or AVX-512 where the processor has them (compressed_sparse.c).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import Stored, compiled
from benchmarks.peers.words import as_matrix, index_dtype, row_of, words_of

PRODUCTS = ("float32", "int8")


def version() -> str:
    compiled.library("compressed_sparse")
    return "ours"


def encode(array: np.ndarray) -> Stored:
    return of_lines(words_of(array).reshape(as_matrix(array.shape)), array)


def of_lines(lines: np.ndarray, array: np.ndarray) -> Stored:
    """What is not zero of each line: of the rows of an array, or of its columns."""
    found, indices = np.nonzero(lines)
    pointers = np.concatenate([[0], np.cumsum(np.bincount(found, minlength=len(lines)))]).astype(np.uint32)
    parts = lines[found, indices], indices.astype(index_dtype(lines.shape[1] - 1)), pointers
    return Stored(parts, sum(part.nbytes for part in parts), array.shape, array.dtype)


def decode(stored: Stored) -> Any:
    rows, columns = as_matrix(stored.shape)
    return scattered(stored, rows, columns, 1)


def scattered(stored: Stored, lines: int, stride: int, step: int) -> np.ndarray:
    """The words again: of lines that begin `stride` apart, with neighbours that are `step` apart."""
    values, indices, pointers = stored.data
    out = np.zeros(int(np.prod(stored.shape)), values.dtype)
    function = f"decode_{8 * values.itemsize}_{8 * indices.itemsize}"
    compiled.call("compressed_sparse", function, values, indices, pointers, lines, stride, step, out)
    return out


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    column = row_of(x, stored.dtype)
    if column is None or stored.dtype.name not in PRODUCTS:
        return None
    values, indices, pointers = stored.data
    y = np.empty(as_matrix(stored.shape)[0], np.float32)
    function = f"rows_{stored.dtype.name}_{8 * indices.itemsize}"
    call = compiled.Call("compressed_sparse", function, values, indices, pointers, len(y), column, y)
    return lambda: (call(), y)[1]
