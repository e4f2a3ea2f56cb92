"""Bytes compared as what they are: bits, never numbers."""

from __future__ import annotations

import numpy as np


def same_bytes(a: np.ndarray, b: np.ndarray) -> bool:
    """Tell whether two C-contiguous uint8 arrays [bytes] are equal; eight bytes are compared at a time."""
    if a.size != b.size:
        return False
    whole = a.size // 8 * 8
    longs = a[:whole].view(np.uint64) == b[:whole].view(np.uint64)
    return bool(longs.all()) and a[whole:].tobytes() == b[whole:].tobytes()
