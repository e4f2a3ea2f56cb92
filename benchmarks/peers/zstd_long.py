"""zstd at level 22 with long-distance matching over windows of 128 MB, on the bytes of the array; one thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import Stored

LEVEL, WINDOW_LOG = 22, 27


def version() -> str:
    import zstandard

    return str(zstandard.__version__)


def encode(array: np.ndarray) -> Stored:
    import zstandard

    settings = zstandard.ZstdCompressionParameters.from_level(
        LEVEL, source_size=array.nbytes, window_log=WINDOW_LOG, enable_ldm=True, write_checksum=False
    )
    found = zstandard.ZstdCompressor(compression_params=settings).compress(array.reshape(-1).view(np.uint8))
    return Stored(found, len(found), array.shape, array.dtype)


def decode(stored: Stored) -> Any:
    import zstandard

    return zstandard.ZstdDecompressor(max_window_size=1 << WINDOW_LOG).decompress(stored.data)


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    return None
