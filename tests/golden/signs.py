"""Tensors of golden files whose zeros have either sign. None of this ever changes."""

from __future__ import annotations

import numpy as np

import tersely
from golden.arithmetic import noise, weights


def signed_zeros_1_0() -> dict[str, tersely.Tensor]:
    """`signed_zeros`: every dtype, several formulations inside, every view, and zeros that are all negative."""

    def masked(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
        """Weights times a mask that keeps a third of them."""
        array = weights(shape, dtype, seed)
        return array * (noise(array.size, seed + 1) % 3 == 0).reshape(shape).astype(array.dtype)

    options = {"formulation": "signed_zeros", "profile": "portable"}
    found = {}
    for seed, dtype in enumerate(("float32", "bfloat16", "float16")):
        array = masked((47, 70), dtype, 2000 + 10 * seed)
        for positions in ("bitmap", "gaps"):
            found[f"{dtype}.{positions}"] = tersely.encode(array, clean="sparse", positions=positions, **options)
        found[f"{dtype}.split"] = tersely.encode(array, clean="split", code="packed", **options)
        negative = np.where(array == 0, np.array(-0.0, array.dtype), array)
        found[f"{dtype}.every"] = tersely.encode(negative, clean="sparse", positions="bitmap", **options)
    bitmap = {"clean": "sparse", "positions": "bitmap", **options}
    found["stack"] = tersely.encode(masked((3, 31, 40), "bfloat16", 2030), **bitmap)
    found["convolution"] = tersely.encode(masked((16, 32, 3, 3), "float32", 2040), **bitmap)
    found["folded"] = tersely.encode(masked((7, 310), "float16", 2050), **bitmap)
    found["in_out"] = tersely.encode(masked((64, 48), "bfloat16", 2060), orientation="in_out", **bitmap)
    return found
