"""Sums that were fused into a convolution and, as shapes now say, repeat one of their operands: they are taken out again.

Fusing knows no shapes; a convolution's kernel adds only what has the shape of its own result.
"""

from __future__ import annotations

from collections.abc import Mapping

from tersely.graph.graph import Graph, Node
from tersely.graph.operators import Shape, shape_of


def taken_out(graph: Graph, shapes: Mapping[str, Shape]) -> Graph:
    """The graph in which every residual has the shape of what it is added to. shapes: of inputs and constants.

    Raises ArgumentError where shapes do not go together.
    """
    known = dict(shapes)
    nodes: list[Node] = []
    for node in graph.nodes:
        known[node.output] = shape_of(node, known)
        residual = node.inputs.get("residual")
        apart = residual is not None and known[residual] != known[node.output]
        for one in _apart(node) if apart else (node,):
            known[one.output] = shape_of(one, known)
            nodes.append(one)
    return graph.with_nodes(nodes)


def _apart(node: Node) -> tuple[Node, ...]:
    inputs = {role: name for role, name in node.inputs.items() if role != "residual"}
    attributes = {key: value for key, value in node.attributes.items() if key != "activation"}
    alone, total = f"{node.output}.alone", f"{node.output}.sum"
    activation = node.attributes.get("activation")
    operands = {"x": alone, "z": node.inputs["residual"]}
    first = Node(node.operator, inputs, alone, attributes)
    if activation is None:
        return first, Node("add", operands, node.output)
    return first, Node("add", operands, total), Node(str(activation), {"x": total}, node.output)
