"""`integer` with a child `nibbles`: uint8 that holds two 4-bit values a byte, coded value by value.

The child is a tensor with twice as many columns: the low half of a byte, then its high half. What the two halves mean,
and in which order, is the caller's affair: the tensor stays one of bytes, whose bits come back. The child is

    under `split`      indices, near the entropy of the values; products decode them
    under `integer`    uint8 as fields of at most 4 bits, which products of values (`tersely.linear`, packed=) multiply as
                       they are; with the parameter `signed` bit 3 is inverted, so that two's complement counts from -8
                       and the values of signed weights, about zero, are neighbours for fields of fewer bits

FORMAT: docs/FORMAT.md, "Nibbles".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tersely.codes.integer import codec, fields
from tersely.codes.integer.distances import child_of, reference_words
from tersely.codes.integer.layout import NAME, NIBBLE_BITS, VERSION
from tersely.codes.split import codec as split
from tersely.codes.split import formulation as split_formulation
from tersely.codes.split.layout import Parameters
from tersely.codes.split.sizes import PLANNED_LEVELS, SizeModel
from tersely.core.encoded import Encoded, Node
from tersely.core.errors import CorruptError, UnsupportedError
from tersely.core.geometry import Geometry, folded

CHILD = "nibbles"
DTYPE = "uint8"
INDEX = "index"
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


@dataclass(frozen=True)
class NibbleFields:
    """A tensor of bytes whose values are fields. words: C-contiguous. signed: the node's parameter."""

    words: np.ndarray
    groups: codec.Groups
    signed: bool

    def node(self) -> Node:
        return Node(NAME, VERSION, {SIGNED: 1} if self.signed else {}, {CHILD: Node(NAME, VERSION)})

    def encode(self, threads: int) -> dict[str, np.ndarray]:
        found = codec.encode(levels_of(self.words, self.signed), self.groups, threads)
        return {f"{CHILD}.{name}": component for name, component in found.items()}


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


def levels_of(words: np.ndarray, signed: bool) -> np.ndarray:
    values = take_apart(words)
    return values ^ np.uint8(SIGN) if signed else values


def as_fields(node: Node) -> bool:
    """Whether the values of a node are fields."""
    return CHILD in node.children and node.children[CHILD].formulation == NAME


def inner(encoded: Encoded, geometry: Geometry) -> tuple[Encoded, Geometry]:
    """The values as a tensor of its own, and how it is seen. Raises UnsupportedError or CorruptError."""
    _flip(encoded)
    own = seen_as(geometry)
    if own is None or encoded.dtype != DTYPE:
        raise CorruptError(
            f"nibbles are of {DTYPE} tensors seen as rows of bytes, not of {encoded.dtype} as {geometry.view}",
            component="info",
        )
    return child_of(encoded, CHILD, DTYPE if as_fields(encoded.node) else INDEX, own.shape), own


def _flip(encoded: Encoded) -> int:
    """What a value and what the child holds differ by, as an exclusive or. Raises UnsupportedError for other parameters."""
    parameters = dict(encoded.node.parameters)
    if as_fields(encoded.node) and parameters == {SIGNED: 1} and type(parameters[SIGNED]) is int:
        return SIGN
    if parameters:
        raise UnsupportedError(
            "formulation 'integer' with nibbles has no parameters but 'signed' of fields; the file is damaged or needs a "
            "newer tersely"
        )
    return 0


def validate(encoded: Encoded, geometry: Geometry) -> None:
    values, own = inner(encoded, geometry)
    if as_fields(encoded.node):
        fields.validate(values, own, NIBBLE_BITS)
    else:
        split_formulation.validate(values, own)


def decode(encoded: Encoded, geometry: Geometry) -> np.ndarray:
    """The NumPy reference: the tensor's words, from valid components."""
    out = np.empty(encoded.shape, np.uint8)
    values, own = inner(encoded, geometry)
    found = fields.decode(values, own) if as_fields(encoded.node) else reference_words(values, own)
    put_together(found, out, _flip(encoded))
    return out
