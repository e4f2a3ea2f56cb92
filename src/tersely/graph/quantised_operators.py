"""Operators of quantised networks: values of one byte, each (number - zero) x scale of what it stands for.

Values of the operators `MAKERS` are int8 or uint8, as their attribute dtype says; those of `KEEPERS` are what their
first input is; all others are float32. Scales and zero points of values between operators are attributes, x_scale,
x_zero, y_scale, y_zero: they belong to the operator, as in ONNX, or constants of quantise and dequantise. Those of weights are constants, one for all outputs or
one for each. All sums are exact integers:

    convolution, linear   y = round((sum of (x - x_zero) (weight - weight_zero) + bias) x (x_scale x weight_scale / y_scale)) + y_zero
    add                   y = round(((x - x_zero) x x_scale + (z - z_zero) x z_scale) / y_scale) + y_zero
    average pool          y = round(sum of (x - x_zero) x (x_scale / y_scale / pixels)) + y_zero

each operation behind the exact sum rounded to float32 and in this order, `round` to the nearest integer, ties to even,
results cut off at the ends of the dtype. docs/quantised.md says how that compares with other engines. Where an operator
has no y_scale its results are floats, which are not rounded to integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tersely.core.errors import ArgumentError
from tersely.graph.graph import Graph, Node

Shape = tuple[int, ...]

RANGES = {"int8": (-128, 127), "uint8": (0, 255)}
"""The ends of a dtype of one byte."""
MAKERS = (
    "quantise", "look_up", "quantised_convolution", "quantised_linear", "quantised_add", "quantised_average_pool",
)  # fmt: skip
KEEPERS = (
    "max_pool", "flatten", "reshape", "unsqueeze", "squeeze", "permute", "transpose", "expand", "slice", "select",
    "concatenate", "pad",
)  # fmt: skip
"""Operators that only move or choose numbers, whatever these are."""
PRODUCTS = ("quantised_convolution", "quantised_linear")
WEIGHT_ROLES = ("weight_scale", "weight_zero", "bias", "multiplier")


def kept(number: int, dtype: str) -> int:
    """The byte by which the executor keeps a number: counted from the least one of its dtype."""
    return int(number) - RANGES[dtype][0]


@dataclass(frozen=True)
class Affine:
    """What the numbers of a quantised value stand for: (number - zero) x scale. scale: a float32."""

    scale: float
    zero: int
    dtype: str

    def check(self, node: Node) -> None:
        """Raises ArgumentError for what is no scale, or no number of its dtype."""
        if self.dtype not in RANGES:
            raise ArgumentError(f"{node}: {str(self.dtype)[:20]!r} is no dtype of one byte: int8 and uint8 are")
        low, high = RANGES[self.dtype]
        if type(self.zero) is not int or not low <= self.zero <= high:
            raise ArgumentError(f"{node}: the zero point {self.zero} is no number of {self.dtype}")
        if not (isinstance(self.scale, float | int) and math.isfinite(self.scale) and self.scale > 0):
            raise ArgumentError(f"{node}: the scale {self.scale} is no finite number above zero")


def affine(node: Node, role: str, dtype: str) -> Affine:
    """Attributes ROLE_scale and ROLE_zero of a node, checked."""
    found = Affine(node.attributes[f"{role}_scale"], node.attributes[f"{role}_zero"], dtype)
    found.check(node)
    return found


def bounds(node: Node) -> tuple[int, int]:
    """The least and the greatest number that a node writes: attributes low and high, or the ends of its dtype."""
    low, high = RANGES[node.attributes["dtype"]]
    found = int(node.attributes.get("low", low)), int(node.attributes.get("high", high))
    if not low <= found[0] <= found[1] <= high:
        raise ArgumentError(f"{node}: bounds {found[0]} and {found[1]} of {node.attributes['dtype']}")
    return found


def is_float(node: Node) -> bool:
    """Whether a quantised product's results are floats."""
    return node.operator in PRODUCTS and "y_scale" not in node.attributes


