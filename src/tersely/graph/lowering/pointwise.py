"""Operators on every number."""

from __future__ import annotations

from tersely.core.errors import ArgumentError
from tersely.graph.graph import Node
from tersely.graph.lowering.context import Context, Lower, finish_of
from tersely.graph.operators import ACTIVATIONS, ARITHMETIC


def _activation(context: Context, node: Node) -> None:
    context.emit("pointwise", node.output, context.output(node), x=context.number(node.inputs["x"]), kind=node.operator)


def _arithmetic(context: Context, node: Node) -> None:
    x, z = node.inputs["x"], node.inputs["z"]
    if context.shapes[x] != context.shapes[z]:
        raise ArgumentError(f"{node}: operands of different shapes")
    numbers = {"x": context.number(x), "z": context.number(z)}
    context.emit("pointwise", node.output, context.output(node), kind=node.operator, **numbers, **finish_of(node))


ROWS: dict[str, Lower] = {
    **dict.fromkeys(ACTIVATIONS, _activation),
    **dict.fromkeys(ARITHMETIC, _arithmetic),
}
