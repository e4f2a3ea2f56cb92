"""What products take beside the weight: x, bias, out, scale and zero_point, each checked and converted here, once.

`linear` (floats), `int8` and `int4` differ in what they multiply, not in what they are given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from tersely.codes.checks import MAX_BYTES
from tersely.core.dtypes import BY_NAME, BY_NUMPY
from tersely.core.errors import ArgumentError

FLOAT_DTYPES = (np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16))
"""dtypes of x that every weight is multiplied by."""
INT8 = np.dtype(np.int8)
"""The dtype of x whose products with integers are exact int32 sums."""

_ONE, _ZERO = np.ones(1), np.zeros(1, np.int32)


@dataclass(slots=True)
class Operands:
    """x, bias and the result of one product, as matrices.

    Attributes:
        x: [batch, inner], C-contiguous.
        bias: [outer], float32, int32 where sums are exact, or None.
        out: [batch, outer], C-contiguous: what to compute into.
        exact: whether x is int8, so that sums are int32.
    """

    x: np.ndarray
    bias: np.ndarray | None
    out: np.ndarray
    exact: bool
    _given: np.ndarray
    _target: np.ndarray

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to multiply: no sums, or sums of nothing."""
        return not self.out.size or not self.x.shape[1]

    def fill_empty(self) -> None:
        """Writes the result of a product of which `is_empty` is true."""
        self.out[...] = 0 if self.bias is None else self.bias

    def words(self) -> tuple[np.ndarray, str]:
        """Returns x as kernels take it: its bits, and the name of its dtype."""
        row = BY_NUMPY[self.x.dtype]
        return self.x.view(row.word), row.name

    def finish(self) -> np.ndarray:
        """Returns the array that the caller gets, with the computed result in it."""
        if self._target is not self._given:
            self._given[...] = self._target
        return self._given


def operands_of(x: np.ndarray, bias: Any, out: Any, inner: int, outer: int, *, exact: bool = False) -> Operands:
    """Returns the operands of a product of x by a weight that is `inner` x `outer`, the first of which is summed over.

    Args:
        x: an array whose dtype is known to be right, [..., inner].
        bias: array-like of real numbers, [outer], or None; of integers of up to 32 bits where sums are exact.
        out: an array of the result's shape and dtype, C-contiguous and writeable, or None for a new one.
        exact: whether sums are int32.

    Raises ArgumentError naming the operand that does not fit, MemoryError for results that no machine holds.
    """
    if x.ndim == 0 or x.shape[-1] != inner:
        raise ArgumentError(f"x has shape {list(x.shape)}; its last dimension must be {inner}")
    found = _bias_of(bias, outer, exact)
    given, target = _result(out, (*x.shape[:-1], outer), np.dtype(np.int32) if exact else x.dtype, x, found)
    batch = math.prod(x.shape[:-1])
    rows = np.ascontiguousarray(x.reshape(batch, inner))
    return Operands(rows, found, target.reshape(batch, outer), exact, given, target)


def numbers(given: Any, what: str) -> np.ndarray:
    """Returns an argument as an array. Raises ArgumentError, naming it, where it holds no real numbers."""
    if type(given) is np.ndarray and given.dtype in FLOAT_DTYPES:  # nearly always
        return given
    try:
        found = np.asarray(given)
    except ValueError:
        raise ArgumentError(f"{what} is no array: its rows have different lengths") from None
    ours = found.dtype.kind == "V" and found.dtype.name in BY_NAME  # what ml_dtypes adds to NumPy
    if found.dtype.kind not in "fiub" and not ours:
        raise ArgumentError(f"{what} has dtype {found.dtype}; it must hold real numbers")
    return found


def check_integer_x(x: np.ndarray, weights: str) -> bool:
    """Returns whether x is int8, so that sums are exact. weights: what they are, in words.

    Raises ArgumentError for dtypes that integers are not multiplied by.
    """
    if x.dtype != INT8 and x.dtype not in FLOAT_DTYPES:
        raise ArgumentError(f"x has dtype {x.dtype}; weights of {weights} multiply float32, bfloat16, float16 or int8")
    return bool(x.dtype == INT8)


