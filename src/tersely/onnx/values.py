"""What is known of a value while a model is imported."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import ml_dtypes
import numpy as np

from tersely.onnx.lengths import Length, Number

Shape = tuple[Number, ...]
HALVES = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
"""Dtypes that are float32 between operators of our graph; constants keep their bits."""


@dataclass(frozen=True)
class Ramp:
    """Integers that grow evenly along axes: offset + the sum of index times stride."""

    offset: Number
    strides: tuple[Number, ...]


@dataclass(frozen=True)
class Value:
    """A tensor of the model.

    shape: as the model has it. dtype: NumPy's. name: in our graph; '' for constants that it has not read yet.
    numbers: of a constant; an array of objects where some are `Length`s. repeated: axes along which the graph's value has
    length 1, and the model's is that repeated: operators that repeat such axes by themselves take it as it is.
    source: the initialiser that a constant is, bit for bit; '' where it was computed. transposed: the constant that it is
    with its two axes exchanged. ramps: of integers that follow from lengths that are not known; several are tuples of
    indices along a last axis. Such values are neither constants nor in the graph.
    """

    shape: Shape
    dtype: np.dtype[Any]
    name: str = ""
    numbers: np.ndarray | None = field(default=None, compare=False)
    repeated: frozenset[int] = frozenset()
    source: str = ""
    transposed: Value | None = field(default=None, compare=False)
    ramps: tuple[Ramp, ...] = ()

    @property
    def known(self) -> bool:
        """Whether its numbers are there, none of them a length that is not known."""
        return self.numbers is not None and self.numbers.dtype != object

    @property
    def stored(self) -> Shape:
        """Its shape in our graph."""
        return tuple(1 if axis in self.repeated else length for axis, length in enumerate(self.shape))


def widened(value: Value) -> Value:
    """A value as operators of our graph see it: floats of 16 bits are float32, whatever a constant is stored as."""
    return replace(value, dtype=np.dtype(np.float32)) if value.dtype in HALVES else value


def constant(numbers: np.ndarray, source: str = "") -> Value:
    """A constant of an array; of objects, it becomes int64 where no `Length` is among them."""
    dtype = numbers.dtype
    if dtype.kind == "O":
        dtype = np.dtype(np.int64)
        if not any(isinstance(one, Length) for one in numbers.reshape(-1)):
            numbers = numbers.astype(np.int64)
    return Value(numbers.shape, dtype, numbers=numbers, source=source)
