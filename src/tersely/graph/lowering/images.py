"""Operators on images: convolutions, pooling, a scale and shift of each channel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tersely.core.errors import ArgumentError
from tersely.graph.graph import Node
from tersely.graph.lowering import pairs
from tersely.graph.lowering.context import Context, Lower, finish_of
from tersely.graph.lowering.program import CHANNEL_BLOCK, Layout
from tersely.graph.operators import Shape, paddings
from tersely.planner.network_cost import WINOGRAD_PIXELS


def _convolution(context: Context, node: Node) -> None:
    attributes = node.attributes
    sparse = node.output in context.sparse
    lying = context.planes if sparse else context.number
    x = lying(node.inputs["x"])
    extra: dict[str, Any] = {role: node.inputs[role] for role in ("scale", "shift") if role in node.inputs}
    if "bias" in node.inputs:
        extra["shift"] = node.inputs["bias"]
    if "residual" in node.inputs:
        extra["residual"] = lying(node.inputs["residual"])
    y = context.new_planes(node.output) if sparse else context.output(node)
    if attributes["groups"] != 1:
        extra["groups"] = attributes["groups"]
    if sparse:
        extra["method"] = "sparse"
    elif node.output in context.pairs:
        extra["method"] = pairs.METHOD
        x = pairs.rounded(context, node, x)
        extra.update(pairs.results(context, node, y))
    elif context.winograd and suits_winograd(node, context.shapes):
        extra["method"] = "winograd"
    height, width = context.shapes[node.inputs["weight"]][2:]
    (top, _), (left, _) = paddings(node)
    context.emit(
        "convolution", node.output, y, x=x, weight=node.inputs["weight"], height=height, width=width,
        **pair(attributes, "stride", "stride"), **pair(attributes, "dilation", "dilation"),
        pad_y=top, pad_x=left, **extra, **finish_of(node),
    )  # fmt: skip


def suits_winograd(node: Node, shapes: Mapping[str, Shape]) -> bool:
    """Whether a convolution has 3 x 3 taps one pixel apart, and so many pixels that transforms pay."""
    _, channels, height, width = shapes[node.inputs["weight"]]
    once = all(one == 1 for name in ("stride", "dilation") for one in node.attributes[name])
    enough = math.prod(shapes[node.output][2:]) >= WINOGRAD_PIXELS
    return (
        node.attributes["groups"] == 1
        and once
        and (height, width) == (3, 3)
        and channels % CHANNEL_BLOCK == 0
        and enough
    )


@dataclass(frozen=True)
class Span:
    """Pixels of a window along an axis: the first, how many, and by how many its sum is divided."""

    first: int
    pixels: int
    counted: int


def spans(node: Node, axis: int, length: int, count: int) -> list[Span]:
    """The windows of a pool along an axis of `length` pixels, those that lie in the image.

    count: how many there are. Raises ArgumentError for a window without a pixel.
    """
    attributes = node.attributes
    step, taps = attributes["stride"][axis], attributes["kernel"][axis]
    spread = attributes.get("dilation", [1, 1])[axis]
    pad, behind = paddings(node)[axis]
    found = []
    for place in range(count):
        begin = place * step - pad
        inside = [begin + tap * spread for tap in range(taps) if 0 <= begin + tap * spread < length]
        if not inside:
            raise ArgumentError(f"{node}: a window without a pixel")
        padded = min(begin + taps, length + behind) - begin
        counted = padded if attributes.get("count_padding", False) else len(inside)
        found.append(Span(inside[0], len(inside), counted))
    return found


def adaptive_spans(length: int, count: int) -> list[Span]:
    """Windows that share out `length` pixels, and overlap where `count` does not divide them."""
    edges = [(place * length // count, -(-(place + 1) * length // count)) for place in range(count)]
    return [Span(first, end - first, end - first) for first, end in edges]


def _pool(context: Context, node: Node) -> None:
    sizes, counts = context.shapes[node.inputs["x"]][2:], context.shapes[node.output][2:]
    if node.operator == "adaptive_average_pool":
        windows = [adaptive_spans(length, count) for length, count in zip(sizes, counts, strict=True)]
    else:
        windows = [spans(node, axis, sizes[axis], counts[axis]) for axis in (0, 1)]
    kind = "max" if node.operator == "max_pool" else "mean"
    x, y = _pooled(context, node, windows[1])
    _emit_pool(context, node, x, y, kind, windows)


def _pooled(context: Context, node: Node, columns: Sequence[Span]) -> tuple[int, int]:
    """Numbers of a pool's image and of its result, which lies as that does.

    In planes of channels only pairs of pixels, and few windows, are as fast as in blocks.
    """
    pairs = all((one.first, one.pixels) == (2 * place, 2) for place, one in enumerate(columns))
    if context.lies_in_planes(node.inputs["x"]) and (pairs or len(columns) == 1):
        return context.planes(node.inputs["x"]), context.new_planes(node.output)
    return context.number(node.inputs["x"]), context.output(node)


def _emit_pool(context: Context, node: Node, x: int, y: int, kind: str, windows: Sequence[Sequence[Span]]) -> None:
    rows, columns = ([n for one in axis for n in (one.first, one.pixels, one.counted)] for axis in windows)
    dilation = pair(node.attributes, "dilation", "dilation")
    operator = "pool" if context.element_bytes(node.output) == 4 else "quantised_pool"
    context.emit(operator, node.output, y, x=x, kind=kind, rows=rows, columns=columns, **dilation)


def _mean(context: Context, node: Node) -> None:
    """The mean of all pixels, channel by channel."""
    shape = context.shapes[node.inputs["x"]]
    if len(shape) != 4 or {axis % 4 for axis in node.attributes["axes"]} != {2, 3}:
        raise ArgumentError(f"{node}: means are taken of an image's pixels only")
    windows = [adaptive_spans(length, 1) for length in shape[2:]]
    if node.attributes["keep"]:
        x, y = _pooled(context, node, windows[1])
        return _emit_pool(context, node, x, y, "mean", windows)
    name = node.inputs["x"]
    planes = context.lies_in_planes(name)
    x = context.planes(name) if planes else context.number(name)
    pixel = context.fresh(Layout(shape[0], shape[1], 1, 1, 0, not planes))
    _emit_pool(context, node, x, pixel, "mean", windows)
    context.emit("move", node.output, context.output(node), x=pixel, flat=1)
    return None


def _scale_shift(context: Context, node: Node) -> None:
    x, y = context.number(node.inputs["x"]), context.output(node)
    constants = {role: node.inputs[role] for role in ("scale", "shift")}
    context.emit("scale_shift", node.output, y, x=x, **constants, **finish_of(node))


def pair(attributes: Mapping[str, Any], name: str, member: str) -> dict[str, int]:
    """The two numbers of an attribute as members of a step."""
    y, x = attributes.get(name, (1, 1))
    return {f"{member}_y": y, f"{member}_x": x}


ROWS: dict[str, Lower] = {
    "convolution": _convolution,
    "max_pool": _pool,
    "average_pool": _pool,
    "adaptive_average_pool": _pool,
    "mean": _mean,
    "scale_shift": _scale_shift,
}
