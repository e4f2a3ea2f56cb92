"""pcodec at its highest level; what it does not know, as words of as many bits; one thread."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import Stored

LEVEL = 12


def version() -> str:
    import pcodec  # noqa: F401

    return importlib.metadata.version("pcodec")


def encode(array: np.ndarray) -> Stored:
    from pcodec import ChunkConfig, standalone

    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.dtype.kind not in "fiu":
        flat = flat.view(f"u{flat.dtype.itemsize}")
    found = standalone.simple_compress(flat, ChunkConfig(compression_level=LEVEL, enable_8_bit=True))
    return Stored(found, len(found), array.shape, array.dtype)


def decode(stored: Stored) -> Any:
    from pcodec import standalone

    return standalone.simple_decompress(stored.data)


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    return None
