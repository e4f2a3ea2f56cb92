"""Our plain implementation of the form of NF12 (Together AI, in GPTQModel 7, 2026), for a CPU; one thread.

A bfloat16 takes 12 bits: a code of 4 bits for its exponent, one of the 15 most frequent ones or an escape, and the 8 bits
of its sign and mantissa; a float32 takes 28 likewise, with 24 bits as they are. The exponents of escapes are a list of
bytes, in order. Decoding and the product take 16 weights at a time with AVX2 where the processor has it, one elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import Stored, compiled
from benchmarks.peers.words import as_matrix, row_of, words_of

TAKES = ("bfloat16", "float32")
ESCAPE = 15


def version() -> str:
    compiled.library("fixed12")
    return "ours"


def encode(array: np.ndarray) -> Stored:
    words = words_of(array)
    bits = 8 * words.itemsize
    turned = (words << 1) | (words >> (bits - 1))
    exponents = (turned >> (bits - 8)).astype(np.uint8)
    counts = np.bincount(exponents, minlength=256)
    table = np.argsort(-counts, kind="stable")[: ESCAPE + 1].astype(np.uint8)  # the last one is an escape's, never read
    codes_of = np.full(256, ESCAPE, np.uint8)
    codes_of[table[:ESCAPE]] = np.arange(ESCAPE, dtype=np.uint8)
    codes = codes_of[exponents]
    escapes = exponents[codes == ESCAPE]
    even = np.append(codes, np.zeros(codes.size & 1, np.uint8)).reshape(-1, 2)
    pairs = np.ascontiguousarray(even[:, 0] | (even[:, 1] << 4))
    highest = (turned >> (bits - 16)).astype(np.uint8)
    lows = turned.astype(np.uint16) if bits == 32 else np.zeros(0, np.uint16)
    parts = (pairs, highest, lows, table, escapes)
    return Stored(parts, sum(part.nbytes for part in parts) - 1, array.shape, array.dtype)


def decode(stored: Stored) -> Any:
    out = np.empty(int(np.prod(stored.shape)), f"u{stored.dtype.itemsize}")
    compiled.call("fixed12", f"decode_{8 * out.itemsize}", *stored.data, out.size, out)
    return out


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    column = row_of(x, stored.dtype)
    if column is None:
        return None
    rows, columns = as_matrix(stored.shape)
    y = np.empty(rows, np.float32)
    call = compiled.Call("fixed12", f"product_{8 * stored.dtype.itemsize}", *stored.data, rows, columns, column, y)
    return lambda: (call(), y)[1]
