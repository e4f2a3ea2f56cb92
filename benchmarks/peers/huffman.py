"""Canonical Huffman codes, ours and plain: of each byte plane that they make smaller, lengths limited to 12 bits; one thread.

Floats are turned left by one bit first, so that their exponents are the highest plane. A plane is four streams that are
decoded in turn, by one look into a table for each byte (huffman.c, compiled by `cc`); that is as fast as the format allows
without wider tables. A plane costs a byte, and where it is coded half a byte for each length and four for each stream.
"""

from __future__ import annotations

import ctypes
import functools
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np

from benchmarks.peers import Stored

LIMIT, STREAMS = 12, 4
OVERHEAD = 128 + 4 * STREAMS
FLOATS = ("float32", "float16", "bfloat16")
Plane = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]
"""Bytes; where they are coded, the length of every symbol's code and the bytes of each stream."""


def version() -> str:
    _library()
    return "ours"


@functools.cache
def _library() -> ctypes.CDLL:
    if which("cc") is None:
        raise ImportError("no compiler: cc is not installed")
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder, "huffman.so")
        source = Path(__file__).with_name("huffman.c")
        subprocess.run(["cc", "-O3", "-march=native", "-shared", "-fPIC", "-o", found, source], check=True)
        return ctypes.CDLL(str(found))


def code_lengths(counts: np.ndarray) -> np.ndarray:
    """The best lengths of codes of at most LIMIT bits, 0 for symbols that do not occur, by package-merge."""
    symbols = np.flatnonzero(counts)
    lengths = np.zeros(len(counts), np.uint8)
    if len(symbols) == 1:
        lengths[symbols] = 1
        return lengths
    weights, members = counts[symbols], np.eye(len(symbols), dtype=np.int64)
    all_weights, all_members = weights, members
    for step in range(LIMIT):
        order = np.argsort(all_weights, kind="stable")
        all_weights, all_members = all_weights[order], all_members[order]
        if step == LIMIT - 1:
            break
        pairs = len(all_weights) // 2 * 2
        all_weights = np.concatenate([weights, all_weights[0:pairs:2] + all_weights[1:pairs:2]])
        all_members = np.concatenate([members, all_members[0:pairs:2] + all_members[1:pairs:2]])
    lengths[symbols] = all_members[: 2 * len(symbols) - 2].sum(axis=0)
    return lengths


def encode(array: np.ndarray) -> Stored:
    words = np.ascontiguousarray(array).reshape(-1).view(f"u{array.dtype.itemsize}")
    if array.dtype.name in FLOATS:
        words = (words << 1) | (words >> (8 * words.itemsize - 1))
    planes = [_encoded(np.ascontiguousarray(plane)) for plane in words.view(np.uint8).reshape(-1, words.itemsize).T]
    size = sum(1 + plane.size + (OVERHEAD if lengths is not None else 0) for plane, lengths, _ in planes)
    return Stored(planes, size, array.shape, array.dtype)


def _encoded(plane: np.ndarray) -> Plane:
    counts = np.bincount(plane, minlength=256)
    if not plane.size:
        return plane, None, None
    lengths = code_lengths(counts)
    if int((counts * lengths).sum()) // 8 + OVERHEAD + STREAMS >= plane.size:
        return plane, None, None
    out, sizes = np.empty(2 * plane.size + 16, np.uint8), np.zeros(STREAMS, np.int64)
    _library().encode(_at(plane), ctypes.c_int64(plane.size), _at(lengths), _at(out), _at(sizes))
    return out[: sizes.sum()].copy(), lengths, sizes


def decode(stored: Stored) -> Any:
    count = int(np.prod(stored.shape))
    decoded = np.empty((count, stored.dtype.itemsize), np.uint8)
    for number, plane in enumerate(stored.data):
        decoded[:, number] = _decoded(plane, count)
    words = decoded.reshape(-1).view(f"u{stored.dtype.itemsize}")
    if stored.dtype.name in FLOATS:
        words = (words >> 1) | (words << (8 * words.itemsize - 1))
    return words


def _decoded(plane: Plane, count: int) -> np.ndarray:
    coded, lengths, sizes = plane
    if lengths is None or sizes is None:
        return coded
    padded, out = np.concatenate([coded, np.zeros(8, np.uint8)]), np.empty(count, np.uint8)
    _library().decode(_at(padded), _at(sizes), ctypes.c_int64(count), _at(lengths), _at(out))
    return out


def _at(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    return None
