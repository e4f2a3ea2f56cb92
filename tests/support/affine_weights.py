"""Weights that are whole numbers times scales, as quantisers leave them, under `affine`."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

import tersely
from tersely.tensors.tensor import Tensor

FLOAT32, BFLOAT16, FLOAT16 = DTYPES = tuple(np.dtype(scalar) for scalar in (np.float32, ml_dtypes.bfloat16, np.float16))
CODES: tuple[dict[str, Any], ...] = ({}, {"code": "packed"}, {"code": "layered", "widths": (2, 1)})


def quantised(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    dtype: np.dtype = FLOAT32,
    bits: int = 4,
    columns: int = 0,
    *,
    scale_dtype: np.dtype = FLOAT32,
    zeros: bool = False,
    negative: bool = False,
    orientation: str = "out_in",
) -> np.ndarray:
    """Rounded to whole numbers times a scale, one for each row or so many of its columns, as quantisers do.

    zeros: numbers lie about another number than 0 in each group. negative: about half of all zeros are -0.0.
    """
    turned = orientation == "in_out"
    seen = (*shape[:-2], shape[-1], shape[-2]) if turned else shape
    weights = rng.standard_normal(seen).astype(np.float32)
    flat = weights.reshape(-1, seen[-1]) if len(seen) != 4 else weights.reshape(seen[0], -1)
    width = columns or flat.shape[1]
    padded = np.pad(flat, ((0, 0), (0, -flat.shape[1] % width))).reshape(len(flat), -1, width)
    most = max(1, 2 ** (bits - 1) - 1)
    scales = (np.abs(padded).max(axis=2, keepdims=True) / np.float32(most)).astype(scale_dtype).astype(np.float32)
    steps = np.clip(np.rint(padded / scales), -most, most)
    if zeros:
        steps = np.clip(steps + rng.integers(-1, 2, (len(flat), padded.shape[1], 1)), -most, most)
    values = steps.astype(np.float32) * scales
    values = values + np.float32(0)
    if negative:
        values[(values == 0) & (rng.random(values.shape) < 0.5)] = np.float32(-0.0)
    values = values.reshape(len(flat), -1)[:, : flat.shape[1]].reshape(seen).astype(dtype)
    return np.ascontiguousarray(np.swapaxes(values, -1, -2)) if turned else values


def coded(array: np.ndarray, **options: Any) -> Tensor:
    return tersely.encode(array, formulation="affine", **options)