def check_exact(scale: Any, inner: int, max_columns: int) -> None:
    """Raises ArgumentError where exact int32 sums cannot be had. max_columns: so many products fit an int32."""
    if scale is not None:
        raise ArgumentError("int8 x gives exact int32 sums: leave out scale, and multiply the sums by it")
    if inner > max_columns:
        raise ArgumentError(f"{inner} int8 products might not fit int32: at most {max_columns} are summed up")


def scale_of(scale: Any, rows: int) -> np.ndarray:
    """Returns the scale as float64, [1] or [rows]; None is 1. Raises ArgumentError."""
    if scale is None:
        return _ONE
    found = numbers(scale, "scale")
    if found.dtype.kind not in "fiu" and found.dtype != ml_dtypes.bfloat16:
        raise ArgumentError(f"scale has dtype {found.dtype}; it must be a float or an array of floats")
    if found.size not in (1, rows) or found.size != max(found.shape, default=1):
        raise ArgumentError(f"scale has shape {list(found.shape)}; it must be one number or [{rows}], one a row")
    return found.reshape(-1).astype(np.float64)


def zero_point_of(zero_point: Any, rows: int, dtype: str, limits: tuple[int, int]) -> np.ndarray:
    """Returns the zero point as int32, [1] or [rows]; None is 0.

    Args:
        dtype: of the weights, in words. limits: the smallest and the largest value of that dtype.

    Raises ArgumentError for values outside of the limits, too.
    """
    if zero_point is None:
        return _ZERO
    found = numbers(zero_point, "zero_point")
    if found.dtype.kind not in "iu":
        raise ArgumentError(f"zero_point has dtype {found.dtype}; it must be an integer or an array of integers")
    if found.size not in (1, rows) or found.size != max(found.shape, default=1):
        raise ArgumentError(f"zero_point has shape {list(found.shape)}; it must be one number or [{rows}], one a row")
    smallest, largest = limits
    wrong = found.reshape(-1)[(found.reshape(-1) < smallest) | (found.reshape(-1) > largest)]
    if wrong.size:
        raise ArgumentError(f"zero_point {wrong[0]} is out of range for {dtype}: {smallest} to {largest}")
    return found.reshape(-1).astype(np.int32)


def _bias_of(bias: Any, outer: int, exact: bool) -> np.ndarray | None:
    if bias is None:
        return None
    found = numbers(bias, "bias")
    if found.shape != (outer,):
        raise ArgumentError(f"bias has shape {list(found.shape)}; it must be [{outer}]")
    if not exact and found.dtype != np.float64:
        return np.ascontiguousarray(found, dtype=np.float32)
    if not exact:
        with np.errstate(all="ignore"):  # what is beyond float32 is infinite, as the result is
            return np.ascontiguousarray(found, dtype=np.float32)
    if found.dtype.kind not in "iu" or found.dtype.itemsize > 4 or found.dtype == np.uint32:
        raise ArgumentError(f"bias has dtype {found.dtype}; int8 x needs int32, which sums are")
    return np.ascontiguousarray(found, dtype=np.int32)


def _result(
    out: Any, shape: tuple[int, ...], dtype: np.dtype, *operands: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The array to return and the one to compute into, a different one where `out` shares memory with an operand:
    kernels read operands after they have begun to write."""
    if out is None:
        if math.prod(shape) * dtype.itemsize >= MAX_BYTES:
            raise MemoryError
        made = np.empty(shape, dtype)
        return made, made
    fits = isinstance(out, np.ndarray) and out.shape == shape and out.dtype == dtype
    if not fits or not out.flags.c_contiguous or not out.flags.writeable:
        raise ArgumentError(
            f"out must be an array, C-contiguous and writeable, of shape {list(shape)} and dtype {dtype}"
        )
    shared = any(np.may_share_memory(out, one) for one in operands if one is not None)
    return out, np.empty(shape, dtype) if shared else out
