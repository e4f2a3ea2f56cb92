"""Operators on images: convolutions and pooling."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tersely.core.errors import ArgumentError
from tersely.graph.graph import Node
from tersely.graph.lowering.context import Context, Lower, finish_of
from tersely.graph.lowering.program import CHANNEL_BLOCK
from tersely.graph.operators import Shape

WINOGRAD_PIXELS = 144
"""MEASURED: with 14 x 14 pixels and more Winograd's transforms pay (1.5 to 1.9 x), with 7 x 7 they do not."""


def _convolution(context: Context, node: Node) -> None:
    attributes = node.attributes
    if attributes["groups"] != 1:
        raise ArgumentError(f"{node}: convolutions in groups are not lowered")
    x, y = context.number(node.inputs["x"]), context.output(node)
    extra: dict[str, Any] = {role: node.inputs[role] for role in ("scale", "shift") if role in node.inputs}
    if "bias" in node.inputs:
        extra["shift"] = node.inputs["bias"]
    if "residual" in node.inputs:
        extra["residual"] = context.number(node.inputs["residual"])
    if context.winograd and suits_winograd(node, context.shapes):
        extra["method"] = "winograd"
    height, width = context.shapes[node.inputs["weight"]][2:]
    context.emit(
        "convolution", node.output, y, x=x, weight=node.inputs["weight"], height=height, width=width,
        **_pair(attributes, "stride", "stride"), **_pair(attributes, "dilation", "dilation"),
        **_pair(attributes, "padding", "pad"), **extra, **finish_of(node),
    )  # fmt: skip


def suits_winograd(node: Node, shapes: Mapping[str, Shape]) -> bool:
    """Whether a convolution has 3 x 3 taps one pixel apart, and so many pixels that transforms pay."""
    _, channels, height, width = shapes[node.inputs["weight"]]
    once = all(one == 1 for name in ("stride", "dilation") for one in node.attributes[name])
    enough = math.prod(shapes[node.output][2:]) >= WINOGRAD_PIXELS
    return once and (height, width) == (3, 3) and channels % CHANNEL_BLOCK == 0 and enough


def _pool(context: Context, node: Node) -> None:
    if any(one != 1 for one in node.attributes.get("dilation", [1, 1])):
        raise ArgumentError(f"{node}: pooling with dilation is not lowered")
    _emit_pool(context, node, dict(node.attributes))


def _adaptive_pool(context: Context, node: Node) -> None:
    size, target = context.shapes[node.inputs["x"]][2:], node.attributes["size"]
    if any(length % count for length, count in zip(size, target, strict=True)):
        raise ArgumentError(f"{node}: {list(size)} pixels are not shared out evenly to {list(target)}")
    kernel = [length // count for length, count in zip(size, target, strict=True)]
    _emit_pool(context, node, {"kernel": kernel, "stride": kernel, "padding": [0, 0]})


def _emit_pool(context: Context, node: Node, attributes: Mapping[str, Any]) -> None:
    x, y = context.number(node.inputs["x"]), context.output(node)
    height, width = attributes["kernel"]
    context.emit(
        "pool", node.output, y, x=x, kind="max" if node.operator == "max_pool" else "mean",
        height=height, width=width, count_padding=int(attributes.get("count_padding", False)),
        **_pair(attributes, "stride", "stride"), **_pair(attributes, "padding", "pad"),
    )  # fmt: skip


def _pair(attributes: Mapping[str, Any], name: str, member: str) -> dict[str, int]:
    """The two numbers of an attribute as members of a step."""
    y, x = attributes.get(name, (1, 1))
    return {f"{member}_y": y, f"{member}_x": x}


ROWS: dict[str, Lower] = {
    "convolution": _convolution,
    "max_pool": _pool,
    "average_pool": _pool,
    "adaptive_average_pool": _adaptive_pool,
}
