"""What a convolution or product can finish with: a sum with another value, then an activation."""

from __future__ import annotations

from typing import Any

from tersely.graph.graph import Graph, Node, renamed

BOUNDS = ("relu", "relu6")
ON_IMAGES = (*BOUNDS, "hard_sigmoid", "hard_swish", "sigmoid", "silu")
FINISHES = {"convolution": ON_IMAGES, "scale_shift": ON_IMAGES, "linear": ("relu",), "add": ("relu",)}
"""Activations that an operator's kernel ends with."""


def run(graph: Graph, constants: dict[str, Any]) -> Graph:
    graph = _residuals(graph)
    return _activations(graph)


def _activations(graph: Graph) -> Graph:
    uses = graph.uses()
    nodes: dict[str, Node] = {}
    names: dict[str, str] = {}
    for node in renamed_as_we_go(graph, names):
        before = nodes.get(node.inputs.get("x", ""))
        if (
            before is not None
            and node.operator in FINISHES.get(before.operator, ())
            and uses[before.output] == 1
            and "activation" not in before.attributes
        ):
            attributes = {**before.attributes, "activation": node.operator}
            nodes[before.output] = Node(before.operator, before.inputs, before.output, attributes)
            names[node.output] = before.output
        else:
            nodes[node.output] = node
    return graph.with_nodes(list(nodes.values()), [names.get(name, name) for name in graph.outputs])


def renamed_as_we_go(graph: Graph, names: dict[str, str]) -> Any:
    """Nodes one by one, each reading what those before it were renamed to."""
    for node in graph.nodes:
        yield from renamed([node], names)


def _residuals(graph: Graph) -> Graph:
    """add(convolution, other) where the convolution comes last of the two and nobody else reads it."""
    uses = graph.uses()
    place = {node.output: i for i, node in enumerate(graph.nodes)}
    producer = graph.producer()
    nodes: dict[str, Node] = {node.output: node for node in graph.nodes}
    names: dict[str, str] = {}
    for node in graph.nodes:
        if node.operator != "add" or node.inputs["x"] == node.inputs["z"]:
            continue
        found = [
            name
            for name in (node.inputs["x"], node.inputs["z"])
            if name in producer
            and producer[name].operator == "convolution"
            and uses[name] == 1
            and "residual" not in nodes[name].inputs
            and name not in names
        ]
        for name in sorted(found, key=lambda one: -place[one]):
            other = node.inputs["z"] if name == node.inputs["x"] else node.inputs["x"]
            if other in graph.constants or place.get(other, -1) > place[name]:
                continue
            old = nodes[name]
            inputs = {**old.inputs, "residual": names.get(other, other)}
            nodes[name] = Node("convolution", inputs, name, old.attributes)
            names[node.output] = name
            del nodes[node.output]
            break
    resolved = list(renamed(list(nodes.values()), _closed(names)))
    closed = _closed(names)
    return graph.with_nodes(resolved, [closed.get(name, name) for name in graph.outputs])


def _closed(names: dict[str, str]) -> dict[str, str]:
    """Names followed to their ends."""

    def end(name: str) -> str:
        while name in names:
            name = names[name]
        return name

    return {name: end(name) for name in names}
