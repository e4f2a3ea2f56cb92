"""Files of many small tensors, whose compressed forms have a pool."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import safetensors.numpy


def arrays(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Coded tensors, one of them twice, a dense one that is large, and small ones of many dtypes."""
    found: dict[str, np.ndarray] = {}
    for layer in range(3):
        weight = (rng.standard_normal((160, 128)) * 0.05).astype(np.float32)
        found[f"layers.{layer}.weight"] = weight.astype(ml_dtypes.bfloat16) if layer else weight
        for name, dtype in (("bias", np.float32), ("scale", np.float16), ("zero_point", np.int64)):
            found[f"layers.{layer}.{name}"] = (rng.standard_normal(160) * 3).astype(dtype)
        found[f"layers.{layer}.norm"] = np.ones(128, ml_dtypes.bfloat16)
    found["copy"] = found["layers.1.weight"].copy()
    found["noise"] = rng.integers(0, 1 << 62, (130, 130))
    found["kernel"] = rng.integers(-9, 9, (16, 3, 3, 3)).astype(np.int8)
    found["flags"] = np.array([True, False, True])
    found["step"] = np.array(7, np.int64)
    found["empty"] = np.zeros((0, 3), np.float32)
    return found


def write(path: Path, rng: np.random.Generator, metadata: dict[str, str] | None = None) -> Path:
    """A safetensors file of `arrays`."""
    safetensors.numpy.save_file(arrays(rng), path, metadata=metadata)
    return path
