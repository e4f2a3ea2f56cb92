"""Products of integers of 8 and 16 bits: scale x (weight - zero point), by integers inside.

    x float        rounded once to 24-bit integers, exact sums, one rounding at the end: with
                   m = max |x| of its row, |y - exact| <= 1.01 x 2^-23 m scale sum |weight - zero| + half a unit of y's
                   last place in its dtype
    x int8         exact int32 sums

The kernels know fields and distances of `integer`, gaps and masks of `sparse`, blocks of `block_sparse` and dense
weights of 8 bits, all stored by rows, and a `submatrix` of these; matrices of 8-bit weights in every other form are
decoded, some rows at a time, for the kernels of dense ones. What is left (many rows of x, infinities, transposed
products, stacks, 16-bit weights, which have no kernel) is decoded likewise for NumPy's BLAS: in float32, or for int8 x
in float64, where sums of integers are exact. 16-bit weights take float x only: their sums leave int32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tersely.backends.cpu import native
from tersely.backends.cpu.threads import get_num_threads
from tersely.core.dtypes import BY_NUMPY
from tersely.core.errors import ArgumentError
from tersely.tensors import handoff
from tersely.tensors.operands import Operands, check_exact, check_integer_x, operands_of, scale_of, zero_point_of
from tersely.tensors.tensor import Tensor

BYTES = (np.dtype(np.int8), np.dtype(np.uint8))
"""Weights that kernels multiply."""
DTYPES = (*BYTES, np.dtype(np.int16), np.dtype(np.uint16))
"""Weights that are multiplied here."""
_LIMITS = {dtype: (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)) for dtype in DTYPES}


def multiply(
    x: np.ndarray, weight: Tensor, bias: Any, out: Any, scale: Any, zero_point: Any, *, transposed: bool
) -> np.ndarray:
    """Returns x @ (scale (weight - zero_point)).T + bias, or without .T where `transposed`. See `tersely.linear`."""
    rows, columns = weight.shape
    inner, outer = (rows, columns) if transposed else (columns, rows)
    name = BY_NUMPY[weight.dtype].name
    exact = check_integer_x(x, f"dtype {name}")
    if exact and weight.dtype not in BYTES:
        raise ArgumentError(f"sums of int8 x and {weight.dtype} weights leave int32: convert x to float32")
    if exact:
        check_exact(scale, inner, handoff.INT8_MAX_COLUMNS)
    scales = scale_of(scale, rows)
    zeros = zero_point_of(zero_point, rows, name, _LIMITS[weight.dtype])
    own = operands_of(x, bias, out, inner, outer, exact=exact)
    if own.is_empty:
        own.fill_empty()
    elif transposed or not _by_kernel(own, weight, scales, zeros):
        with np.errstate(all="ignore"):  # as in the kernels: infinities and NaN are results, not events
            _by_blas(own, weight, scales, zeros, transposed)
    return own.finish()


def is_for_kernels(own: Operands) -> bool:
    """Returns whether kernels of integers multiply so many rows of x."""
    return native.available() and (own.exact or len(own.x) <= handoff.INTEGER_ROWS)


def _by_kernel(own: Operands, weight: Tensor, scales: np.ndarray, zeros: np.ndarray) -> bool:
    """Returns whether a kernel could do it, and has done it."""
    if weight.dtype not in BYTES or not is_for_kernels(own):
        return False
    words, name = own.words()
    bias, into, kind = own.bias, own.out.view(BY_NUMPY[own.out.dtype].word), BY_NUMPY[weight.dtype].name
    workers = get_num_threads()
    dense = native.module.dense_integer_linear
    if weight.formulation == "dense":
        raw = weight.encoded.components["bytes"].reshape(-1)
        count, columns = weight.shape
        return bool(dense(raw, kind, count, columns, words, name, scales, zeros, bias, into, workers))
    by_rows = weight.geometry.view == "matrix" and weight.geometry.orientation == "out_in"
    if by_rows and weight.matrix.products == "integers":
        return bool(weight.matrix.integer_linear(words, name, scales, zeros, bias, into, workers))
    for rows in row_blocks(weight):
        count = rows.stop - rows.start
        some, raw = np.empty((len(own.x), count), into.dtype), weight.rows(rows.start, rows.stop)
        some_scales, some_zeros = (each[rows] if each.size > 1 else each for each in (scales, zeros))
        some_bias = None if bias is None else bias[rows]
        operands = (words, name, some_scales, some_zeros, some_bias, some, workers)
        if not dense(raw.view(np.uint8).reshape(-1), kind, count, weight.shape[1], *operands):
            return False  # before anything is written: it depends on x alone
        into[:, rows] = some
    return True


def row_blocks(weight: Tensor) -> list[slice]:
    """Returns the rows to decode at a time: all, where parts would be decoded again and again."""
    rows, columns = weight.shape
    block = handoff.block_rows(columns)
    if weight.geometry.view != "matrix" or weight.geometry.orientation == "in_out":
        block = max(1, rows)
    return [slice(first, min(first + block, rows)) for first in range(0, rows, block)]


def _by_blas(own: Operands, weight: Tensor, scales: np.ndarray, zeros: np.ndarray, transposed: bool) -> None:
    """Decodes some rows at a time and multiplies them with NumPy's BLAS."""
    count, x = weight.shape[0], own.x
    kind: Any = np.float64 if own.exact else np.float32
    scales, zeros = (np.broadcast_to(each, count) for each in (scales, zeros))
    total = np.zeros(own.out.shape, kind)
    for rows in row_blocks(weight):
        values = weight.rows(rows.start, rows.stop).astype(kind) - zeros[rows, None].astype(kind)
        if transposed:
            total += (x[:, rows].astype(kind) * scales[rows].astype(kind)) @ values
        else:
            total[:, rows] = (x.astype(kind, copy=False) @ values.T) * scales[rows].astype(kind)
    write_sums(own, total)


def write_sums(own: Operands, total: np.ndarray) -> None:
    """Adds the bias to sums of BLAS and writes the result. total: [batch, outer], float64 where sums are exact."""
    if own.bias is not None:
        total += own.bias
    own.out[...] = total.astype(np.int64).astype(np.int32) if own.exact else total
