"""xz at level 9e, without a check sum, on the bytes of the array; one thread."""

from __future__ import annotations

import lzma
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import Stored

FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]


def version() -> str:
    return "of Python's lzma"


def encode(array: np.ndarray) -> Stored:
    data = array.reshape(-1).view(np.uint8)
    found = lzma.compress(data, lzma.FORMAT_XZ, lzma.CHECK_NONE, filters=FILTERS)
    return Stored(found, len(found), array.shape, array.dtype)


def decode(stored: Stored) -> Any:
    return lzma.decompress(stored.data)


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    return None
