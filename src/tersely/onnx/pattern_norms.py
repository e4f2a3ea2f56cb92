"""Layer norm out of its means, and constants that a product or a norm takes as its own."""

from __future__ import annotations

import numpy as np

from tersely.graph.graph import Node
from tersely.onnx.rewriting import Rewriting


def biases(graph: Rewriting) -> None:
    """A constant that is added to a linear layer, or a convolution's channels, is its bias."""
    for node in list(graph.nodes.values()):
        if node.operator != "add":
            continue
        for role, other in (("x", "z"), ("z", "x")):
            product = graph.once(node.inputs[role], "linear")
            if product is None or "bias" in product.inputs:
                continue
            if graph.is_vector(node.inputs[other], graph.shape(product.output)[-1]) and _keeps(graph, product, node):
                inputs = {**product.inputs, "bias": node.inputs[other]}
                graph.replace(node.output, "linear", inputs, **product.attributes)
                break


def _keeps(graph: Rewriting, inner: Node, outer: Node) -> bool:
    return graph.shape(inner.output) == graph.shape(outer.output)


def norms(graph: Rewriting) -> None:
    """(x - mean) / sqrt(mean of squares + eps), over the last axis."""
    for node in list(graph.nodes.values()):
        found = _deviation(graph, node)
        if found is None:
            continue
        inside, root = found
        total = graph.node(root.inputs["x"], "add")
        split = None if total is None else graph.split(total)
        mean = None if split is None else graph.node(split[0], "mean")
        if split is None or mean is None or not _is_square(graph, mean.inputs["x"], inside):
            continue
        x = inside.inputs["x"]
        first = graph.node(inside.inputs["z"], "mean")
        if first is None or first.inputs["x"] != x:
            continue
        last = [len(graph.shape(x)) - 1]
        if all(one.attributes["axes"] == last and one.attributes["keep"] for one in (mean, first)):
            graph.replace(node.output, "layer_norm", {"x": x}, eps=split[1])


def _deviation(graph: Rewriting, node: Node) -> tuple[Node, Node] | None:
    """The difference and the root of a quotient, which may be a product with a reciprocal."""
    if node.operator == "divide":
        pairs = [(node.inputs["x"], node.inputs["z"])]
    elif node.operator == "multiply":
        pairs = []
        for one, other in (("x", "z"), ("z", "x")):
            over = graph.node(node.inputs[other], "divide")
            if over is not None and graph.number(over.inputs["x"]) == 1:
                pairs.append((node.inputs[one], over.inputs["z"]))
    else:
        return None
    for above, below in pairs:
        inside, root = graph.node(above, "subtract"), graph.node(below, "sqrt")
        if inside is not None and root is not None:
            return inside, root
    return None


def _is_square(graph: Rewriting, name: str, inside: Node) -> bool:
    """The square of a difference, which may have been computed twice."""
    node = graph.node(name, "power", "multiply")
    if node is None:
        return False
    if node.operator == "power":
        if graph.number(node.inputs["z"]) != 2:
            return False
    elif node.inputs["x"] != node.inputs["z"]:
        return False
    base = graph.node(node.inputs["x"], "subtract")
    return base is not None and base.inputs == inside.inputs


def affine(graph: Rewriting) -> None:
    """A constant that a norm without weight is multiplied by is its weight; then one that is added its bias."""
    for node in list(graph.nodes.values()):
        role = {"multiply": "weight", "add": "bias"}.get(node.operator)
        if role is None:
            continue
        for one, other in (("x", "z"), ("z", "x")):
            norm = graph.once(node.inputs[one], "layer_norm")
            if norm is None or role in norm.inputs or "bias" in norm.inputs or not _keeps(graph, norm, node):
                continue
            if graph.is_vector(node.inputs[other], graph.shape(norm.output)[-1]):
                inputs = {**norm.inputs, role: node.inputs[other]}
                graph.replace(node.output, "layer_norm", inputs, **norm.attributes)
                break


def other_orientations(graph: Rewriting) -> None:
    """A weight that one layer reads [inputs, outputs] and another node otherwise is kept for each of them."""
    plain = {
        name
        for node in graph.nodes.values()
        for name in node.inputs.values()
        if name in graph.builder.arrays and not node.attributes.get("in_out", False)
    }
    copies: dict[str, str] = {}
    for node in list(graph.nodes.values()):
        if not node.attributes.get("in_out", False) or node.inputs["weight"] not in plain:
            continue
        name = node.inputs["weight"]
        if name not in copies:
            array = np.ascontiguousarray(graph.builder.arrays[name].T)
            copies[name] = graph.constant(f"{name}.transposed", array)
        attributes = {key: value for key, value in node.attributes.items() if key != "in_out"}
        graph.replace(node.output, "linear", {**node.inputs, "weight": copies[name]}, **attributes)
