"""Brotli at quality 11 with its largest window, on the bytes of the array; one thread."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import Stored

QUALITY, WINDOW_LOG = 11, 24


def version() -> str:
    import brotli  # noqa: F401

    return importlib.metadata.version("brotli")


def encode(array: np.ndarray) -> Stored:
    import brotli

    found = brotli.compress(array.reshape(-1).view(np.uint8).tobytes(), quality=QUALITY, lgwin=WINDOW_LOG)
    return Stored(found, len(found), array.shape, array.dtype)


def decode(stored: Stored) -> Any:
    import brotli

    return brotli.decompress(stored.data)


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    return None
