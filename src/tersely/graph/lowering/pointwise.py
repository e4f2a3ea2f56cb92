"""Operators on every number."""

from __future__ import annotations

from tersely.core.errors import ArgumentError
from tersely.graph.graph import Node
from tersely.graph.lowering.context import Context, Lower, finish_of
from tersely.graph.operators import ACTIVATIONS, ARITHMETIC


ON_IMAGES = ("relu", "relu6", "hard_sigmoid", "hard_swish", "sigmoid", "silu")
"""Activations that have a kernel for blocks of channels."""


def _activation(context: Context, node: Node) -> None:
    x, y = context.number(node.inputs["x"]), context.output(node)
    if node.operator in ON_IMAGES and context.layout(node.inputs["x"]).blocked and context.layout(node.output).blocked:
        return context.emit("activate", node.output, y, x=x, activation=node.operator)
    return context.emit("pointwise", node.output, y, x=x, kind=node.operator)


def _arithmetic(context: Context, node: Node) -> None:
    x, z = node.inputs["x"], node.inputs["z"]
    if len(context.shapes[node.output]) == 4:
        return _on_images(context, node)
    if context.shapes[x] != context.shapes[z]:
        raise ArgumentError(f"{node}: operands of different shapes")
    numbers = {"x": context.number(x), "z": context.number(z)}
    return context.emit(
        "pointwise", node.output, context.output(node), kind=node.operator, **numbers, **finish_of(node)
    )


def _on_images(context: Context, node: Node) -> None:
    """x is as large as the result; z may have one of what x has several of."""
    x, z = node.inputs["x"], node.inputs["z"]
    if context.shapes[x] != context.shapes[node.output] and node.operator != "subtract":
        x, z = z, x
    if context.shapes[x] != context.shapes[node.output] or len(context.shapes[z]) != 4:
        raise ArgumentError(f"{node}: operands of shapes that the executor does not broadcast")
    numbers = {"x": context.number(x), "z": context.number(z)}
    context.emit("combine", node.output, context.output(node), kind=node.operator, **numbers, **finish_of(node))


ROWS: dict[str, Lower] = {
    **dict.fromkeys(ACTIVATIONS, _activation),
    **dict.fromkeys(ARITHMETIC, _arithmetic),
}
