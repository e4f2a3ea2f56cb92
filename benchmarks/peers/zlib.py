"""zlib at level 6, its default, on the bytes of the array; one thread."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import Stored

LEVEL = 6


def version() -> str:
    return zlib.ZLIB_RUNTIME_VERSION


def encode(array: np.ndarray) -> Stored:
    found = zlib.compress(array.reshape(-1).view(np.uint8), LEVEL)
    return Stored(found, len(found), array.shape, array.dtype)


def decode(stored: Stored) -> Any:
    return zlib.decompress(stored.data)


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    return None
