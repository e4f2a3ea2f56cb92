"""Weights of few distinct words a row, under `row_palette`."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

import tersely
from tersely.tensors.tensor import Tensor

FLOAT32, BFLOAT16, FLOAT16 = DTYPES = tuple(np.dtype(scalar) for scalar in (np.float32, ml_dtypes.bfloat16, np.float16))
CODES: tuple[dict[str, Any], ...] = ({}, {"code": "packed"}, {"code": "layered", "widths": (2, 1)})


def shared(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    dtype: np.dtype = FLOAT32,
    entries: int = 16,
    columns: int = 0,
    *,
    orientation: str = "out_in",
) -> np.ndarray:
    """Weights of so many distinct words a row, or so many columns of a row, some much more often than others."""
    turned = orientation == "in_out"
    seen = (*shape[:-2], shape[-1], shape[-2]) if turned else shape
    rows, length = (seen[0], int(np.prod(seen[1:]))) if len(seen) == 4 else (int(np.prod(seen[:-1])), seen[-1])
    width = columns or length
    groups = -(-length // width)
    tables = rng.standard_normal((rows, groups, entries)).astype(dtype)
    indices = np.minimum(rng.geometric(min(1.0, 2 / entries), (rows, groups, width)) - 1, entries - 1)
    values = np.take_along_axis(tables, indices, axis=2).reshape(rows, -1)[:, :length].reshape(seen)
    return np.ascontiguousarray(np.swapaxes(values, -1, -2)) if turned else np.ascontiguousarray(values)


def coded(array: np.ndarray, **options: Any) -> Tensor:
    return tersely.encode(array, formulation="row_palette", **options)
