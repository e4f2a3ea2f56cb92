"""`integer` with a child `nibbles`: uint8 that holds two 4-bit values a byte, coded value by value under `split`.

The child is a tensor of indices with twice as many columns: the low half of a byte, then its high half. What the two
halves mean, and in which order, is the caller's affair: the tensor stays one of bytes, whose bits come back.

FORMAT: docs/FORMAT.md, "Nibbles".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from laconic.encoded import Encoded, Node
from laconic.errors import CorruptError, UnsupportedError
from laconic.formulations.integer.distances import child_of, reference_words
from laconic.formulations.integer.layout import NAME, VERSION
from laconic.formulations.split import codec as split
from laconic.formulations.split import formulation as split_formulation
from laconic.formulations.split.layout import Parameters
from laconic.formulations.split.sizes import PLANNED_LEVELS, SizeModel
from laconic.geometry import Geometry, folded

CHILD = "nibbles"
DTYPE = "uint8"
INDEX = "index"


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


def put_together(values: np.ndarray, out: np.ndarray) -> None:
    """Inverse of `take_apart`. Of a value that a damaged file holds, the low four bits count."""
    pairs = values.reshape(-1, 2)
    out.reshape(-1)[...] = pairs[:, 0] & np.uint8(15) | pairs[:, 1] << np.uint8(4)


class Nibbles:
    """A tensor of bytes whose values are counted. words: C-contiguous."""

    def __init__(self, words: np.ndarray, geometry: Geometry, threads: int) -> None:
        self.words = words
        statistics = split.statistics(take_apart(words), geometry, INDEX, threads)
        self.model = SizeModel(statistics, geometry, INDEX)
        self.parameters: Parameters = self.model.parameters(*self.model.codes(PLANNED_LEVELS)[0])

    def node(self) -> Node:
        return Node(NAME, VERSION, {}, {CHILD: split.node(self.parameters)})

    def encode(self, threads: int) -> dict[str, np.ndarray]:
        found = split.encode(take_apart(self.words), self.model, self.parameters, threads)
        return {f"{CHILD}.{name}": component for name, component in found.items()}


def inner(encoded: Encoded, geometry: Geometry) -> tuple[Encoded, Geometry]:
    """The values as a tensor under `split`, and how it is seen. Raises UnsupportedError or CorruptError."""
    if encoded.node.parameters:
        raise UnsupportedError("formulation 'integer' with nibbles has no parameters; use a newer laconic")
    own = seen_as(geometry)
    if own is None or encoded.dtype != DTYPE:
        raise CorruptError(
            f"nibbles are of {DTYPE} tensors seen as rows of bytes, not of {encoded.dtype} as {geometry.view}",
            component="info",
        )
    return child_of(encoded, CHILD, INDEX, own.shape), own


def validate(encoded: Encoded, geometry: Geometry) -> None:
    split_formulation.validate(*inner(encoded, geometry))


def decode(encoded: Encoded, geometry: Geometry) -> np.ndarray:
    """The NumPy reference: the tensor's words, from valid components."""
    out = np.empty(encoded.shape, np.uint8)
    put_together(reference_words(*inner(encoded, geometry)), out)
    return out


class NibbleMatrix:
    """What reads bytes through the native matrix of their values."""

    def __init__(self, matrix: Any, bytes_seen: Geometry, values_seen: Geometry) -> None:
        self._matrix, self._bytes, self._values = matrix, bytes_seen, values_seen

    def decode(self, out: np.ndarray, threads: int) -> None:
        values = np.empty(2 * out.size, np.uint8)
        self._matrix.decode(values, threads)
        put_together(values, out)

    def decode_window(
        self, out: np.ndarray, first_panel: int, last_panel: int, first_element: int, threads: int
    ) -> None:
        values = np.empty(2 * out.size, np.uint8)
        if self._bytes.view == "folded":  # whose rows are no rows of the tensor
            first_panel, last_panel = 0, self._values.panels
        self._matrix.decode_window(values, first_panel, last_panel, 2 * first_element, threads)
        put_together(values, out)

    def access(self, matrix: int, row: int, column: int) -> int:
        if self._bytes.view == "folded":
            place = 2 * (row * self._bytes.columns + column)
            places = [divmod(place + half, self._values.columns) for half in (0, 1)]
        else:
            places = [(row, 2 * column), (row, 2 * column + 1)]
        low, high = (self._matrix.access(matrix, *place) & 15 for place in places)
        return int(low | high << 4)


def matrix(encoded: Encoded, geometry: Geometry) -> Any:
    """See `NibbleMatrix`; None without the native module."""
    values, own = inner(encoded, geometry)
    found = split_formulation.matrix(values, own)
    return None if found is None else NibbleMatrix(found, geometry, own)
