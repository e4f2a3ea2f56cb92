"""Words that are a grid: scale x (number - zero), as quantising to few levels and back leaves them.

A word may be off its point by as much as rounding to float32 moves it, so that a product by numbers, which are exact
sums (`tersely.tensors.int8`), is as good as one by words; with k = number - zero and m = max |x| of its row:

    |word - scale k| <= 2^-24 scale (|k| + 1)
    |y - exact| <= scale (1.01 x 2^-23 m sum |k| + 2^-24 sum |x| (|k| + 1)) + half a unit of y's last place in its dtype

Numbers count from the smallest word on; the table has a word for each, those that do not occur rounded from their
points.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tersely.core.dtypes import by_name
from tersely.core.errors import ArgumentError

TOLERANCE = 2.0**-24
MAX_NUMBERS = 256
MAX_ZERO = 4096
"""How far from 0 the zero may lie: with more, the sums that products take it off by leave their integers."""
_MAX_STEPS = 8
"""Steps that the two nearest words may be apart."""


@dataclass(frozen=True)
class Grid:
    scale: float
    zero: int

    def points(self, count: int) -> np.ndarray:
        """float64 [count], from number 0 on."""
        return self.scale * (np.arange(count) - self.zero)

    def first_off(self, table: np.ndarray, dtype: str) -> int | None:
        """The first number whose word in the table is off the grid."""
        steps = np.abs(np.arange(table.size) - self.zero)
        with np.errstate(invalid="ignore"):
            near = np.abs(values_of(table, dtype) - self.points(table.size)) <= TOLERANCE * self.scale * (steps + 1)
        return None if near.all() else int(np.argmin(near))

    def parameters(self) -> dict[str, Any]:
        """Those of a node; the scale as the digits of its bits, since numbers in a description are integers."""
        return {"scale": struct.pack(">d", self.scale).hex(), "zero": self.zero}

    @staticmethod
    def parse(parameters: Mapping[str, Any]) -> Grid | None:
        """Inverse of `parameters`; None where they describe no grid."""
        scale, zero = parameters.get("scale"), parameters.get("zero")
        if not isinstance(scale, str) or len(scale) != 16 or not set(scale) <= set("0123456789abcdef"):
            return None
        number = struct.unpack(">d", bytes.fromhex(scale))[0]
        if not 0 < number < float("inf") or type(zero) is not int or abs(zero) > MAX_ZERO:
            return None
        return Grid(number, zero)


def values_of(words: np.ndarray, dtype: str) -> np.ndarray:
    kind = by_name(dtype).numpy
    assert kind is not None
    with np.errstate(invalid="ignore"):  # signalling NaN
        return np.ascontiguousarray(words).view(kind).astype(np.float64).reshape(words.shape)


def find(words: np.ndarray, dtype: str) -> tuple[Grid, np.ndarray]:
    """The grid that distinct words are, and its table. Raises ArgumentError naming a word that is off it."""
    values = values_of(words, dtype)
    if not np.isfinite(values).all():
        raise ArgumentError(f"words that are a grid are finite, and {values[~np.isfinite(values)][0]} is among them")
    order = np.argsort(values, kind="stable")
    words, values = words[order], values[order]
    if values.size == 1:
        value = float(values[0])
        return Grid(abs(value) or 1.0, -int(np.sign(value))), words
    smallest = float(np.diff(values).min())
    if smallest == 0:
        raise ArgumentError("words that are a grid have one zero, and 0.0 and -0.0 are both among them")
    refusal = None
    for steps in range(1, _MAX_STEPS + 1):
        try:
            return _fitted(words, values, smallest / steps, dtype)
        except ArgumentError as error:
            refusal = refusal or error
    assert refusal is not None
    raise refusal


def _fitted(words: np.ndarray, values: np.ndarray, guess: float, dtype: str) -> tuple[Grid, np.ndarray]:
    """words, values: by rising value. guess: about the scale, as good as two neighbours tell it."""
    span = float(values[-1] - values[0])
    if not span / guess < MAX_NUMBERS - 0.5:
        raise ArgumentError(
            f"words that are a grid take at most {MAX_NUMBERS} numbers, and these span {span / guess:.6g} steps of {guess:.6g}"
        )
    scale = span / round(span / guess)
    steps = np.rint(values / scale)
    if np.abs(steps).max() > MAX_ZERO:
        raise ArgumentError(
            f"words that are a grid lie about zero, and {values[0]:.6g} is {steps[0]:.0f} steps from it"
        )
    if steps.any():  # else as far from 0 on both sides
        scale = float(values @ steps / (steps @ steps))
        steps = np.rint(values / scale)
    away, size = steps != 0, np.abs(steps)
    if not away.any() or not (np.diff(steps) > 0).all():
        raise ArgumentError(
            f"words that are a grid are whole multiples of a scale, and {values[0]:.9g} is none of {scale:.9g}"
        )
    # What the tolerance leaves of the scale, word by word; a float32 in there is what the words were made with.
    lowest = (np.abs(values[away]) / (size[away] * (1 + TOLERANCE) + TOLERANCE)).max()
    highest = (np.abs(values[away]) / (size[away] * (1 - TOLERANCE) - TOLERANCE)).min()
    if lowest <= highest:
        scale = (lowest + highest) / 2
        short = float(np.float32(scale))
        scale = short if lowest <= short <= highest else float(scale)
    numbers = (steps - steps[0]).astype(np.int64)
    grid, count = Grid(scale, -int(steps[0])), int(numbers[-1]) + 1
    kind = by_name(dtype).numpy
    table = grid.points(count).astype(kind).view(words.dtype)
    table[numbers] = words
    off = grid.first_off(table, dtype)
    if off is not None or np.unique(table).size != count:
        value = values_of(table, dtype)[off or 0]
        raise ArgumentError(
            f"words that are a grid are whole multiples of a scale, and {value:.9g} is none of {scale:.9g}"
        )
    return grid, table
