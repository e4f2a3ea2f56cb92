"""`linear`: x @ weight.T + bias, straight from the coded weight.

Three regimes by batch (docs/explanation/kernels.md): up to 4 rows of x every decoded register is multiplied at once; up
to `handoff.NUMPY_FLOAT_ROWS` rows each tile is decoded once for all of them; above, panels are decoded for NumPy's
BLAS. Products accumulate in float32; the result has x's dtype. Palettes that are grids multiply up to 8 rows of finite
x as integers (`tersely.codes.words.palette.grid` has the error bound).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tersely.backends.cpu import float_environment
from tersely.backends.cpu.threads import get_num_threads
from tersely.codes import registry
from tersely.core.choices import Packed
from tersely.core.dtypes import by_name
from tersely.core.errors import ArgumentError
from tersely.tensors import handoff, int4, int8
from tersely.tensors.operands import FLOAT_DTYPES, Operands, numbers, operands_of
from tersely.tensors.tensor import Tensor

_FLOAT32 = np.dtype(np.float32)
_WORD = np.dtype(np.uint32)


def linear(
    x: np.ndarray,
    weight: Tensor,
    bias: np.ndarray | None = None,
    out: np.ndarray | None = None,
    *,
    scale: Any = None,
    zero_point: Any = None,
    packed: Packed | None = None,
) -> np.ndarray:
    """Returns x [..., columns] @ weight [rows, columns].T + bias [rows], [..., rows] in x's dtype.

    Args:
        x: float32, bfloat16 or float16; for int8 and uint8 weights also int8, which gives exact int32 sums.
        weight: [rows, columns], of floats of 8 to 32 bits or integers of 8 and 16.
        bias: any float dtype, shape [rows]; int32 where x is int8; None for none.
        out: C-contiguous, of the result's dtype, shape [..., rows], filled and returned; it may share memory with x and
            bias, which costs a copy. None for a new array.
        scale: of weights of int8, uint8, int16 and uint16, which then mean scale x (weight - zero_point): one number,
            or [rows], one for each row. Not rounded to float32 before the sum is scaled; `tersely.tensors.int8` has the
            error bound.
        zero_point: of the same weights: one number, or [rows]; None for 0.
        packed: 'int4' or 'uint4' for a uint8 weight of shape [rows, columns / 2] that holds two 4-bit values a byte,
            the low half first, in two's complement or unsigned. They are the weights: x is [..., columns], zero_point
            in their range (-8 to 7, 0 to 15), and scale and zero_point may also be [rows, groups], one for each columns
            / groups neighbouring columns. int8 x takes no scale and no groups. `tersely.tensors.int4` has the error
            bound.

    Raises:
        ArgumentError: where shapes or dtypes do not fit.
        TooLargeError: where memory does not hold the result.
    """
    return _multiply(x, weight, bias, out, scale, zero_point, packed, transposed=False)


def linear_transposed(
    x: np.ndarray,
    weight: Tensor,
    bias: np.ndarray | None = None,
    out: np.ndarray | None = None,
    *,
    scale: Any = None,
    zero_point: Any = None,
    packed: Packed | None = None,
) -> np.ndarray:
    """Returns x [..., rows] @ weight [rows, columns] + bias [columns]: gradients, and weights stored [inputs, outputs].

    Args:
        x: as in `linear`, with as many columns as the weight has rows, whatever is packed.
        weight: [rows, columns], of floats of 8 to 32 bits or integers of 8 and 16.
        bias: as in `linear`, shape [columns].
        out: as in `linear`, shape [..., columns].
        scale: as in `linear`: one number, or one for each row of the weight, or for each group of its columns where
            they are packed.
        zero_point: like `scale`; None for 0.
        packed: as in `linear`.

    Raises:
        ArgumentError: where shapes or dtypes do not fit.
        TooLargeError: where memory does not hold the result.
    """
    return _multiply(x, weight, bias, out, scale, zero_point, packed, transposed=True)


def _multiply(
    x: Any, weight: Tensor, bias: Any, out: Any, scale: Any, zero_point: Any, packed: Packed | None, *, transposed: bool
) -> np.ndarray:
    if not isinstance(weight, Tensor):
        raise ArgumentError("weight must be a tersely.Tensor: make one with tersely.encode(array)")
    kernels = weight.float_products
    integers = scale is not None or zero_point is not None or packed is not None
    if kernels is None or integers:
        _check_weight(weight)
    try:
        if kernels is not None and not integers and bias is None and out is None:
            made = _short_way(x, kernels[transposed], *weight.shape[:: 1 if transposed else -1])
            if made is not None:
                return made
        x = numbers(x, "x")
        with float_environment.default():
            if kernels is None or integers:
                if packed is not None:
                    return int4.multiply(x, weight, bias, out, scale, zero_point, packed, transposed=transposed)
                if weight.dtype in int8.DTYPES:
                    return int8.multiply(x, weight, bias, out, scale, zero_point, transposed=transposed)
                _check_floats(weight, scale, zero_point)
            return _multiply_floats(x, weight, bias, out, kernels, transposed=transposed)
    except MemoryError:
        raise weight.too_large("a product by it") from None


def _short_way(x: Any, run: Any, inner: int, outer: int) -> np.ndarray | None:
    """Returns what nearly every call asks for, rows of float32 x by a weight, or None where x is anything else.

    Nothing that the long way does would make a difference here, and it takes twice as long.
    """
    if type(x) is not np.ndarray or x.dtype != _FLOAT32 or x.ndim != 2 or not x.flags.c_contiguous:
        return None
    if x.shape[1] != inner or not inner or not outer or not 0 < len(x) <= handoff.NUMPY_FLOAT_ROWS:
        return None
    made = np.empty((len(x), outer), _FLOAT32)
    run(x.view(_WORD), "float32", None, made.view(_WORD), get_num_threads())
    return made


def _check_weight(weight: Tensor) -> None:
    """Raises ArgumentError for weights that nothing multiplies."""
    if by_name(weight.encoded.dtype).packed:
        raise ArgumentError(
            f"weight has dtype {weight.encoded.dtype}, whose bytes are kept and given and never multiplied"
        )
    if weight.ndim != 2:
        raise ArgumentError(f"weight has shape {list(weight.shape)}; a product needs [rows, columns]")


def _check_floats(weight: Tensor, scale: Any, zero_point: Any) -> None:
    """Raises ArgumentError for weights that are no floats, and for what belongs to integers."""
    if not by_name(weight.encoded.dtype).floating:
        raise ArgumentError(
            f"weight has dtype {weight.dtype}; products take floats of 8 to 32 bits and integers of 8 and 16"
        )
    if scale is not None or zero_point is not None:
        raise ArgumentError(f"scale and zero_point belong to weights that are integers, not to {weight.dtype}")


def _multiply_floats(
    x: np.ndarray, weight: Tensor, bias: Any, out: Any, kernels: tuple[Any, Any] | None, *, transposed: bool
) -> np.ndarray:
    if x.dtype not in FLOAT_DTYPES:
        raise ArgumentError(f"x has dtype {x.dtype}; convert it to float32, bfloat16 or float16")
    rows, columns = weight.shape
    inner, outer = (rows, columns) if transposed else (columns, rows)
    own = operands_of(x, bias, out, inner, outer)
    words, name = own.words()
    if own.is_empty:
        own.fill_empty()
    elif kernels is not None and not handoff.numpy_multiplies(len(words), name):
        kernels[transposed](words, name, own.bias, own.out.view(words.dtype), get_num_threads())
    else:
        with np.errstate(all="ignore"):  # as in our kernels: infinities and NaN are results, not events
            _by_blas(own, weight, transposed)
    return own.finish()


def _by_blas(own: Operands, weight: Tensor, transposed: bool) -> None:
    """Decodes some panels at a time and multiplies them with NumPy's BLAS in float32."""
    x = own.x.astype(np.float32, copy=False)
    block = handoff.block_rows(weight.shape[1])
    total = np.zeros(own.out.shape, np.float32) if transposed else None
    dense: np.ndarray | None = None
    if weight.formulation == "dense":
        dense = registry.decode(weight.checked)  # the stored bytes themselves
    elif weight.float_products is None:
        dense = weight.decode()
    for first in range(0, weight.shape[0], block):
        last = min(first + block, weight.shape[0])
        panel = weight.rows(first, last) if dense is None else dense[first:last]
        values = panel.astype(np.float32, copy=False)
        if total is not None:
            total += x[:, first:last] @ values
        else:
            product = x @ values.T
            own.out[:, first:last] = product if own.bias is None else product + own.bias[first:last]
    if total is not None:
        own.out[...] = total if own.bias is None else total + own.bias