def dtypes(graph: Graph, constants: Mapping[str, str] | None = None) -> dict[str, str]:
    """The dtype of every value: "float32", "int8" or "uint8".

    constants: dtypes of constants; float32 where nobody says. Raises ArgumentError for dtypes that are no bytes, and for
    operators on values of bytes that take floats.
    """
    found = dict.fromkeys((*graph.inputs, *graph.constants), "float32") | dict(constants or {})
    for node in graph.nodes:
        read = {role: found[name] for role, name in node.inputs.items() if name not in graph.constants}
        if node.operator in MAKERS and not is_float(node):
            dtype = node.attributes.get("dtype")
            if dtype not in RANGES:
                raise ArgumentError(f"{node}: {str(dtype)[:20]!r} is no dtype of one byte: int8 and uint8 are")
            found[node.output] = dtype
        elif node.operator in KEEPERS:
            if len(set(read.values())) > 1:
                raise ArgumentError(f"{node}: values of {' and '.join(sorted(set(read.values())))} together")
            found[node.output] = next(iter(read.values()), "float32")
        else:
            found[node.output] = "float32"
        takes = _takes_bytes(node)
        for role, dtype in read.items():
            if takes is not None and (dtype in RANGES) != takes:
                wanted, remedy = ("bytes", "quantise") if takes else ("floats", "dequantise")
                raise ArgumentError(f"{node}: takes {wanted}, and {role} is {dtype}: {remedy} it first")
    return found


def _takes_bytes(node: Node) -> bool | None:
    if node.operator in KEEPERS:
        return None
    return node.operator == "dequantise" or (node.operator in MAKERS and node.operator != "quantise")


def per_axis(node: Node, shapes: Mapping[str, Shape]) -> int | None:
    """The axis along which numbers have scales of their own; None where one is for all.

    Raises ArgumentError where scales or zero points are as many as neither.
    """
    if "scale" not in shapes:
        return None
    x, scale = shapes["x"], shapes["scale"]
    count = math.prod(scale)
    if math.prod(shapes.get("zero", scale)) != count:
        raise ArgumentError(f"scales of shape {list(scale)} and zero points of shape {list(shapes['zero'])}")
    if count == 1 and len(scale) <= 1:
        return None
    axis = int(node.attributes.get("axis", 1))
    if not -len(x) <= axis < len(x) or len(scale) != 1 or count != x[axis]:
        raise ArgumentError(f"scales of shape {list(scale)} do not fit axis {axis} of a shape {list(x)}")
    return axis % len(x)


def _affine(node: Node, shapes: dict[str, Shape]) -> Shape:
    per_axis(node, shapes)
    return shapes["x"]


def output_axis(node: Node) -> int:
    """The axis of a weight along which outputs lie: the first, unless it is stored [inputs, outputs]."""
    return 1 if node.attributes.get("in_out", False) else 0


ShapeOf = Callable[[Node, dict[str, Shape]], Shape]


def _product(shape: ShapeOf) -> ShapeOf:
    """The shape of a product whose operands have as many numbers as there are outputs, or one for all."""

    def found(node: Node, shapes: dict[str, Shape]) -> Shape:
        result = shape(node, shapes)
        outputs = shapes["weight"][output_axis(node)]
        for role in WEIGHT_ROLES:
            if role in shapes and shapes[role] not in ((), (1,), (outputs,)):
                raise ArgumentError(f"{role} of shape {list(shapes[role])} does not fit {outputs} outputs")
        return result

    return found


def _look_up(node: Node, shapes: dict[str, Shape]) -> Shape:
    if shapes["table"] != (256,):
        raise ArgumentError(f"a table of shape {list(shapes['table'])}: one has 256 numbers")
    return shapes["x"]


def rows(
    convolution: ShapeOf, linear: ShapeOf, broadcast: ShapeOf, pool: ShapeOf, adaptive: ShapeOf
) -> dict[str, tuple[tuple[str, ...], ShapeOf, tuple[str, ...]]]:
    """Roles, shape and optional roles of each operator. Shapes are those of the operators on floats, given."""

    def average_pool(node: Node, shapes: dict[str, Shape]) -> Shape:
        return (adaptive if "size" in node.attributes else pool)(node, shapes)

    return {
        "quantise": (("x",), _affine, ("scale", "zero")),
        "dequantise": (("x",), _affine, ("scale", "zero")),
        "look_up": (("x", "table"), _look_up, ()),
        "quantised_convolution": (("x", "weight", "weight_scale"), _product(convolution), WEIGHT_ROLES[1:]),
        "quantised_linear": (("x", "weight", "weight_scale"), _product(linear), WEIGHT_ROLES[1:]),
        "quantised_add": (("x", "z"), broadcast, ()),
        "quantised_average_pool": (("x",), average_pool, ()),
    }
