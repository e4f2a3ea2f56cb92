"""Products of whole numbers of 8 and 16 bits: scale x (weight - zero point), by whole numbers inside.

    x float        cut once into 24-bit integers, exact sums, one rounding at the end: with
                   m = max |x| of its row, |y - exact| <= 1.01 x 2^-23 m scale sum |weight - zero| + half a unit of y's
                   last place in its dtype
    x int8         exact int32 sums

The kernels know fields and distances of `integer`, gaps of `sparse` and dense weights of 8 bits, all stored by rows;
matrices of 8-bit weights in every other form are decoded, some rows at a time, for the kernels of dense ones. What is
left (many rows of x, infinities, transposed products, stacks, 16-bit weights, which have no kernel) is decoded likewise
for NumPy's BLAS: in float32, or for int8 x in float64, where sums of whole numbers are exact. 16-bit weights take float x
only: their sums leave int32.
"""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np

from tersely.backends.cpu import native
from tersely.backends.cpu.threads import get_num_threads
from tersely.codes.checks import MAX_BYTES
from tersely.core.dtypes import BY_NAME, by_name
from tersely.core.errors import ArgumentError
from tersely.tensors.tensor import Tensor

BYTES = (np.dtype(np.int8), np.dtype(np.uint8))
DTYPES = (*BYTES, np.dtype(np.int16), np.dtype(np.uint16))
"""Weights that are multiplied here; kernels know BYTES."""
X_DTYPES = (np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16), np.dtype(np.int8))

KERNEL_ROWS = 48
"""Rows of floats up to which kernels multiply; above, the decoded weights go to BLAS."""
MOST_COLUMNS = 65536
"""Columns up to which no sum of int8 products can leave int32: 255 x 128 x 65,536 < 2^31."""
BLOCK_WEIGHTS = 1 << 22
"""Weights that are decoded at a time."""
_ONE, _ZERO = np.ones(1), np.zeros(1, np.int32)


def multiply(
    x: np.ndarray,
    weight: Tensor,
    bias: Any,
    out: np.ndarray | None,
    scale: Any,
    zero_point: Any,
    *,
    transposed: bool,
) -> np.ndarray:
    """x @ (scale (weight - zero_point)).T + bias, or without .T where `transposed`. See `tersely.linear`."""
    rows, columns = weight.shape
    inner, outer = (rows, columns) if transposed else (columns, rows)
    whole = check_x(x, inner, f"dtype {weight.dtype}")
    if whole and weight.dtype not in BYTES:
        raise ArgumentError(f"sums of int8 x and {weight.dtype} weights leave int32: convert x to float32")
    if whole and scale is not None:
        raise ArgumentError("int8 x gives exact int32 sums: leave out scale, and multiply the sums by it")
    if whole and inner > MOST_COLUMNS:
        raise ArgumentError(f"{inner} int8 products might not fit int32: at most {MOST_COLUMNS} are summed up")
    limits = np.iinfo(weight.dtype)
    scales = scale_of(scale, rows)
    zeros = zero_point_of(zero_point, rows, str(weight.dtype), (limits.min, limits.max))
    bias = bias_of(bias, outer, whole)
    out, target = result_of(out, x, outer, whole, bias)
    batch = math.prod(x.shape[:-1])
    flat, given = target.reshape(batch, outer), np.ascontiguousarray(x.reshape(batch, inner))
    if not flat.size or not inner:
        flat[...] = 0 if bias is None else bias
    elif transposed or not _by_kernel(given, weight, bias, flat, scales, zeros):
        with np.errstate(all="ignore"):  # as in the kernels: infinities and NaN are results, not events
            _by_blas(given, weight, bias, flat, scales, zeros, transposed)
    if target is not out:
        out[...] = target
    return out


def check_x(x: np.ndarray, inner: int, weights: str) -> bool:
    """Whether x is int8 and its sums exact. weights: what they are, in words. Raises ArgumentError."""
    if x.dtype not in X_DTYPES:
        raise ArgumentError(f"x has dtype {x.dtype}; weights of {weights} multiply float32, bfloat16, float16 or int8")
    if x.ndim == 0 or x.shape[-1] != inner:
        raise ArgumentError(f"x has shape {list(x.shape)}; its last dimension must be {inner}")
    return x.dtype == np.int8


def numbers(given: Any, what: str) -> np.ndarray:
    """An argument as an array of real numbers. Raises ArgumentError."""
    try:
        found = np.asarray(given)
    except ValueError:
        raise ArgumentError(f"{what} is no array: its rows have different lengths") from None
    ours = found.dtype.kind == "V" and found.dtype.name in BY_NAME  # what ml_dtypes adds to NumPy
    if found.dtype.kind not in "fiub" and not ours:
        raise ArgumentError(f"{what} has dtype {found.dtype}; it must hold real numbers")
    return found


