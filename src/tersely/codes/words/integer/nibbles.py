"""`integer` with a child `nibbles`: uint8 that holds two 4-bit values a byte, coded value by value.

The child is a tensor with twice as many columns: the low half of a byte, then its high half. What the two halves mean,
and in which order, is the caller's affair: the tensor stays one of bytes, whose bits come back. The child is

    under `split`      indices, near the entropy of the values; products decode them
    under `integer`    uint8 as fields of at most 4 bits, which products of values (`tersely.linear`, packed=) multiply as
                       they are; with the parameter `signed` bit 3 is inverted, so that two's complement counts from -8
                       and the values of signed weights, about zero, are neighbours for fields of fewer bits

FORMAT: docs/FORMAT.md, "Integers".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tersely.codes.node import prefixed
from tersely.codes.words.integer import codec
from tersely.codes.words.integer.layout import BLOCK_COLUMNS, NAME, NIBBLES, VERSION
from tersely.core.encoded import Node
from tersely.core.geometry import Geometry, folded

DTYPE = "uint8"
SIGNED = "signed"
SIGN = 8
"""The bit that inverted makes a level of a signed value."""


def seen_as(geometry: Geometry) -> Geometry | None:
    """How the values of a tensor of bytes are seen; None where bytes are seen in a way that values cannot follow."""
    shape = wide(geometry.shape)
    if geometry.view == "folded":
        return folded(shape)
    if geometry.view not in ("matrix", "stack") or geometry.orientation != "out_in":
        return None
    return Geometry(shape, geometry.view, "out_in", geometry.column_order)


def wide(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:-1], 2 * shape[-1]) if shape else (2,)


def take_apart(words: np.ndarray) -> np.ndarray:
    """uint8 in the shape of the values."""
    values = np.empty((*words.shape, 2), np.uint8)
    values[..., 0], values[..., 1] = words & np.uint8(15), words >> np.uint8(4)
    return values.reshape(wide(words.shape))


def put_together(values: np.ndarray, out: np.ndarray, flip: int = 0) -> None:
    """Inverse of `take_apart` of values ^ flip. Of a value that a damaged file holds, the low four bits count."""
    pairs = (values ^ np.uint8(flip) if flip else values).reshape(-1, 2)
    out.reshape(-1)[...] = pairs[:, 0] & np.uint8(15) | pairs[:, 1] << np.uint8(4)


@dataclass(frozen=True)
class NibbleFields:
    """A tensor of bytes whose values are fields. words: C-contiguous. signed: the node's parameter."""

    words: np.ndarray
    groups: codec.Groups
    signed: bool

    def node(self) -> Node:
        return Node(NAME, VERSION, {SIGNED: True} if self.signed else {}, {NIBBLES: Node(NAME, VERSION)})

    def encode(self, threads: int) -> dict[str, np.ndarray]:
        values = take_apart(self.words) ^ np.uint8(SIGN if self.signed else 0)
        return prefixed(NIBBLES, codec.encode(values, self.groups, threads))


def choose_fields(
    words: np.ndarray, geometry: Geometry, threads: int, escape_cost: float, bits: int | None, signed: bool | None
) -> NibbleFields:
    """The smaller of the two orders of values unless `signed` says which, and where they are as small the likelier one.

    escape_cost, bits: as in `codec.choose`.
    """
    counts = codec.statistics(take_apart(words), geometry, DTYPE, threads)
    found = []
    for order in (False, True) if signed is None else (signed,):
        own = counts[:, np.arange(counts.shape[1]) ^ SIGN] if order else counts
        # Weights thin out on both sides of their middle, so its neighbours are commoner than the ends.
        middle = int(own[:, 4:12].sum())
        groups = codec.choose(own, geometry, DTYPE, escape_cost, bits)
        found.append((groups.total(), -middle, NibbleFields(words, groups, order)))
    return min(found, key=lambda one: one[:2])[2]


class NibbleMatrix:
    """What reads bytes through the native matrix of their values."""

    def __init__(self, matrix: Any, bytes_seen: Geometry, values_seen: Geometry, flip: int) -> None:
        self._matrix, self._bytes, self._values, self._flip = matrix, bytes_seen, values_seen, flip

    def decode(self, out: np.ndarray, threads: int) -> None:
        values = np.empty(2 * out.size, np.uint8)
        self._matrix.decode(values, threads)
        put_together(values, out, self._flip)

    def decode_window(
        self, out: np.ndarray, first_panel: int, last_panel: int, first_element: int, threads: int
    ) -> None:
        values = np.empty(2 * out.size, np.uint8)
        if self._bytes.view == "folded":  # whose rows are no rows of the tensor
            first_panel, last_panel = 0, self._values.panels
        self._matrix.decode_window(values, first_panel, last_panel, 2 * first_element, threads)
        put_together(values, out, self._flip)

    def access(self, matrix: int, row: int, column: int) -> int:
        if self._bytes.view == "folded":
            first = 2 * (row * self._bytes.columns + column)
            both = [divmod(first + half, self._values.columns) for half in (0, 1)]
        else:
            both = [(row, 2 * column), (row, 2 * column + 1)]
        low, high = ((self._matrix.access(matrix, *one) ^ self._flip) & 15 for one in both)
        return int(low | high << 4)

    def values_linear(
        self,
        x: np.ndarray,
        dtype: str,
        signed: bool,
        scale: np.ndarray,
        zero: np.ndarray,
        bias: np.ndarray | None,
        out: np.ndarray,
        threads: int,
        groups: int,
    ) -> bool | None:
        """Multiplies as `integer_linear` of the native matrices does, by the values; None where they are not what
        kernels multiply.
        """
        if self._bytes.view != "matrix" or not hasattr(self._matrix, "integer_linear"):
            return None
        # Fields that were counted in the other order are no integers apart from a zero.
        if signed != (self._flip != 0) or (groups > 1 and self._values.columns // groups % BLOCK_COLUMNS):
            return None
        zero = zero + np.int32(self._flip)
        return bool(self._matrix.integer_linear(x, dtype, scale, zero, bias, out, threads, groups))
