"""The closed set of operators: what each takes, and the shape of what it computes.

Images are [images, channels, height, width], rows [rows, features], tokens [..., tokens, channels]. Every operator has one output. Attributes are
integers, numbers, words or lists of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tersely.core.errors import ArgumentError
from tersely.graph import quantised_operators
from tersely.graph.graph import Graph, Node

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

ACTIVATIONS = (
    "relu", "relu6", "sigmoid", "silu", "tanh", "hard_sigmoid", "hard_swish", "gelu", "gelu_tanh", "exp", "erf",
    "sqrt", "negative",
)  # fmt: skip
"""Operators of one input and its shape."""
ARITHMETIC = (
    "add", "subtract", "multiply", "divide", "power", "greater_equal", "equal", "not_equal", "both",
    "minimum", "maximum", "masked",
)  # fmt: skip
"""Operators of two inputs, which are repeated along axes of length 1. Truths are 1 and 0; "both" is true where neither
is zero; "masked" is x where z is not zero, else 0 whatever x is; of NaN and a number the least and the greatest is NaN."""
MAX_PARTS = 256
"""Inputs of one concatenation."""


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
        count = (-(-room // step) if ceil else room // step) + 1
        if count < 1 or (room < 0 and not ceil):
            raise ArgumentError(
                f"a window of {spread * (tap - 1) + 1} does not fit into {length + pad + behind} pixels"
            )
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


def _linear(node: Node, shapes: dict[str, Shape]) -> Shape:
    """Attribute in_out: the weight is stored [inputs, outputs], as a product of matrices reads it."""
    x, weight = shapes["x"], shapes["weight"]
    inputs, outputs = (0, 1) if node.attributes.get("in_out", False) else (1, 0)
    if len(weight) != 2 or x[-1] != weight[inputs]:
        raise ArgumentError(f"a weight of shape {list(weight)} does not fit {x[-1]} features")
    return *x[:-1], weight[outputs]


def _flatten(node: Node, shapes: dict[str, Shape]) -> Shape:
    x = shapes["x"]
    first, last = (axis % len(x) for axis in (node.attributes["first"], node.attributes["last"]))
    images = node.attributes.get("images", x[0])
    if images != x[0]:
        raise ArgumentError(f"was exported for {images} images, not {x[0]}: export it with a dynamic batch")
    return *x[:first], math.prod(x[first : last + 1]), *x[last + 1 :]


def _axis(node: Node, shape: Shape, name: str = "axis") -> int:
    axis = int(node.attributes[name])
    if not -len(shape) <= axis < len(shape):
        raise ArgumentError(f"{list(shape)} has no axis {axis}")
    return axis % len(shape)


def leading_node(node: Node, shapes: Mapping[str, Shape]) -> Node:
    """A `leading` as the slice that it is. shapes: of its inputs by role."""
    like, axis = shapes["like"], _axis(node, shapes["x"])
    count = like[_axis(node, like, "like_axis")]
    if count > shapes["x"][axis]:
        raise ArgumentError(f"takes {count} of the {shapes['x'][axis]} along axis {axis}: inputs are too large")
    attributes = {"axis": axis, "begin": 0, "end": count, "step": 1}
    return Node("slice", {"x": node.inputs["x"]}, node.output, attributes)


def _leading(node: Node, shapes: dict[str, Shape]) -> Shape:
    """The first along an axis, as many as `like` has along one of its axes: attributes axis, like_axis."""
    x, axis = shapes["x"], _axis(node, shapes["x"])
    found = leading_node(node, shapes).attributes["end"]
    return *x[:axis], found, *x[axis + 1 :]


def _reshape(node: Node, shapes: dict[str, Shape]) -> Shape:
    """Where the attribute says 0 the axis is as long as that of x; one may be -1: what is left."""
    x = shapes["x"]
    shape = [x[axis] if length == 0 else int(length) for axis, length in enumerate(node.attributes["shape"])]
    rest = math.prod(length for length in shape if length != -1)
    if shape.count(-1) == 1 and rest and math.prod(x) % rest == 0:
        shape[shape.index(-1)] = math.prod(x) // rest
    if -1 in shape or math.prod(shape) != math.prod(x):
        raise ArgumentError(f"{list(x)} has other numbers than {node.attributes['shape']}")
    return tuple(shape)


def _unsqueeze(node: Node, shapes: dict[str, Shape]) -> Shape:
    x, axis = shapes["x"], int(node.attributes["axis"])
    axis += len(x) + 1 if axis < 0 else 0
    return *x[:axis], 1, *x[axis:]


def _squeeze(node: Node, shapes: dict[str, Shape]) -> Shape:
    x = shapes["x"]
    axes = {axis % len(x) for axis in node.attributes["axes"]}
    return tuple(length for axis, length in enumerate(x) if axis not in axes or length != 1)


def _permute(node: Node, shapes: dict[str, Shape]) -> Shape:
    x = shapes["x"]
    order = [axis % len(x) for axis in node.attributes["order"]]
    if sorted(order) != list(range(len(x))):
        raise ArgumentError(f"{order} is no order of the axes of {list(x)}")
    return tuple(x[axis] for axis in order)


def swapped(node: Node, rank: int) -> list[int]:
    """The order of axes that a transposition of two of them is."""
    order = list(range(rank))
    a, b = (int(axis) % rank for axis in node.attributes["axes"])
    order[a], order[b] = order[b], order[a]
    return order


def _transpose(node: Node, shapes: dict[str, Shape]) -> Shape:
    return tuple(shapes["x"][axis] for axis in swapped(node, len(shapes["x"])))


def _expand(node: Node, shapes: dict[str, Shape]) -> Shape:
    """-1 in the attribute: as it is."""
    x, wanted = shapes["x"], node.attributes["shape"]
    x = (1,) * (len(wanted) - len(x)) + x
    shape = tuple(own if one == -1 else int(one) for own, one in zip(x, wanted, strict=True))
    if any(own not in (1, one) for own, one in zip(x, shape, strict=True)):
        raise ArgumentError(f"{list(x)} is not repeated to {list(shape)}")
    return shape


def _select(node: Node, shapes: dict[str, Shape]) -> Shape:
    x = shapes["x"]
    axis, index = _axis(node, x), node.attributes["index"]
    if not -x[axis] <= index < x[axis]:
        raise ArgumentError(f"axis {axis} of {list(x)} has no number {index}")
    return *x[:axis], *x[axis + 1 :]


def _concatenate(node: Node, shapes: dict[str, Shape]) -> Shape:
    """Other axes of length 1 are repeated: one class token for every image."""
    parts = [shapes[f"x{i}"] for i in range(len(shapes))]
    axis = _axis(node, parts[0])
    rest: Shape = (1,) * (len(parts[0]) - 1)
    for one in parts:
        if len(one) != len(parts[0]):
            raise ArgumentError(f"shapes {[list(one) for one in parts]} do not go together")
        rest = _broadcast(node, {"x": rest, "z": (*one[:axis], *one[axis + 1 :])})
    return *rest[:axis], sum(one[axis] for one in parts), *rest[axis:]


def _reduce(node: Node, shapes: dict[str, Shape]) -> Shape:
    x = shapes["x"]
    axes = {axis % len(x) for axis in node.attributes["axes"]}
    kept = 1 if node.attributes["keep"] else None
    lengths = [kept if axis in axes else length for axis, length in enumerate(x)]
    return tuple(length for length in lengths if length is not None)


def _layer_norm(node: Node, shapes: dict[str, Shape]) -> Shape:
    x = shapes["x"]
    if any(math.prod(shapes[role]) != x[-1] for role in ("weight", "bias") if role in shapes):
        raise ArgumentError(f"weight or bias do not fit {x[-1]} channels")
    return x


def _along(node: Node, shapes: dict[str, Shape]) -> Shape:
    """Attribute axis: along which numbers are read together."""
    _axis(node, shapes["x"])
    return shapes["x"]


def _matrix_product(node: Node, shapes: dict[str, Shape]) -> Shape:
    x, z = shapes["x"], shapes["z"]
    if len(x) < 2 or len(z) < 2 or x[-1] != z[-2]:
        raise ArgumentError(f"shapes {list(x)} and {list(z)} do not go together")
    return *_broadcast(node, {"x": x[:-2], "z": z[:-2]}), x[-2], z[-1]


def _attention(node: Node, shapes: dict[str, Shape]) -> Shape:
    x, k, v = shapes["x"], shapes["k"], shapes["v"]
    if not 3 <= len(x) == len(k) == len(v) <= 4 or not x[:-2] == k[:-2] == v[:-2]:
        raise ArgumentError(f"queries {list(x)}, keys {list(k)} and values {list(v)} have other heads")
    if x[-1] != k[-1] or k[-2] != v[-2]:
        raise ArgumentError(f"queries {list(x)}, keys {list(k)} and values {list(v)} do not go together")
    scores = (*x[:-1], k[-2])
    if "mask" in shapes and _broadcast(node, {"x": scores, "z": shapes["mask"]}) != scores:
        raise ArgumentError(f"a mask of shape {list(shapes['mask'])} does not fit scores {list(scores)}")
    return *x[:-1], v[-1]


def _embedding(node: Node, shapes: dict[str, Shape]) -> Shape:
    if len(shapes["weight"]) != 2:
        raise ArgumentError(f"a table of shape {list(shapes['weight'])}")
    return *shapes["x"], shapes["weight"][1]


OPERATORS: dict[str, Operator] = {
    "convolution": Operator(("x", "weight"), _convolution, ("bias", "scale", "shift", "residual")),
    "linear": Operator(("x", "weight"), _linear, ("bias", "residual")),
    "batch_norm": Operator(("x", "mean", "variance"), _same, ("weight", "bias")),
    "max_pool": Operator(("x",), _pool),
    "average_pool": Operator(("x",), _pool),
    "adaptive_average_pool": Operator(("x",), _adaptive),
    "scale_shift": Operator(("x", "scale", "shift"), _scale_shift),
    "resize": Operator(("x",), _resize),
    "flatten": Operator(("x",), _flatten),
    "reshape": Operator(("x",), _reshape),
    "unsqueeze": Operator(("x",), _unsqueeze),
    "squeeze": Operator(("x",), _squeeze),
    "permute": Operator(("x",), _permute),
    "transpose": Operator(("x",), _transpose),
    "expand": Operator(("x",), _expand),
    "slice": Operator(("x",), _slice),
    "leading": Operator(("x", "like"), _leading),
    "select": Operator(("x",), _select),
    "concatenate": Operator(("x0",), _concatenate, tuple(f"x{i}" for i in range(1, MAX_PARTS))),
    "pad": Operator(("x",), _pad),
    "mean": Operator(("x",), _reduce),
    "sum": Operator(("x",), _reduce),
    "max": Operator(("x",), _reduce),
    "layer_norm": Operator(("x",), _layer_norm, ("weight", "bias")),
    "softmax": Operator(("x",), _along),
    "cumulative_sum": Operator(("x",), _along),
    "matrix_product": Operator(("x", "z"), _matrix_product),
    "attention": Operator(("x", "k", "v"), _attention, ("mask",)),
    "embedding": Operator(("x", "weight"), _embedding),
    **{
        name: Operator(*row)
        for name, row in quantised_operators.rows(_convolution, _linear, _broadcast, _pool, _adaptive).items()
    },
    **{name: Operator(("x",), _same) for name in ACTIVATIONS},
    **{name: Operator(("x", "z"), _broadcast) for name in ARITHMETIC},
}


def shape_of(node: Node, shapes: Shapes) -> Shape:
    """The shape of what a node computes. Raises ArgumentError, with the node, where its inputs do not go together."""
    try:
        return OPERATORS[node.operator].shape(node, {role: shapes[name] for role, name in node.inputs.items()})
    except ArgumentError as error:
        raise ArgumentError(f"{node}: {error}") from None
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise ArgumentError(f"{node}: attributes or shapes that make no sense ({error})") from None


def check_lengths(graph: Graph, shapes: Shapes) -> None:
    """Raises ArgumentError for shapes of inputs that the graph is not made for."""
    words: dict[str, int] = {}
    for name, lengths in graph.lengths.items():
        given = tuple(shapes[name])
        fits = len(given) == len(lengths)
        for one, wanted in zip(given, lengths, strict=False):
            fits &= wanted is None or one == (words.setdefault(wanted, one) if isinstance(wanted, str) else wanted)
        if not fits:
            said = ", ".join("any" if one is None else str(one) for one in lengths)
            also = "".join(f", {word} {length}" for word, length in words.items() if word in lengths)
            raise ArgumentError(f"the network takes {name!r} of shape [{said}]{also}, not {list(given)}")


def infer(graph: Graph, shapes: Shapes) -> dict[str, Shape]:
    """The shape of every value and constant.

    shapes: of the inputs and constants. Raises ArgumentError, with the node, where they do not go together.
    """
    found = {name: tuple(shapes[name]) for name in (*graph.inputs, *graph.constants)}
    check_lengths(graph, found)
    for node in graph.nodes:
        found[node.output] = shape_of(node, found)
    return found
