"""Element types: one row each, with the three names they go by and how `split` cuts their bits.

NumPy has no bfloat16 or float8 of its own; `ml_dtypes` supplies them. Codecs never look at floats:
they see each weight as an unsigned integer of the same width (`word`).
"""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np

from laconic.errors import ArgumentError


@dataclass(frozen=True)
class DType:
    """An element type that safetensors can name.

    name: as in NumPy and ml_dtypes. tag: safetensors' name. bits: width of one element.
    numpy: the array dtype, None where NumPy and ml_dtypes have none of whole bytes.
    split: True where the formulation `split` can code it.
    """

    name: str
    tag: str
    bits: int
    numpy: np.dtype | None
    split: bool = False

    @property
    def word(self) -> np.dtype:
        """The unsigned integer of the same width, little-endian."""
        return np.dtype(f"<u{self.bits // 8}")


def _row(tag: str, scalar: object, split: bool = False) -> DType:
    dtype = np.dtype(scalar)  # type: ignore[call-overload]
    return DType(dtype.name, tag, dtype.itemsize * 8, dtype, split)


_ROWS = (
    _row("F32", np.float32, split=True),
    _row("BF16", ml_dtypes.bfloat16, split=True),
    _row("F16", np.float16, split=True),
    _row("F8_E4M3", ml_dtypes.float8_e4m3fn, split=True),
    _row("F8_E5M2", ml_dtypes.float8_e5m2, split=True),
    _row("F8_E8M0", ml_dtypes.float8_e8m0fnu),
    _row("F8_E4M3FNUZ", ml_dtypes.float8_e4m3fnuz),
    _row("F8_E5M2FNUZ", ml_dtypes.float8_e5m2fnuz),
    _row("F64", np.float64),
    _row("C64", np.complex64),
    _row("BOOL", np.bool_),
    _row("U8", np.uint8),
    _row("I8", np.int8),
    _row("U16", np.uint16),
    _row("I16", np.int16),
    _row("U32", np.uint32),
    _row("I32", np.int32),
    _row("U64", np.uint64),
    _row("I64", np.int64),
    DType("float4_e2m1fn_x2", "F4", 4, None),
    DType("float6_e2m3fn", "F6_E2M3", 6, None),
    DType("float6_e3m2fn", "F6_E3M2", 6, None),
)
BY_TAG = {row.tag: row for row in _ROWS}
BY_NAME = {row.name: row for row in _ROWS}


def of_array(array: np.ndarray) -> DType:
    """The row of a NumPy array's dtype.

    Raises ArgumentError for types a safetensors file cannot hold (object, complex128, strings, structures).
    """
    row = BY_NAME.get(array.dtype.name)
    if row is None or row.numpy is None or array.dtype.hasobject or array.dtype.fields is not None:
        raise ArgumentError(
            f"dtype {array.dtype} cannot be stored: laconic takes {', '.join(sorted(BY_NAME))}; convert the array first"
        )
    return row


def by_name(name: str) -> DType:
    """The row called `name` ('float32', 'bfloat16', ...). Raises ArgumentError for unknown names."""
    try:
        return BY_NAME[name]
    except KeyError:
        raise ArgumentError(f"unknown dtype {name!r}: use one of {', '.join(sorted(BY_NAME))}") from None
