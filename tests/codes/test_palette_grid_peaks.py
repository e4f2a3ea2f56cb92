"""Palettes that are grids multiply x by whole numbers, of one scale for a row: what becomes of small x beside large ones."""

from __future__ import annotations

import numpy as np
import pytest
from support.arrays import needs_native
from support.grids import coded

import tersely

pytestmark = pytest.mark.kernels


@needs_native
@pytest.mark.parametrize("peak", [30.0, 1e3, 1e5, 1e20])
def test_small_x_beside_large_ones_keep_their_bits(peak: float, each_isa: str, rng: np.random.Generator) -> None:
    """Where the weights at the large x are zero, the others make y: floats would give it to nearly all its bits."""
    weight = (rng.integers(-7, 8, (64, 256)) * np.float32(0.01)).astype(np.float32) + np.float32(0)
    weight[:, 3] = 0
    tensor = coded(weight)
    for batch in (1, 4, 8, 9):
        x = rng.standard_normal((batch, 256)).astype(np.float32)
        x[batch // 2, 3] = peak
        exact = x.astype(np.float64) @ weight.astype(np.float64).T
        sizes = np.abs(np.where(np.arange(256) == 3, 0, x)).astype(np.float64) @ np.abs(weight.astype(np.float64)).T
        assert (np.abs(tersely.linear(x, tensor) - exact) <= 2.0**-15 * sizes).all()


@needs_native
def test_rows_of_one_x_are_exact(each_isa: str, rng: np.random.Generator) -> None:
    weight = (rng.integers(-7, 8, (64, 512)) * np.float32(2.0**-7)).astype(np.float32) + np.float32(0)
    x = np.zeros((2, 512), np.float32)
    x[0, 77] = 3
    assert np.array_equal(tersely.linear(x, coded(weight)), x @ weight.T)
