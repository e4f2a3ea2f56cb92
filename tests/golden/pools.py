"""What the golden file with a pool was made from."""

from __future__ import annotations

import numpy as np

from golden.arithmetic import noise, weights


def pooled_2_0() -> dict[str, np.ndarray]:
    """Coded matrices, one of them twice, a large dense tensor, and small ones of several dtypes; format 2.0."""
    found: dict[str, np.ndarray] = {}
    for layer in range(3):
        found[f"layers.{layer}.weight"] = weights((144, 128), "bfloat16", 3000 + 10 * layer)
        found[f"layers.{layer}.bias"] = weights((144,), "float32", 3001 + 10 * layer)
        found[f"layers.{layer}.scale"] = weights((144,), "float16", 3002 + 10 * layer)
        found[f"layers.{layer}.zero_point"] = np.full(144, layer, np.int64)
    found["copy"] = found["layers.1.weight"].copy()
    found["kernel"] = noise(16 * 27, 3100).astype(np.uint8).view(np.int8).reshape(16, 3, 3, 3) // 9
    found["large"] = noise(130 * 130, 3110).reshape(130, 130)
    found["step"] = np.array(7, np.int64)
    found["empty"] = np.zeros((0, 3), np.float32)
    return found
