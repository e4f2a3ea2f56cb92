"""Tensors for the fast coder: as networks have them, and as nobody would wish them."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from tersely.core import dtypes
from tersely.storage.ans import coder
from tersely.storage.codec import ANS, Item


def item(array: np.ndarray) -> Item:
    """An array as something to store."""
    return Item(dtypes.raw_bytes(array), dtypes.of_array(array), array.shape)


def fast_block(*items: Item) -> bytes:
    """A block of the fast coder, however few bytes the items have."""
    return bytes([ANS]) + coder.encode([(one.raw, one.dtype, one.shape) for one in items], 1)


def tensors() -> dict[str, np.ndarray]:
    """By name; few enough for the reference, which is slow."""
    rng = np.random.default_rng(17)
    rows = np.exp(rng.standard_normal((96, 1)) * 0.7)
    dense = (rng.standard_normal((96, 200)) * rows * 0.02).astype(np.float32)
    pruned = np.where(np.abs(dense) < 0.02, np.float32(0), dense)
    steps = np.clip(np.round(dense / 0.001), -128, 127)
    lowest = rng.choice(np.array([0, 1, 2, 7], np.uint32), (96, 200), p=[0.55, 0.25, 0.15, 0.05])
    rounded = (dense.view(np.uint32) & np.uint32(0xFFFFFFF8) | lowest).view(np.float32)
    many = np.sort(rng.standard_normal(700)).astype(np.float32)
    return {
        "float32": dense,
        "bfloat16": dense.astype(ml_dtypes.bfloat16),
        "float16": dense.astype(np.float16),
        "float64": dense.astype(np.float64),
        "complex64": (dense + 1j * dense[::-1]).astype(np.complex64),
        "lowest bits that are no noise": rounded,
        "lowest bits of pruned": np.where(np.abs(rounded) < 0.01, np.float32(0), rounded),
        "lowest bits of integers": rng.integers(0, 1 << 57, (60, 60)) << 8 | 64 * lowest[:60, :60].astype(np.int64),
        "float16 in float32": dense.astype(np.float16).astype(np.float32),
        "pruned float32": pruned,
        "pruned float16": pruned.astype(np.float16),
        "pruned float64": pruned.astype(np.float64),
        "negative zeros": np.where(dense < 0.001, np.float32(-0.0), dense),
        "int8": steps.astype(np.int8),
        "uint8": (steps + 128).astype(np.uint8),
        "pruned int8": np.where(np.abs(steps) < 40, 0, steps).astype(np.int8),
        "convolution": dense[:90].reshape(50, 40, 3, 3),
        "palette of 16": many[:16][rng.integers(0, 16, (120, 100))],
        "palette of 700": many[rng.integers(0, 700, (120, 100))],
        "int32": rng.integers(-5000, 5000, (60, 60)).astype(np.int32),
        "int64": rng.integers(-(1 << 62), 1 << 62, 3000),
        "uint64": rng.integers(0, 1 << 64, 300, dtype=np.uint64),
        "one value": np.full((50, 60), 0.25, np.float32),
        "zeros": np.zeros((50, 60), np.float16),
        "rare values": np.where(rng.random((200, 100)) < 0.0005, rng.standard_normal((200, 100)), 1.0).astype(
            np.float32
        ),
        "every bit pattern": np.frombuffer(rng.bytes(4 * 2000), np.float32),
        "every bit pattern of 16": np.frombuffer(rng.bytes(2 * 2000), np.float16),
        "one": np.array(3.5, np.float32),
        "three": np.array([1.5, -2.5, 1e-40], np.float32),
    }
