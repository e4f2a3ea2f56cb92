"""pcodec at its default level; bfloat16, which it does not know, as unsigned words of 16 bits; one thread."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from benchmarks.peers import Stored


def version() -> str:
    import pcodec  # noqa: F401

    return importlib.metadata.version("pcodec")


def encode(array: np.ndarray) -> Stored:
    from pcodec import ChunkConfig, standalone

    flat = array.reshape(-1)
    words = flat.view(np.uint16) if flat.dtype == ml_dtypes.bfloat16 else flat
    found = standalone.simple_compress(words, ChunkConfig())
    return Stored(found, len(found), array.shape, array.dtype)


def decode(stored: Stored) -> Any:
    from pcodec import standalone

    return standalone.simple_decompress(stored.data)


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    return None
