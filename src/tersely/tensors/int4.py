"""Products of 4-bit whole numbers packed two a byte: scale x (weight - zero point), by whole numbers inside.

A uint8 tensor [rows, columns / 2] is the matrix [rows, columns] of its values, the low half of each byte first; `packed`
says whether they are two's complement. Scale and zero point belong to the tensor, to a row, or to a group of so many
neighbouring columns of a row. x is cut as for 8-bit weights (`tersely.tensors.int8`), sums are exact inside a group,
and the scaled sums of groups are added up as doubles before the one rounding at the end; with m = max |x| of its row

    |y - exact| <= 1.01 x 2^-23 m sum scale |weight - zero| + half a unit of y's last place in its dtype

Kernels multiply values that are fields (`integer` with nibbles under fields, groups of whole blocks of 16 columns) as they
are, dense pairs some columns at a time in cache; every other form is decoded to pairs, some rows at a time, for those.
What kernels leave (as for 8-bit weights) goes, some rows at a time, to NumPy's BLAS.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tersely.backends.cpu import native
from tersely.backends.cpu.threads import get_num_threads
from tersely.core.dtypes import by_name
from tersely.core.errors import ArgumentError
from tersely.tensors.int8 import (
    KERNEL_ROWS,
    bias_of,
    check_x,
    parts_of,
    result_of,
    rows_at_a_time,
    scale_of,
    zero_point_of,
)
from tersely.tensors.tensor import Tensor

PACKED = {"int4": (-8, 7), "uint4": (0, 15)}
"""Ranges of the values."""
MOST_COLUMNS = 1 << 20
"""Columns up to which no sum of int8 products can leave int32: 15 x 128 x 2^20 < 2^31."""


@dataclass(frozen=True)
class _Operands:
    """scales: float64, zeros: int32; [1], [rows] or [rows, groups] each."""

    scales: np.ndarray
    zeros: np.ndarray
    groups: int

    def of(self, part: slice) -> _Operands:
        scales, zeros = (each if each.shape == (1,) else each[part] for each in (self.scales, self.zeros))
        return _Operands(scales, zeros, self.groups)


def multiply(
    x: np.ndarray,
    weight: Tensor,
    bias: Any,
    out: np.ndarray | None,
    scale: Any,
    zero_point: Any,
    packed: Any,
    *,
    transposed: bool,
) -> np.ndarray:
    """x @ (scale (values - zero_point)).T + bias, or without .T where `transposed`. See `tersely.linear`."""
    if not isinstance(packed, str) or packed not in PACKED:
        raise ArgumentError(
            f"packed is {packed!r}; it must be 'int4' or 'uint4', or None for weights that are not packed"
        )
    if weight.dtype != np.uint8:
        raise ArgumentError(
            f"packed={packed!r} is for uint8 weights that hold two 4-bit values a byte, not for {weight.dtype}"
        )
    rows, columns = weight.shape[0], 2 * weight.shape[1]
    inner, outer = (rows, columns) if transposed else (columns, rows)
    whole = check_x(x, inner, f"{packed}, two a byte,")
    operands = _operands(scale, zero_point, rows, columns, packed)
    if whole and scale is not None:
        raise ArgumentError("int8 x gives exact int32 sums: leave out scale, and multiply the sums by it")
    if whole and operands.groups > 1:
        raise ArgumentError("int8 x gives one exact int32 sum a row: zero_point must be one number or one a row")
    if whole and inner > MOST_COLUMNS:
        raise ArgumentError(f"{inner} int8 products might not fit int32: at most {MOST_COLUMNS} are summed up")
    bias = bias_of(bias, outer, whole)
    out, target = result_of(out, x, outer, whole, bias)
    batch = math.prod(x.shape[:-1])
    flat, given = target.reshape(batch, outer), np.ascontiguousarray(x.reshape(batch, inner))
    signed = packed == "int4"
    if not flat.size or not inner:
        flat[...] = 0 if bias is None else bias
    elif transposed or not _by_kernel(given, weight, bias, flat, operands, signed):
        with np.errstate(all="ignore"):  # as in the kernels: infinities and NaN are results, not events
            _by_blas(given, weight, bias, flat, operands, signed, transposed)
    if target is not out:
        out[...] = target
    return out


def _operands(scale: Any, zero_point: Any, rows: int, columns: int, packed: str) -> _Operands:
    scaled, zeroed = (_grouped(each, rows) for each in (scale, zero_point))
    if scaled is None and zeroed is None:
        return _Operands(scale_of(scale, rows), zero_point_of(zero_point, rows, packed, PACKED[packed]), 1)
    counts = {"scale": scaled, "zero_point": zeroed}
    for name, count in counts.items():
        if count is not None and (count == 0 or columns % count):
            raise ArgumentError(
                f"{name} has shape {[rows, count]}: {count} groups do not divide {columns} columns evenly"
            )
    if scaled and zeroed and scaled != zeroed:
        raise ArgumentError(f"scale has {scaled} groups a row and zero_point {zeroed}: they must be the same groups")
    groups = scaled or zeroed or 1
    # Checked as one number a row would be, all groups of all rows one after another.
    flat = [np.reshape(each, -1) if count else each for each, count in ((scale, scaled), (zero_point, zeroed))]
    scales = scale_of(flat[0], rows * groups if scaled else rows).reshape((rows, groups) if scaled else -1)
    zeros = zero_point_of(flat[1], rows * groups if zeroed else rows, packed, PACKED[packed])
    zeros = zeros.reshape((rows, groups) if zeroed else -1)
    return _Operands(scales, zeros, groups)


def _grouped(operand: Any, rows: int) -> int | None:
    """Groups of a row, where an operand of shape [rows, groups] has others than one."""
    shape: tuple[int, ...] = () if operand is None else np.shape(operand)
    return int(shape[1]) if len(shape) == 2 and shape[0] == rows and shape[1] != 1 else None


def _by_kernel(
    x: np.ndarray, weight: Tensor, bias: np.ndarray | None, out: np.ndarray, operands: _Operands, signed: bool
) -> bool:
    """Whether a kernel could do it, and has done it."""
    if not native.available() or (x.dtype != np.int8 and len(x) > KERNEL_ROWS):
        return False
    name, columns = x.dtype.name, 2 * weight.shape[1]
    words, into = x.view(by_name(name).word), out.view(f"u{out.dtype.itemsize}")
    workers = get_num_threads()
    scales, zeros = operands.scales.reshape(-1), operands.zeros.reshape(-1)
    matrix = weight.matrix
    given = (words, name, signed, scales, zeros, bias, into, workers, operands.groups)
    if matrix is not None and matrix.products == "nibbles" and matrix.nibbles_linear(*given):
        return True
    pairs = native.module.pair_integer_linear
    if weight.formulation == "dense":
        raw = weight.encoded.components["bytes"].reshape(-1)
        rows = weight.shape[0]
        own = (words, name, scales, zeros, bias, into, workers, operands.groups)
        return bool(pairs(raw, signed, rows, columns, *own))
    for part in parts_of(weight):
        count, some = part.stop - part.start, operands.of(part)
        result, raw = np.empty((len(x), count), into.dtype), weight.rows(part.start, part.stop).reshape(-1)
        some_bias = None if bias is None else bias[part]
        scales, zeros = some.scales.reshape(-1), some.zeros.reshape(-1)
        own = (words, name, scales, zeros, some_bias, result, workers, operands.groups)
        if not pairs(raw, signed, count, columns, *own):
            return False  # before anything is written: it depends on x alone
        into[:, part] = result
    return True


def _pairs_of(weight: Tensor) -> Iterator[tuple[slice, np.ndarray]]:
    """Some rows at a time, few enough for their values as floats."""
    block = rows_at_a_time(2 * weight.shape[1])
    for part in parts_of(weight):
        pairs = weight.rows(part.start, part.stop)
        for first in range(0, len(pairs), block):
            some = pairs[first : first + block]
            yield slice(part.start + first, part.start + first + len(some)), some


def _values(pairs: np.ndarray, signed: bool) -> np.ndarray:
    """int8 [rows, 2 columns] of uint8 [rows, columns]."""
    values = np.empty((*pairs.shape, 2), np.int8)
    values[..., 0], values[..., 1] = pairs & np.uint8(15), pairs >> np.uint8(4)
    if signed:
        values = (values ^ np.int8(8)) - np.int8(8)
    return values.reshape(len(pairs), -1)


def _by_blas(
    x: np.ndarray,
    weight: Tensor,
    bias: np.ndarray | None,
    out: np.ndarray,
    operands: _Operands,
    signed: bool,
    transposed: bool,
) -> None:
    """Scaled with groups, else as whole numbers, whose products are scaled."""
    kind: Any = np.float64 if x.dtype == np.int8 else np.float32
    total = np.zeros(out.shape, kind)
    groups = operands.groups
    for part, pairs in _pairs_of(weight):
        some, count = operands.of(part), part.stop - part.start
        values = _values(pairs, signed).astype(kind)
        grouped = values.reshape(count, groups, -1)
        grouped -= some.zeros.reshape(len(some.zeros), -1, 1).astype(kind)
        scales = some.scales.astype(kind)
        if scales.ndim == 2:
            grouped *= scales[:, :, None]
            scales = np.ones(1, kind)
        if transposed:
            total += (x[:, part].astype(kind) * scales) @ values
        else:
            total[:, part] = (x.astype(kind, copy=False) @ values.T) * scales
    if bias is not None:
        total += bias
    out[...] = total.astype(np.int64).astype(np.int32) if x.dtype == np.int8 else total
