"""ZipNN, told the dtype, one thread. Bytes are told to be float8 and other integers float32: it takes floats only."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import Stored


def version() -> str:
    import zipnn  # noqa: F401

    return importlib.metadata.version("zipnn")


FLOATS = ("float32", "bfloat16", "float16")


@functools.cache
def _coder(dtype: np.dtype) -> Any:
    from zipnn import ZipNN

    told = dtype.name if dtype.name in FLOATS else "float8_e4m3fn" if dtype.itemsize < 4 else "float32"
    return ZipNN(input_format="byte", bytearray_dtype=told, threads=1)


def encode(array: np.ndarray) -> Stored:
    # It reorders its input's bytes in place, so it gets its own; a bytearray costs next to nothing beside it.
    found = _coder(array.dtype).compress(bytearray(array.reshape(-1).view(np.uint8)))
    return Stored(found, len(found), array.shape, array.dtype)


def decode(stored: Stored) -> Any:
    return _coder(stored.dtype).decompress(stored.data)


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    return None