def result(
    out: Any, shape: tuple[int, ...], dtype: np.dtype, *operands: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The array to return and the one to compute into, a different one where `out` shares memory with an operand:
    kernels read operands after they have begun to write.

    Raises ArgumentError where `out` does not fit, MemoryError.
    """
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


def result_of(
    out: Any, x: np.ndarray, outer: int, whole: bool, bias: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """`result` of a product with `outer` sums for each row of x; whole: exact ones of int8 x."""
    return result(out, (*x.shape[:-1], outer), np.dtype(np.int32) if whole else x.dtype, x, bias)


def scale_of(scale: Any, rows: int) -> np.ndarray:
    """float64 [1] or [rows]. Raises ArgumentError."""
    if scale is None:
        return _ONE
    found = numbers(scale, "scale")
    if found.dtype.kind not in "fiu" and found.dtype != ml_dtypes.bfloat16:
        raise ArgumentError(f"scale has dtype {found.dtype}; it must be a float or an array of floats")
    if found.size not in (1, rows) or found.size != max((1, *found.shape)):
        raise ArgumentError(f"scale has shape {list(found.shape)}; it must be one number or [{rows}], one a row")
    return found.reshape(-1).astype(np.float64)


def zero_point_of(zero_point: Any, rows: int, dtype: str, limits: tuple[int, int]) -> np.ndarray:
    """int32 [1] or [rows], each in the range of the weights' dtype, least and most. Raises ArgumentError."""
    if zero_point is None:
        return _ZERO
    found = numbers(zero_point, "zero_point")
    if found.dtype.kind not in "iu":
        raise ArgumentError(f"zero_point has dtype {found.dtype}; it must be a whole number or an array of them")
    if found.size not in (1, rows) or found.size != max((1, *found.shape)):
        raise ArgumentError(f"zero_point has shape {list(found.shape)}; it must be one number or [{rows}], one a row")
    least, most = limits
    wrong = found.reshape(-1)[(found.reshape(-1) < least) | (found.reshape(-1) > most)]
    if wrong.size:
        raise ArgumentError(f"zero_point {wrong[0]} is out of range for {dtype}: {least} to {most}")
    return found.reshape(-1).astype(np.int32)


def bias_of(bias: Any, outer: int, whole: bool) -> np.ndarray | None:
    if bias is None:
        return None
    found = numbers(bias, "bias")
    if found.shape != (outer,):
        raise ArgumentError(f"bias has shape {list(found.shape)}; it must be [{outer}]")
    if not whole:
        return np.ascontiguousarray(found, dtype=np.float32)
    if found.dtype.kind not in "iu" or found.dtype.itemsize > 4 or found.dtype == np.uint32:
        raise ArgumentError(f"bias has dtype {found.dtype}; int8 x needs int32, which sums are")
    return np.ascontiguousarray(found, dtype=np.int32)


def _by_kernel(
    x: np.ndarray, weight: Tensor, bias: np.ndarray | None, out: np.ndarray, scales: np.ndarray, zeros: np.ndarray
) -> bool:
    """Whether a kernel could do it, and has done it."""
    if not native.available() or weight.dtype not in BYTES or (x.dtype != np.int8 and len(x) > KERNEL_ROWS):
        return False
    name = x.dtype.name
    words, into = x.view(by_name(name).word), out.view(f"u{out.dtype.itemsize}")
    workers = get_num_threads()
    dense = native.module.dense_integer_linear
    if weight.formulation == "dense":
        raw = weight.encoded.components["bytes"].reshape(-1)
        rows, columns = weight.shape
        return bool(dense(raw, weight.dtype.name, rows, columns, words, name, scales, zeros, bias, into, workers))
    by_rows = weight.geometry.view == "matrix" and weight.geometry.orientation == "out_in"
    if by_rows and weight.matrix.products == "integers":
        return bool(weight.matrix.integer_linear(words, name, scales, zeros, bias, into, workers))
    for part in parts_of(weight):
        count = part.stop - part.start
        own, raw = np.empty((len(x), count), into.dtype), weight.rows(part.start, part.stop).view(np.uint8).reshape(-1)
        some_scales, some_zeros = (each[part] if each.size > 1 else each for each in (scales, zeros))
        some_bias = None if bias is None else bias[part]
        operands = (words, name, some_scales, some_zeros, some_bias, own, workers)
        if not dense(raw, weight.dtype.name, count, weight.shape[1], *operands):
            return False  # before anything is written: it depends on x alone
        into[:, part] = own
    return True


def parts_of(weight: Tensor) -> list[slice]:
    """Rows to decode at a time: all, where only the whole can be decoded without doing it again and again."""
    rows, columns = weight.shape
    block = rows_at_a_time(columns)
    if weight.geometry.view != "matrix" or weight.geometry.orientation == "in_out":
        block = max(1, rows)
    return [slice(first, min(first + block, rows)) for first in range(0, rows, block)]


def rows_at_a_time(columns: int) -> int:
    return max(16, BLOCK_WEIGHTS // max(1, columns) // 16 * 16)


def _by_blas(
    x: np.ndarray,
    weight: Tensor,
    bias: np.ndarray | None,
    out: np.ndarray,
    scales: np.ndarray,
    zeros: np.ndarray,
    transposed: bool,
) -> None:
    rows = weight.shape[0]
    kind = np.float64 if x.dtype == np.int8 else np.float32
    scales, zeros = (np.broadcast_to(part, rows) for part in (scales, zeros))
    total = np.zeros(out.shape, kind)
    for part in parts_of(weight):
        values = weight.rows(part.start, part.stop).astype(kind) - zeros[part, None].astype(kind)
        if transposed:
            total += (x[:, part].astype(kind) * scales[part].astype(kind)) @ values
        else:
            total[:, part] = (x.astype(kind, copy=False) @ values.T) * scales[part].astype(kind)
    if bias is not None:
        total += bias
    if x.dtype == np.int8:
        out[...] = total.astype(np.int64).astype(np.int32)
    else:
        out[...] = total
