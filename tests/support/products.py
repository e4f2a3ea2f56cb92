"""Products against float64.

Bound: every product is exact to float32 rounding of its inputs, and n terms are summed in float32, so
|y - exact| <= 2 (n + 2) 2^-24 sum |x_i w_i|, plus rounding to the output's dtype.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
from support.arrays import normal

import tersely
from tersely.codes.words.split import reference
from tersely.tensors.tensor import Tensor

X_DTYPES = tuple(np.dtype(scalar) for scalar in (np.float32, ml_dtypes.bfloat16, np.float16))
HALF_ULP = {"float32": 2.0**-24, "bfloat16": 2.0**-8, "float16": 2.0**-11}


class Expected:
    """The exact product and how far a result may be from it."""

    def __init__(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> None:
        self.exact = reference.linear(x, weight, bias)
        terms = reference.linear(np.abs(x), np.abs(weight), None if bias is None else np.abs(bias))
        self.allowed = 2 * (weight.shape[1] + 2) * 2.0**-24 * terms + HALF_ULP[x.dtype.name] * np.abs(self.exact) + 1e-7
        self.dtype = x.dtype

    def check(self, y: np.ndarray) -> None:
        """y: for all rows of x or the first ones."""
        assert y.dtype == self.dtype
        assert (np.abs(y.astype(np.float64) - self.exact[: len(y)]) <= self.allowed[: len(y)]).all()


def check_batches(
    tensor: Tensor,
    weight: np.ndarray,
    bias: np.ndarray | None,
    x_dtype: np.dtype,
    batches: tuple[int, ...],
    rng: np.random.Generator,
) -> None:
    """Products with x of so many rows, both ways. Exact ones are made once, for the most rows: they cost the most."""
    rows, columns = weight.shape
    x, x_back = normal(rng, (max(batches), columns), x_dtype), normal(rng, (max(batches), rows), x_dtype)
    expected, expected_back = Expected(x, weight, bias), Expected(x_back, np.ascontiguousarray(weight.T), None)
    for batch in batches:
        expected.check(tersely.linear(x[:batch], tensor, bias))
        expected_back.check(tersely.linear_transposed(x_back[:batch], tensor))


def assert_close(y: np.ndarray, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> None:
    Expected(x, weight, bias).check(y)
