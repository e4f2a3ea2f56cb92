"""Palettes that are grids."""

from __future__ import annotations

import numpy as np

import tersely
from tersely.tensors.tensor import Tensor


def coded(array: np.ndarray, **options: object) -> Tensor:
    return tersely.encode(array, formulation="palette", code="grid", **options)
