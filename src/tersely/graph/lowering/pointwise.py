"""Operators on every number of one or two values."""

from __future__ import annotations

import math

from tersely.graph.graph import Node
from tersely.graph.lowering.context import Context, Lower, finish_of, flat
from tersely.graph.lowering.layouts import layout_of
from tersely.graph.lowering.views import View
from tersely.graph.operators import ACTIVATIONS, ARITHMETIC

COMBINED = ("add", "subtract", "multiply")
"""Operators for which there is a step on images in blocks of channels."""


ON_IMAGES = ("relu", "relu6", "hard_sigmoid", "hard_swish", "sigmoid", "silu")
"""Activations that have a kernel for blocks of channels."""


def _activation(context: Context, node: Node) -> None:
    activate(context, node.operator, node.inputs["x"], node.output)


def activate(context: Context, kind: str, x: str, output: str) -> None:
    """An activation of a value, which then lies as that does."""
    if context.is_image(x):
        source, y = context.number(x), context.image(output)
        if kind in ON_IMAGES and context.layout(x).blocked and context.layout(output).blocked:
            return context.emit("activate", output, y, x=source, activation=kind)
        return context.emit("pointwise", output, y, x=source, kind=kind)
    view = context.view(x)
    if not view.dense():
        view = context.plain(x)
    return activate_view(context, kind, view, context.new_like(output, view), output)


def activate_view(context: Context, kind: str, x: View, y: View, name: str) -> None:
    """An activation of what fills its memory to what lies alike."""
    layout = flat(math.prod(x.shape))
    context.emit("pointwise", name, context.alias(y, layout), x=context.alias(x, layout), kind=kind)


def _arithmetic(context: Context, node: Node) -> None:
    x, z = node.inputs["x"], node.inputs["z"]
    shape = context.shapes[node.output]
    if node.operator in COMBINED and all(context.is_image(name) for name in (x, z)):
        if context.shapes[x] != shape and node.operator != "subtract":
            x, z = z, x
        numbers = {"x": context.number(x), "z": context.number(z)}
        layouts = [
            context.layout(x),
            context.layout(z),
            layout_of(node.output, context.graph, context.shapes, context.sparse),
        ]
        if context.shapes[x] == shape and all(layout.blocked for layout in layouts):
            written = context.output(node)
            return context.emit("combine", node.output, written, kind=node.operator, **numbers, **finish_of(node))
    activation = node.attributes.get("activation")
    views = [context.view(x).expanded(shape), context.view(z).expanded(shape)]
    y = _where(context, node.output, [x, z], views)
    context.elementwise(node.operator, node.output, y, *views)
    if activation is None:
        return None
    if y.dense():
        return activate_view(context, activation, y, y, node.output)
    return activate(context, activation, node.output, node.output)


def _where(context: Context, name: str, operands: list[str], views: list[View]) -> View:
    """A result lies as the first operand of its shape that fills its memory or is an image does."""
    shape = context.shapes[name]
    for operand, view in zip(operands, views, strict=True):
        if context.shapes[operand] != shape:
            continue
        if context.is_image(operand) and context.has_image_view(shape[1]):
            context.image(name)
            return context.view(name)
        if view.dense():
            return context.new_like(name, view)
    return context.new_plain(name)


ROWS: dict[str, Lower] = {
    **dict.fromkeys(ACTIVATIONS, _activation),
    **dict.fromkeys(ARITHMETIC, _arithmetic),
}
