"""Our plain implementation of the bitmap format of sparse matrices, as SparAMX (AbouElhamayed et al., 2025) has on CPUs; one thread.

A bit for each weight says whether it is zero; the others follow, packed. The product expands 32 weights at a time with
AVX-512 where the processor has it, and goes from bit to bit elsewhere (bitmap.c).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import Stored, compiled, csr
from benchmarks.peers.words import as_matrix, row_of, words_of

PADDING, VALUE_PADDING = 8, 128
"""Bytes after the bits, and after the values, that are read and never used; they are not counted."""


def version() -> str:
    compiled.library("bitmap")
    return "ours"


def encode(array: np.ndarray) -> Stored:
    words = words_of(array)
    there = words != 0
    values, bits = words[there], np.packbits(there, bitorder="little")
    padded = np.append(bits, np.zeros(PADDING, np.uint8))
    more = np.append(values, np.zeros(VALUE_PADDING // words.itemsize, words.dtype))
    return Stored((padded, more), bits.nbytes + values.nbytes, array.shape, array.dtype)


def decode(stored: Stored) -> Any:
    bits, values = stored.data
    out = np.zeros(int(np.prod(stored.shape)), values.dtype)
    compiled.call("bitmap", f"decode_{8 * values.itemsize}", bits, values, out.size, out)
    return out


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    column = row_of(x, stored.dtype)
    if column is None or stored.dtype.name not in csr.PRODUCTS:
        return None
    rows, columns = as_matrix(stored.shape)
    y = np.empty(rows, np.float32)
    call = compiled.Call("bitmap", f"product_{stored.dtype.name}", *stored.data, rows, columns, column, y)
    return lambda: (call(), y)[1]
