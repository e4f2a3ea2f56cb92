"""Zeros around images that only convolutions read become their padding: nothing is copied."""

from __future__ import annotations

from typing import Any

from tersely.graph.graph import Graph, Node
from tersely.graph.operators import paddings


def run(graph: Graph, constants: dict[str, Any]) -> Graph:
    pads = {node.output: node for node in graph.nodes if node.operator == "pad" and _is_halo(node)}
    for node in graph.nodes:
        for role, name in node.inputs.items():
            if (node.operator, role) != ("convolution", "x"):
                pads.pop(name, None)
    for name in graph.outputs:
        pads.pop(name, None)
    nodes = []
    for node in graph.nodes:
        if node.operator == "convolution" and node.inputs["x"] in pads:
            pad = pads[node.inputs["x"]]
            (top, bottom), (left, right) = paddings(node)
            before, behind = pad.attributes["before"], pad.attributes["behind"]
            padding = [top + before[2], left + before[3], bottom + behind[2], right + behind[3]]
            inputs = {**node.inputs, "x": pad.inputs["x"]}
            node = Node(node.operator, inputs, node.output, {**node.attributes, "padding": padding})
        if node.output not in pads:
            nodes.append(node)
    return graph.with_nodes(nodes)


def _is_halo(node: Node) -> bool:
    """Whether a pad puts zeros around images, and cuts nothing off."""
    before, behind = node.attributes["before"], node.attributes["behind"]
    around = len(before) == 4 and not any((*before[:2], *behind[:2]))
    return around and min((*before, *behind)) >= 0 and node.attributes["value"] == 0
