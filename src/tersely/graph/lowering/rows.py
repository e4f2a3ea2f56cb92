"""Operators on rows of features."""

from __future__ import annotations

from tersely.core.errors import ArgumentError
from tersely.graph.graph import Node
from tersely.graph.lowering.context import Context, Lower, finish_of


def _linear(context: Context, node: Node) -> None:
    x, y = context.number(node.inputs["x"]), context.output(node)
    bias = {"bias": node.inputs["bias"]} if "bias" in node.inputs else {}
    context.emit("linear", node.output, y, x=x, weight=node.inputs["weight"], **bias, **finish_of(node))


def _flatten(context: Context, node: Node) -> None:
    shape, flat = context.shapes[node.inputs["x"]], context.shapes[node.output]
    if len(flat) != 2 or flat[0] != shape[0]:
        raise ArgumentError(f"{node}: only images are flattened, to rows")
    x, y = context.number(node.inputs["x"]), context.output(node)
    context.emit("move", node.output, y, x=x, flat=int(len(shape) == 4))


ROWS: dict[str, Lower] = {"linear": _linear, "flatten": _flatten}
