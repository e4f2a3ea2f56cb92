"""The closed set of operators: what each takes, and the shape of what it computes.

Images are [images, channels, height, width], rows [rows, features]. Every operator has one output. Attributes are
integers, numbers, words or lists of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tersely.core.errors import ArgumentError
from tersely.graph.graph import Graph, Node

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

ACTIVATIONS = (
    "relu", "relu6", "sigmoid", "silu", "tanh", "hard_sigmoid", "hard_swish", "gelu", "gelu_tanh",
)  # fmt: skip
"""Operators of one input and its shape."""
ARITHMETIC = ("add", "subtract", "multiply")


@dataclass(frozen=True)
class Operator:
    """roles: inputs that it must have. optional: those that it may have. shape: of its output."""

    roles: tuple[str, ...]
    shape: Callable[[Node, dict[str, Shape]], Shape]
    optional: tuple[str, ...] = ()


def _same(node: Node, shapes: dict[str, Shape]) -> Shape:
    return shapes["x"]


def _broadcast(node: Node, shapes: dict[str, Shape]) -> Shape:
    x, z = shapes["x"], shapes["z"]
    length = max(len(x), len(z))
    x, z = (1,) * (length - len(x)) + x, (1,) * (length - len(z)) + z
    if any(a != b and 1 not in (a, b) for a, b in zip(x, z, strict=True)):
        raise ArgumentError(f"shapes {list(x)} and {list(z)} do not go together")
    return tuple(b if a == 1 else a for a, b in zip(x, z, strict=True))


def paddings(node: Node) -> tuple[tuple[int, int], tuple[int, int]]:
    """Padding before and behind the rows, and the columns: an attribute of two numbers, or of four.

    Four are top, left, bottom, right.
    """
    top, left, *behind = node.attributes["padding"]
    bottom, right = behind or (top, left)
    return (top, bottom), (left, right)


def _window(node: Node, size: tuple[int, int], taps: tuple[int, int], ceil: bool = False) -> tuple[int, int]:
    """Height and width of what a sliding window leaves."""
    found = []
    stride, dilation = node.attributes["stride"], node.attributes.get("dilation", [1, 1])
    for length, tap, step, (pad, behind), spread in zip(size, taps, stride, paddings(node), dilation, strict=True):
        room = length + pad + behind - spread * (tap - 1) - 1
        if room < 0:
            raise ArgumentError(
                f"a window of {spread * (tap - 1) + 1} does not fit into {length + pad + behind} pixels"
            )
        count = (-(-room // step) if ceil else room // step) + 1
        if ceil and (count - 1) * step >= length + pad:
            count -= 1  # a window may not begin beyond the image
        found.append(count)
    return found[0], found[1]


def _images(node: Node, shapes: dict[str, Shape]) -> Shape:
    x = shapes["x"]
    if len(x) != 4:
        raise ArgumentError(f"takes images of four dimensions, not {list(x)}")
    return x


def _convolution(node: Node, shapes: dict[str, Shape]) -> Shape:
    images, channels, *size = _images(node, shapes)
    weight = shapes["weight"]
    if len(weight) != 4 or weight[1] * node.attributes["groups"] != channels:
        raise ArgumentError(f"a weight of shape {list(weight)} does not fit {channels} channels")
    if weight[0] % node.attributes["groups"]:
        raise ArgumentError(f"{weight[0]} outputs are not shared out evenly to {node.attributes['groups']} groups")
    return images, weight[0], *_window(node, (size[0], size[1]), (weight[2], weight[3]))


def _pool(node: Node, shapes: dict[str, Shape]) -> Shape:
    images, channels, *size = _images(node, shapes)
    taps = node.attributes["kernel"]
    return images, channels, *_window(node, (size[0], size[1]), taps, bool(node.attributes.get("ceil", False)))


def _adaptive(node: Node, shapes: dict[str, Shape]) -> Shape:
    return *_images(node, shapes)[:2], *node.attributes["size"]


def _scale_shift(node: Node, shapes: dict[str, Shape]) -> Shape:
    x = _images(node, shapes)
    for role in ("scale", "shift"):
        if shapes[role] != (x[1],):
            raise ArgumentError(f"a {role} of shape {list(shapes[role])} does not fit {x[1]} channels")
    return x


def _concatenate(node: Node, shapes: dict[str, Shape]) -> Shape:
    """Inputs x0, x1, ... in this order."""
    first, axis = shapes["x0"], node.attributes["axis"]
    axis %= len(first)
    for one in shapes.values():
        if len(one) != len(first) or one[:axis] + one[axis + 1 :] != first[:axis] + first[axis + 1 :]:
            raise ArgumentError(f"shapes {list(first)} and {list(one)} do not go together")
    return *first[:axis], sum(one[axis] for one in shapes.values()), *first[axis + 1 :]


def _pad(node: Node, shapes: dict[str, Shape]) -> Shape:
    """Attributes before, behind: how many numbers along each axis; fewer than none cuts off."""
    x, before, behind = shapes["x"], node.attributes["before"], node.attributes["behind"]
    if not len(x) == len(before) == len(behind):
        raise ArgumentError(f"padding of {len(before)} axes for a shape {list(x)}")
    found = tuple(length + a + b for length, a, b in zip(x, before, behind, strict=True))
    if min(found) < 1:
        raise ArgumentError(f"padding leaves nothing of a shape {list(x)}")
    return found


def slice_range(node: Node, x: Shape) -> range:
    """Which places along its axis a slice takes."""
    length = x[node.attributes["axis"] % len(x)]
    return range(*slice(node.attributes["begin"], node.attributes["end"], node.attributes["step"]).indices(length))


def _slice(node: Node, shapes: dict[str, Shape]) -> Shape:
    x, axis = shapes["x"], node.attributes["axis"] % len(shapes["x"])
    if not len(slice_range(node, x)):
        raise ArgumentError(f"a slice takes nothing of a shape {list(x)}")
    return *x[:axis], len(slice_range(node, x)), *x[axis + 1 :]


def _resize(node: Node, shapes: dict[str, Shape]) -> Shape:
    """Attributes size, or factors where size is None."""
    images, channels, *lengths = _images(node, shapes)
    size = node.attributes["size"]
    if size is None:
        size = [int(length * factor) for length, factor in zip(lengths, node.attributes["factors"], strict=True)]
    if min(size) < 1:
        raise ArgumentError(f"{lengths} pixels are resized to {size}")
    return images, channels, *size


def _mean(node: Node, shapes: dict[str, Shape]) -> Shape:
    """Attributes axes, keep: whether these axes stay, as 1."""
    x = shapes["x"]
    axes = {axis % len(x) for axis in node.attributes["axes"]}
    found = [1 if axis in axes else length for axis, length in enumerate(x)]
    return tuple(length for axis, length in enumerate(found) if node.attributes["keep"] or axis not in axes)


def _linear(node: Node, shapes: dict[str, Shape]) -> Shape:
    x, weight = shapes["x"], shapes["weight"]
    if len(weight) != 2 or x[-1] != weight[1]:
        raise ArgumentError(f"a weight of shape {list(weight)} does not fit {x[-1]} features")
    return *x[:-1], weight[0]


def _flatten(node: Node, shapes: dict[str, Shape]) -> Shape:
    x = shapes["x"]
    first, last = (axis % len(x) for axis in (node.attributes["first"], node.attributes["last"]))
    images = node.attributes.get("images", x[0])
    if images != x[0]:
        raise ArgumentError(f"was exported for {images} images, not {x[0]}: export it with a dynamic batch")
    return *x[:first], math.prod(x[first : last + 1]), *x[last + 1 :]


OPERATORS: dict[str, Operator] = {
    "convolution": Operator(("x", "weight"), _convolution, ("bias", "scale", "shift", "residual")),
    "linear": Operator(("x", "weight"), _linear, ("bias",)),
    "batch_norm": Operator(("x", "mean", "variance"), _same, ("weight", "bias")),
    "max_pool": Operator(("x",), _pool),
    "average_pool": Operator(("x",), _pool),
    "adaptive_average_pool": Operator(("x",), _adaptive),
    "scale_shift": Operator(("x", "scale", "shift"), _scale_shift),
    "concatenate": Operator(("x0",), _concatenate),
    "pad": Operator(("x",), _pad),
    "slice": Operator(("x",), _slice),
    "resize": Operator(("x",), _resize),
    "mean": Operator(("x",), _mean),
    "flatten": Operator(("x",), _flatten),
    **{name: Operator(("x",), _same) for name in ACTIVATIONS},
    **{name: Operator(("x", "z"), _broadcast) for name in ARITHMETIC},
}


def infer(graph: Graph, shapes: Shapes) -> dict[str, Shape]:
    """The shape of every value and constant.

    shapes: of the inputs and constants. Raises ArgumentError, with the node, where they do not go together.
    """
    found = {name: tuple(shapes[name]) for name in (*graph.inputs, *graph.constants)}
    for node in graph.nodes:
        try:
            row = OPERATORS[node.operator]
            found[node.output] = row.shape(node, {role: found[name] for role, name in node.inputs.items()})
        except ArgumentError as error:
            raise ArgumentError(f"{node}: {error}") from None
        except (LookupError, TypeError, ValueError, ArithmeticError) as error:
            raise ArgumentError(f"{node}: attributes or shapes that make no sense ({error})") from None
    return found
