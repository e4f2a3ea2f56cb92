"""Operators on every number of one or two values."""

from __future__ import annotations

import math

from tersely.graph.graph import Node
from tersely.graph.lowering.context import Context, Lower, finish_of, flat
from tersely.graph.lowering.views import View
from tersely.graph.operators import ACTIVATIONS, ARITHMETIC

SAME_LAYOUT = ("add", "subtract", "multiply", "divide")
"""Operators for which there is a step on two images that lie alike."""


def _activation(context: Context, node: Node) -> None:
    activate(context, node.operator, node.inputs["x"], node.output)


def activate(context: Context, kind: str, x: str, output: str) -> None:
    """An activation of a value, which then lies as that does."""
    if context.is_image(x):
        context.emit("pointwise", output, context.image(output), x=context.number(x), kind=kind)
        return
    view = context.view(x)
    if not view.dense():
        view = context.plain(x)
    activate_view(context, kind, view, context.new_like(output, view), output)


def activate_view(context: Context, kind: str, x: View, y: View, name: str) -> None:
    """An activation of what fills its memory to what lies alike."""
    layout = flat(math.prod(x.shape))
    context.emit("pointwise", name, context.alias(y, layout), x=context.alias(x, layout), kind=kind)


def _arithmetic(context: Context, node: Node) -> None:
    x, z = node.inputs["x"], node.inputs["z"]
    alike = context.shapes[x] == context.shapes[z] and context.is_image(x) and context.is_image(z)
    if alike and node.operator in SAME_LAYOUT:
        numbers = {"x": context.number(x), "z": context.number(z)}
        context.emit(
            "pointwise", node.output, context.image(node.output), kind=node.operator, **numbers, **finish_of(node)
        )
        return
    activation = node.attributes.get("activation")
    shape = context.shapes[node.output]
    views = [context.view(x).expanded(shape), context.view(z).expanded(shape)]
    y = _where(context, node.output, [x, z], views)
    context.elementwise(node.operator, node.output, y, *views)
    if activation is not None and y.dense():
        activate_view(context, activation, y, y, node.output)
    elif activation is not None:
        activate(context, activation, node.output, node.output)


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
