"""What the translation of one node sees, and the graph that it writes to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tersely.core.errors import ArgumentError, UnsupportedError
from tersely.graph.graph import Node
from tersely.graph.operators import ACTIVATIONS, ARITHMETIC, shape_of
from tersely.graph.quantised_operators import KEEPERS, MAKERS
from tersely.onnx.lengths import Length, Number, Unknown, name_of, roots_of
from tersely.onnx.model import NodeProto
from tersely.onnx.values import HALVES, Shape, Value, constant

IMAGES = "images"
"""The name of the first length of all inputs where it stands for images that have nothing to do with each other."""
LARGEST_INTEGER = 1 << 24
"""Up to here float32 holds every integer."""


@dataclass
class Builder:
    """The graph as far as it has come. arrays: constants that nodes read. shapes: of all values, as the graph has them.
    quantised: values of bytes."""

    nodes: list[Node] = field(default_factory=list)
    quantised: set[str] = field(default_factory=set)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    makers: dict[str, Node] = field(default_factory=dict)

    def claim(self, wanted: str) -> str:
        """A name that nothing has yet."""
        name, times = wanted[:2000] or "value", 1
        while name in self.shapes:
            times += 1
            name = f"{wanted[:2000]}.{times}"
        return name

    def read(self, value: Value, hint: str) -> str:
        """The name of a value that a node reads; constants are kept, as floats of 16 or 32 bits."""
        if value.name:
            return value.name
        if value.numbers is None or value.numbers.dtype == object:
            raise Unknown(roots_of(() if value.numbers is None else value.numbers.reshape(-1)), "a length as a number")
        numbers = value.numbers
        if value.source and value.source in self.arrays and self.arrays[value.source] is numbers:
            return value.source
        numbers = as_floats(numbers)
        for name in (value.source, hint):
            if name in self.arrays and self.arrays[name].shape == numbers.shape and _same(self.arrays[name], numbers):
                return name
        name = self.claim(value.source or hint)
        self.arrays[name] = numbers
        self.shapes[name] = numbers.shape
        return name

    def keep(self, value: Value, hint: str) -> str:
        """The name of a constant that a node reads as it is, in its own dtype."""
        assert value.numbers is not None
        if value.source and self.arrays.get(value.source) is value.numbers:
            return value.source
        name = self.claim(value.source or hint)
        self.arrays[name] = value.numbers
        self.shapes[name] = value.numbers.shape
        return name

    def made(self, name: str) -> Node | None:
        """The node that computes a value."""
        return self.makers.get(name)

    def before(self, name: str, operators: Sequence[str]) -> str | None:
        """What a value was made of, where one of these operators made it."""
        made = self.made(name)
        return made.inputs["x"] if made is not None and made.operator in operators else None

    def add(self, node: Node, shape: Shape | None = None) -> Shape:
        """The shape of what the node computes. Raises Unknown where it depends on lengths, ArgumentError where it has none."""
        try:
            if shape is None:
                shape = shape_of(node, self.shapes)  # type: ignore[arg-type]
        except ArgumentError as error:
            if roots := roots_of(length for name in node.inputs.values() for length in self.shapes[name]):
                raise Unknown(roots, str(error)) from None
            raise
        self.nodes.append(node)
        moved = node.operator in KEEPERS and not self.quantised.isdisjoint(node.inputs.values())
        if moved or (node.operator in MAKERS and "dtype" in node.attributes):
            self.quantised.add(node.output)
        self.makers[node.output] = node
        self.shapes[node.output] = shape
        return shape


def as_floats(numbers: np.ndarray) -> np.ndarray:
    """Constants as the executor takes them. Raises UnsupportedError for what float32 does not hold."""
    if numbers.dtype == np.float32 or numbers.dtype in HALVES:
        return numbers
    if numbers.dtype.kind == "b":
        return numbers.astype(np.float32)
    if numbers.dtype.kind in "iu":
        if numbers.size and not -LARGEST_INTEGER <= int(numbers.min()) <= int(numbers.max()) <= LARGEST_INTEGER:
            raise UnsupportedError(f"integers of more than {LARGEST_INTEGER}, which float32 does not hold")
        return numbers.astype(np.float32)
    raise UnsupportedError(f"numbers of {numbers.dtype}: the executor computes in float32; convert the model to that")


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a is b or (a.dtype == b.dtype and a.tobytes() == b.tobytes())


@dataclass
class Call:
    """One node of the model. inputs: None where one is left out. images: how many the model says that there are, where its
    first length stands for any number of them."""

    node: NodeProto
    opset: int
    inputs: list[Value | None]
    builder: Builder
    images: int | None = None
    inputs_of_graph: Sequence[str] = ()
    _made: int = 0

    def has(self, index: int) -> bool:
        return index < len(self.inputs) and self.inputs[index] is not None

    def __getitem__(self, index: int) -> Value:
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None:
            raise ArgumentError(f"input {index} is missing")
        return value

    def attribute(self, name: str, otherwise: Any = None) -> Any:
        """Of the type that the default has, where there is one. Raises ArgumentError."""
        value = self.node.attributes.get(name, otherwise)
        wanted = type(otherwise)
        fits = value is otherwise or otherwise is None or isinstance(value, wanted)
        if not fits or (isinstance(value, float) and not math.isfinite(value)):
            raise ArgumentError(f"attribute {name} is {str(value)[:40]!r}")
        return value

    def integers(self, name: str, otherwise: Sequence[int] | None = None) -> list[int] | None:
        """A list of integers among the attributes."""
        value = self.node.attributes.get(name)
        if value is None:
            return None if otherwise is None else list(otherwise)
        if not isinstance(value, list) or not all(isinstance(one, int) and abs(one) < 1 << 31 for one in value):
            raise ArgumentError(f"attribute {name} is no list of integers")
        return value

    def known(self, index: int, what: str) -> np.ndarray:
        """The numbers of an input that has to be a constant. Raises UnsupportedError, Unknown."""
        value = self[index]
        if value.numbers is None:
            raise UnsupportedError(f"{what} that depend on data")
        if value.numbers.dtype == object:
            raise Unknown(roots_of(value.numbers.reshape(-1)), f"{what} that depend on lengths")
        return value.numbers

    def lengths(self, index: int, what: str) -> list[Number]:
        """The same as integers, some of which may be lengths that are not known."""
        value = self[index]
        if value.numbers is None:
            raise UnsupportedError(f"{what} that depend on data")
        return [one if isinstance(one, Length) else int(one) for one in value.numbers.reshape(-1)]

    def axes(self, name: str, index: int, since: int, otherwise: Sequence[int] | None) -> list[int] | None:
        """Axes as an attribute, or as input `index` since an opset; not negative ones. Raises ArgumentError."""
        if self.opset < since:
            found = self.integers(name, otherwise)
        elif self.has(index):
            found = [int(one) for one in self.known(index, name).reshape(-1)]
        else:
            found = None if otherwise is None else list(otherwise)
        return found

    def for_images(self, value: Value, others: Sequence[Shape]) -> Value:
        """A constant that is the same for all images that the exporter knew, where others have one for each."""
        wanted = any(shape and shape[0] == name_of(IMAGES) and len(shape) == len(value.shape) for shape in others)
        if not wanted or not value.known or value.repeated or value.shape[0] != self.images:
            return value
        numbers = np.asarray(value.numbers)
        if numbers.shape[0] > 1 and not np.array_equal(numbers, np.broadcast_to(numbers[:1], numbers.shape)):
            return value
        return Value((name_of(IMAGES), *value.shape[1:]), value.dtype, numbers=numbers[:1], repeated=frozenset({0}))

    def number(self, value: float) -> Value:
        return constant(np.array(value, np.float32), f"number {value}")

    def floats(self, *values: Value) -> None:
        """Raises UnsupportedError where a value is not of float32."""
        for value in values:
            if value.dtype != np.float32:
                raise UnsupportedError(f"{self.node.operator} of {value.dtype}: the executor computes in float32")

    def emit(self, operator: str, inputs: Mapping[str, Value], dtype: Any = np.float32, **attributes: Any) -> Value:
        """A node of our graph. Raises Unknown where it would need axes that are only said to be repeated."""
        if operator in ARITHMETIC and self.images is not None:
            shapes = [value.shape for value in inputs.values()]
            inputs = {role: self.for_images(value, shapes) for role, value in inputs.items()}
        if any(value.repeated for value in inputs.values()):
            return self._repeated(operator, inputs, dtype, attributes)
        return self._emit(operator, inputs, dtype, attributes)

    def leading(self, x: Value, axis: int, end: Length) -> Value:
        """The first along an axis, as many as an input has along one of its axes. Raises Unknown where none has so many."""
        where = (
            (name, place)
            for name in self.inputs_of_graph
            for place, one in enumerate(self.builder.shapes[name])
            if one == end
        )
        name, place = next(where, ("", 0))
        if not name:
            raise Unknown(end.roots, "where a slice ends")
        output = self.next_name()
        source = self.builder.read(x, f"{self.node.outputs[0]}.x")
        shape = (*x.shape[:axis], end, *x.shape[axis + 1 :])
        node = Node("leading", {"x": source, "like": name}, output, {"axis": axis, "like_axis": place})
        self.builder.add(node, tuple(1 if i in x.repeated else one for i, one in enumerate(shape)))
        return Value(shape, x.dtype, output, repeated=x.repeated)

    def shaped(self, operator: str, x: Value, shape: Sequence[Number], attributes: dict[str, Any]) -> Value:
        """A node whose shape is known better than the graph's own rules find it."""
        if x.repeated:
            raise Unknown(roots_of(x.shape), "an axis that is repeated")
        output = self.next_name()
        name = self.builder.read(x, f"{self.node.outputs[0]}.x")
        self.builder.add(Node(operator, {"x": name}, output, attributes), tuple(shape))
        return Value(tuple(shape), x.dtype, output)

    def _emit(
        self,
        operator: str,
        inputs: Mapping[str, Value],
        dtype: Any,
        attributes: dict[str, Any],
        full: Shape | None = None,
    ) -> Value:
        output = self.next_name()
        names = {}
        for role, value in inputs.items():
            names[role] = self.builder.read(value, f"{self.node.outputs[0]}.{role}")
        shape = self.builder.add(Node(operator, names, output, attributes))
        full = shape if full is None else full
        repeated = frozenset(i for i, (a, b) in enumerate(zip(shape, full, strict=True)) if a != b)
        return Value(full, np.dtype(dtype), output, repeated=repeated)

    def next_name(self) -> str:
        """Of the node's first output, then with numbers."""
        self._made += 1
        first = next(filter(None, self.node.outputs), self.node.operator)
        return self.builder.claim(first if self._made == 1 else f"{first}.{self._made}")

    def _repeated(self, operator: str, inputs: Mapping[str, Value], dtype: Any, attributes: dict[str, Any]) -> Value:
        """An operator that repeats axes by itself, or does to every number along a repeated axis the same."""
        values = list(inputs.values())
        rank = len(values[0].shape)
        axes = {rank - axis for axis in values[0].repeated}  # counted from the end
        bad = True
        if operator in ARITHMETIC or operator in ACTIVATIONS:
            bad = False
        elif operator == "concatenate":
            bad = any(attributes["axis"] % rank in value.repeated for value in values)
        elif operator in ("softmax", "mean"):
            inner = [attributes["axis"]] if operator == "softmax" else attributes["axes"]
            bad = any(axis % rank in values[0].repeated for axis in inner)
        elif operator in ("layer_norm", "linear"):
            bad = 1 in axes or any(value.repeated for value in values[1:])
        elif operator == "matrix_product":
            bad = any({len(one.shape) - axis for axis in one.repeated} & {1, 2} for one in values)
        elif operator in ("permute", "unsqueeze"):
            bad = False
        elif operator == "embedding":
            bad = bool(values[1].repeated)
        elif operator in ("select", "slice"):
            bad = attributes["axis"] % rank in values[0].repeated
        if bad:
            raise Unknown(roots_of(length for value in values for length in value.shape), "an axis that is repeated")
        full = self._shape_of(operator, inputs, attributes)
        return self._emit(operator, inputs, dtype, attributes, full)

    def _shape_of(self, operator: str, inputs: Mapping[str, Value], attributes: dict[str, Any]) -> Shape:
        """The shape as the model has it."""
        shapes: Any = {role: value.shape for role, value in inputs.items()}
        try:
            return shape_of(Node(operator, {role: role for role in inputs}, "", attributes), shapes)
        except ArgumentError as error:
            raise Unknown(roots_of(one for shape in shapes.values() for one in shape), str(error)) from None


Translate = Callable[[Call], "Value | list[Value]"]
