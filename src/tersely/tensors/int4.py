"""Products of 4-bit integers packed two a byte: scale x (weight - zero point), by integers inside.

A uint8 tensor [rows, columns / 2] is the matrix [rows, columns] of its values, the low half of each byte first; `packed`
says whether they are two's complement. Scale and zero point belong to the tensor, to a row, or to a group of so many
neighbouring columns of a row. x is rounded as for 8-bit weights (`tersely.tensors.int8`), sums are exact inside a group,
and the scaled sums of groups are added up as doubles before the one rounding at the end; with m = max |x| of its row

    |y - exact| <= 1.01 x 2^-23 m sum scale |weight - zero| + half a unit of y's last place in its dtype

Kernels multiply values that are fields (`integer` with nibbles under fields, groups of whole blocks of 16 columns) as they
are, dense pairs some columns at a time in cache; every other form is decoded to pairs, some rows at a time, for those.
What kernels leave (as for 8-bit weights) goes, some rows at a time, to NumPy's BLAS.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tersely.backends.cpu import native
from tersely.backends.cpu.threads import get_num_threads
from tersely.core.errors import ArgumentError
from tersely.tensors import handoff
from tersely.tensors.int8 import is_for_kernels, row_blocks, write_sums
from tersely.tensors.operands import Operands, check_exact, check_integer_x, operands_of, scale_of, zero_point_of
from tersely.tensors.tensor import Tensor

PACKED = {"int4": (-8, 7), "uint4": (0, 15)}
"""Ranges of the values."""


@dataclass(frozen=True)
class _Scaling:
    """scales: float64, zeros: int32; [1], [rows] or [rows, groups] each."""

    scales: np.ndarray
    zeros: np.ndarray
    groups: int

    def of(self, rows: slice) -> _Scaling:
        """Returns the scaling of some rows."""
        scales, zeros = (each if each.shape == (1,) else each[rows] for each in (self.scales, self.zeros))
        return _Scaling(scales, zeros, self.groups)


def multiply(
    x: np.ndarray, weight: Tensor, bias: Any, out: Any, scale: Any, zero_point: Any, packed: Any, *, transposed: bool
) -> np.ndarray:
    """Returns x @ (scale (values - zero_point)).T + bias, or without .T where `transposed`. See `tersely.linear`."""
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
    exact = check_integer_x(x, f"{packed}, two a byte,")
    scaling = _scaling_of(scale, zero_point, rows, columns, packed)
    if exact:
        check_exact(scale, inner, handoff.INT4_MAX_COLUMNS)
    if exact and scaling.groups > 1:
        raise ArgumentError("int8 x gives one exact int32 sum a row: zero_point must be one number or one a row")
    own = operands_of(x, bias, out, inner, outer, exact=exact)
    signed = packed == "int4"
    if own.is_empty:
        own.fill_empty()
    elif transposed or not _by_kernel(own, weight, scaling, signed):
        with np.errstate(all="ignore"):  # as in the kernels: infinities and NaN are results, not events
            _by_blas(own, weight, scaling, signed, transposed)
    return own.finish()


def _scaling_of(scale: Any, zero_point: Any, rows: int, columns: int, packed: str) -> _Scaling:
    scaled, zeroed = (_grouped(each, rows) for each in (scale, zero_point))
    if scaled is None and zeroed is None:
        return _Scaling(scale_of(scale, rows), zero_point_of(zero_point, rows, packed, PACKED[packed]), 1)
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
    return _Scaling(scales, zeros, groups)


def _grouped(operand: Any, rows: int) -> int | None:
    """Groups of a row, where an operand of shape [rows, groups] has others than one."""
    shape: tuple[int, ...] = () if operand is None else np.shape(operand)
    return int(shape[1]) if len(shape) == 2 and shape[0] == rows and shape[1] != 1 else None


def _by_kernel(own: Operands, weight: Tensor, scaling: _Scaling, signed: bool) -> bool:
    """Returns whether a kernel could do it, and has done it."""
    if not is_for_kernels(own):
        return False
    columns = 2 * weight.shape[1]
    words, name = own.words()
    bias, into = own.bias, own.out.view(f"u{own.out.dtype.itemsize}")
    workers = get_num_threads()
    scales, zeros = scaling.scales.reshape(-1), scaling.zeros.reshape(-1)
    matrix = weight.matrix
    given = (words, name, signed, scales, zeros, bias, into, workers, scaling.groups)
    if matrix is not None and matrix.products == "nibbles" and matrix.nibbles_linear(*given):
        return True
    pairs = native.module.pair_integer_linear
    if weight.formulation == "dense":
        raw = weight.encoded.components["bytes"].reshape(-1)
        operands = (words, name, scales, zeros, bias, into, workers, scaling.groups)
        return bool(pairs(raw, signed, weight.shape[0], columns, *operands))
    for rows in row_blocks(weight):
        count, some = rows.stop - rows.start, scaling.of(rows)
        result, raw = np.empty((len(own.x), count), into.dtype), weight.rows(rows.start, rows.stop).reshape(-1)
        some_bias = None if bias is None else bias[rows]
        scales, zeros = some.scales.reshape(-1), some.zeros.reshape(-1)
        operands = (words, name, scales, zeros, some_bias, result, workers, scaling.groups)
        if not pairs(raw, signed, count, columns, *operands):
            return False  # before anything is written: it depends on x alone
        into[:, rows] = result
    return True


def _pairs_of(weight: Tensor) -> Iterator[tuple[slice, np.ndarray]]:
    """Some rows at a time, few enough for their values as floats."""
    block = handoff.block_rows(2 * weight.shape[1])
    for rows in row_blocks(weight):
        pairs = weight.rows(rows.start, rows.stop)
        for first in range(0, len(pairs), block):
            some = pairs[first : first + block]
            yield slice(rows.start + first, rows.start + first + len(some)), some


def _values(pairs: np.ndarray, signed: bool) -> np.ndarray:
    """int8 [rows, 2 columns] of uint8 [rows, columns]."""
    values = np.empty((*pairs.shape, 2), np.int8)
    values[..., 0], values[..., 1] = pairs & np.uint8(15), pairs >> np.uint8(4)
    if signed:
        values = (values ^ np.int8(8)) - np.int8(8)
    return values.reshape(len(pairs), -1)


def _by_blas(own: Operands, weight: Tensor, scaling: _Scaling, signed: bool, transposed: bool) -> None:
    """Scales values first where rows have several groups, else their products."""
    kind: Any = np.float64 if own.exact else np.float32
    total = np.zeros(own.out.shape, kind)
    for rows, pairs in _pairs_of(weight):
        some, count = scaling.of(rows), rows.stop - rows.start
        values = _values(pairs, signed).astype(kind)
        grouped = values.reshape(count, scaling.groups, -1)
        grouped -= some.zeros.reshape(len(some.zeros), -1, 1).astype(kind)
        scales = some.scales.astype(kind)
        if scales.ndim == 2:
            grouped *= scales[:, :, None]
            scales = np.ones(1, kind)
        if transposed:
            total += (own.x[:, rows].astype(kind) * scales) @ values
        else:
            total[:, rows] = (own.x.astype(kind, copy=False) @ values.T) * scales
    write_sums(own, total)
