"""zstd at level 3, its default, on the bytes of the array; one thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import Stored

LEVEL = 3


def version() -> str:
    import zstandard

    return str(zstandard.__version__)


def encode(array: np.ndarray) -> Stored:
    import zstandard

    found = zstandard.ZstdCompressor(level=LEVEL).compress(array.reshape(-1).view(np.uint8))
    return Stored(found, len(found), array.shape, array.dtype)


def decode(stored: Stored) -> Any:
    import zstandard

    return zstandard.ZstdDecompressor().decompress(stored.data)


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    return None
