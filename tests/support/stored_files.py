"""Files to store: of many dtypes and sizes, with equal tensors, empty ones and scalars."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import safetensors.numpy
from support.arrays import normal


def tensors(rng: np.random.Generator, rows: int = 40) -> dict[str, np.ndarray]:
    """Tensors that are pooled, tensors that are blocks of their own, and copies of both."""
    weight = normal(rng, (rows, 512), np.dtype(np.float32))
    return {
        "block.weight": weight,
        "block.copy": weight.copy(),
        "block.bias": normal(rng, (rows,), np.dtype(ml_dtypes.bfloat16)).view(np.uint16),
        "codes": rng.integers(-3, 4, (rows, 512), np.int8),
        "scalar": np.array(-0.0, np.float32),
        "other scalar": np.array(np.nan, np.float32),
        "empty": np.zeros((0, 7), np.float32),
        "zeros": np.zeros((rows, 512), np.float16),
        "indices": np.arange(300, dtype=np.int64),
        "flags": rng.integers(0, 2, 77).astype(np.bool_),
    }


def write(path: Path, rng: np.random.Generator, rows: int = 40) -> Path:
    safetensors.numpy.save_file(tensors(rng, rows), path, {"format": "pt", "licence": "none"})
    return path


def small(path: Path, rng: np.random.Generator) -> Path:
    """A file whose every byte can be tried."""
    found = {"w": normal(rng, (6, 5), np.dtype(np.float32)), "again": np.zeros(3, np.int8), "b": np.zeros(3, np.int8)}
    safetensors.numpy.save_file(found, path)
    return path
