"""Element types: one row each, with the three names that they go by.

NumPy has no bfloat16 or float8 of its own; `ml_dtypes` supplies them. Codecs never look at floats:
they see each weight as an unsigned integer of the same width (`word`). What has less than a byte is never coded, and is
given as the bytes it lies in: safetensors says of float6 no more than how many bits there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import ml_dtypes
import numpy as np

from tersely.core.errors import ArgumentError


@dataclass(frozen=True)
class DType:
    """An element type that safetensors can name.

    name: as in NumPy and ml_dtypes, or of what several elements are together. tag: safetensors' name. bits: width of
    one element. numpy: the dtype of arrays. floating: floats of 8 to 32 bits, which products take. packed: elements of
    less than a byte, which arrays hold as the bytes they lie in.
    """

    name: str
    tag: str
    bits: int
    numpy: np.dtype
    floating: bool = False
    packed: bool = False

    @cached_property
    def word(self) -> np.dtype:
        """The unsigned integer of the same width, little-endian."""
        return np.dtype(f"<u{self.bits // 8}")

    def array_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the array that holds a tensor; a file's header says `shape`, which counts elements.

        Of packed elements the last dimension counts bytes, where rows have whole ones; else all bytes are one row.
        """
        if not self.packed:
            return shape
        if shape and shape[-1] * self.bits % 8 == 0:
            return (*shape[:-1], shape[-1] * self.bits // 8)
        return (-(-math.prod(shape) * self.bits // 8),)


def _row(tag: str, scalar: object, floating: bool = False) -> DType:
    dtype = np.dtype(scalar)  # type: ignore[call-overload]
    return DType(dtype.name, tag, dtype.itemsize * 8, dtype, floating)


def _packed(tag: str, name: str, bits: int) -> DType:
    return DType(name, tag, bits, np.dtype(np.uint8), packed=True)


_ROWS = (
    _row("F32", np.float32, floating=True),
    _row("BF16", ml_dtypes.bfloat16, floating=True),
    _row("F16", np.float16, floating=True),
    _row("F8_E4M3", ml_dtypes.float8_e4m3fn, floating=True),
    _row("F8_E5M2", ml_dtypes.float8_e5m2, floating=True),
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
    _packed("F4", "float4_e2m1fn_x2", 4),  # torch's name: two to a byte
    _packed("F6_E2M3", "float6_e2m3fn_packed", 6),
    _packed("F6_E3M2", "float6_e3m2fn_packed", 6),
)
BY_TAG = {row.tag: row for row in _ROWS}
BY_NAME = {row.name: row for row in _ROWS}
BY_NUMPY = {row.numpy: row for row in _ROWS if not row.packed}
"""By the dtype of an array: products ask for this, because NumPy makes a dtype's name anew each time it is asked."""


def of_array(array: np.ndarray) -> DType:
    """The row of a NumPy array's dtype.

    Raises ArgumentError for types a safetensors file cannot hold (object, complex128, strings, structures).
    """
    row = BY_NAME.get(array.dtype.name)
    if row is None or row.packed or array.dtype.hasobject or array.dtype.fields is not None:
        known = ", ".join(sorted(name for name, one in BY_NAME.items() if not one.packed))
        raise ArgumentError(f"dtype {array.dtype} cannot be stored: tersely takes {known}; convert the array first")
    return row


def raw_bytes(array: np.ndarray) -> np.ndarray:
    """The array's bytes, row-major and little-endian, uint8: a view where it is contiguous, else a copy.

    Raises ArgumentError for a big-endian array.
    """
    if array.dtype.byteorder == ">":
        raise ArgumentError(
            f"big-endian array of dtype {array.dtype}: convert it with array.astype(array.dtype.newbyteorder('<'))"
        )
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def by_name(name: str) -> DType:
    """The row called `name` ('float32', 'bfloat16', ...). Raises ArgumentError for unknown names."""
    try:
        return BY_NAME[name]
    except KeyError:
        raise ArgumentError(f"unknown dtype {name!r}: use one of {', '.join(sorted(BY_NAME))}") from None
