"""Operators on values of one byte (`quantised_operators`): between floats and bytes, products, sums, pools, tables."""

from __future__ import annotations

import math
from typing import Any

from tersely.core.errors import ArgumentError
from tersely.graph.graph import Node
from tersely.graph.lowering.context import Context, Lower, finish_of, real
from tersely.graph.lowering.images import adaptive_spans, pair, spans
from tersely.graph.operators import paddings
from tersely.graph.quantised_operators import Affine, affine, bounds, is_float, kept, output_axis, per_axis


def _steps(affine_of: Affine) -> dict[str, int]:
    """A scale and zero point as members of a step."""
    return {"scale": real(affine_of.scale), "zero": kept(affine_of.zero, affine_of.dtype)}


def _alike(context: Context, node: Node, roles: tuple[str, ...] = ("x",)) -> tuple[dict[str, int], int]:
    """Numbers of the operands by role, and of the result, which lies as they do: images, or rows of channels."""
    names = [node.inputs[role] for role in roles]
    shape = context.shapes[node.output]
    if len(shape) == 4:
        return {role: context.number(name) for role, name in zip(roles, names, strict=True)}, context.output(node)
    if not shape:
        raise ArgumentError(f"{node}: a single number is not quantised")
    first, leading = context.tokens(names[0])
    rest = [context.tokens_lying(name, leading) for name in names[1:]]
    return dict(zip(roles, [first, *rest], strict=True)), context.new_tokens(node.output, leading)


def _one_scale(context: Context, node: Node) -> None:
    if per_axis(node, {role: context.shapes[name] for role, name in node.inputs.items()}) is not None:
        raise ArgumentError(f"{node}: a value between operators has one scale, not one for each channel")


def _quantise(context: Context, node: Node) -> None:
    _one_scale(context, node)
    numbers, y = _alike(context, node)
    context.emit("quantise", node.output, y, **numbers, **_steps(affine(node, "y", node.attributes["dtype"])))


def _dequantise(context: Context, node: Node) -> None:
    _one_scale(context, node)
    numbers, y = _alike(context, node)
    context.emit("dequantise", node.output, y, **numbers, **_steps(affine(node, "x", context.dtypes[node.inputs["x"]])))


def _written(node: Node) -> dict[str, int]:
    """Zero point and bounds of a result as members of a step."""
    dtype = node.attributes["dtype"]
    low, high = bounds(node)
    zero = affine(node, "y", dtype).zero
    return {"zero": kept(zero, dtype), "low": kept(low, dtype), "high": kept(high, dtype)}


def _product(context: Context, node: Node, window: dict[str, Any], x: int, y: int) -> None:
    zero = affine(node, "x", context.dtypes[node.inputs["x"]])
    constants = {role: node.inputs[role] for role in ("weight_zero", "bias") if role in node.inputs}
    extra: dict[str, Any] = finish_of(node) if is_float(node) else _written(node)
    context.emit(
        "quantised_convolution", node.output, y, x=x, weight=node.inputs["weight"], scale=node.inputs["multiplier"],
        signed=int(node.attributes["weight_dtype"] == "int8"), x_zero=kept(zero.zero, zero.dtype),
        **constants, **window, **extra,
    )  # fmt: skip


def _convolution(context: Context, node: Node) -> None:
    attributes = node.attributes
    height, width = context.shapes[node.inputs["weight"]][2:]
    (top, _), (left, _) = paddings(node)
    window = {
        "height": height,
        "width": width,
        **pair(attributes, "stride", "stride"),
        **pair(attributes, "dilation", "dilation"),
        "pad_y": top,
        "pad_x": left,
        "groups": attributes["groups"],
    }
    _product(context, node, window, context.number(node.inputs["x"]), context.output(node))


def _linear(context: Context, node: Node) -> None:
    """A convolution of one pixel's width, a row being a pixel."""
    x, leading = context.tokens(node.inputs["x"])
    window = {"height": 1, "width": 1, "in_out": output_axis(node)}
    _product(context, node, window, x, context.new_tokens(node.output, leading))


def _add(context: Context, node: Node) -> None:
    if len({context.shapes[name] for name in (node.inputs["x"], node.inputs["z"], node.output)}) > 1:
        raise ArgumentError(f"{node}: sums of bytes repeat no operand: dequantise them, add, and quantise the sum")
    numbers, y = _alike(context, node, ("x", "z"))
    members: dict[str, int] = {}
    for role in ("x", "z"):
        found = affine(node, role, context.dtypes[node.inputs[role]])
        members |= {f"{role}_scale": real(found.scale), f"{role}_zero": kept(found.zero, found.dtype)}
    members["y_scale"] = real(affine(node, "y", node.attributes["dtype"]).scale)
    context.emit("quantised_add", node.output, y, **numbers, **members, **_written(node))


def _look_up(context: Context, node: Node) -> None:
    numbers, y = _alike(context, node)
    context.emit("look_up", node.output, y, **numbers, table=node.inputs["table"])


def average_windows(context: Context, node: Node) -> list[Any]:
    """Windows of an average pool along both axes."""
    sizes, counts = context.shapes[node.inputs["x"]][2:], context.shapes[node.output][2:]
    if "size" in node.attributes:
        return [adaptive_spans(length, count) for length, count in zip(sizes, counts, strict=True)]
    return [spans(node, axis, sizes[axis], counts[axis]) for axis in (0, 1)]


def _average_pool(context: Context, node: Node) -> None:
    x, y = context.number(node.inputs["x"]), context.output(node)
    windows = average_windows(context, node)
    rows, columns = ([n for one in axis for n in (one.first, one.pixels, one.counted)] for axis in windows)
    own, written = affine(node, "x", context.dtypes[node.inputs["x"]]), affine(node, "y", node.attributes["dtype"])
    context.emit(
        "quantised_pool", node.output, y, x=x, kind="mean", rows=rows, columns=columns,
        scale=real(_quotient(own.scale, written.scale)), x_zero=kept(own.zero, own.dtype), **_written(node),
    )  # fmt: skip


def as_floats(context: Context, name: str) -> str:
    """The numbers of a value of bytes as floats, a value of its own; its name."""
    found, dtype = f"{name}.numbers", context.dtypes[name]
    if found in context.shapes:
        return found
    context.shapes[found], context.dtypes[found] = context.shapes[name], "float32"
    numbers, y = _alike(context, Node("dequantise", {"x": name}, found))
    context.emit("dequantise", name, y, **numbers, **_steps(Affine(1.0, 0, dtype)))
    return found


def _quotient(x: float, y: float) -> float:
    """x / y of two float32, which a double holds before it is rounded to a float32 as if nothing lay between."""
    if not math.isfinite(x / y):
        raise ArgumentError(f"scales {x} and {y} have no quotient")
    return x / y


ROWS: dict[str, Lower] = {
    "quantise": _quantise,
    "dequantise": _dequantise,
    "look_up": _look_up,
    "quantised_convolution": _convolution,
    "quantised_linear": _linear,
    "quantised_add": _add,
    "quantised_average_pool": _average_pool,
}
