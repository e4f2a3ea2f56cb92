"""Attention out of a softmax between two products of matrices, with its scale and its mask."""

from __future__ import annotations

import math
from typing import Any

from tersely.graph.graph import Node
from tersely.onnx.lengths import Length
from tersely.onnx.rewriting import Rewriting


def run(graph: Rewriting) -> None:
    for node in list(graph.nodes.values()):
        if node.operator == "matrix_product":
            _fuse(graph, node)


def _fuse(graph: Rewriting, node: Node) -> None:
    """Queries that attend to nothing get zeros; so exporters do it that say what NaN becomes."""
    weights = _without_nan(graph, node.inputs["x"])
    soft = graph.once(weights, "softmax") if weights == node.inputs["x"] else graph.node(weights, "softmax")
    rank = len(graph.shape(node.output))
    if soft is None or rank not in (3, 4) or soft.attributes["axis"] % rank != rank - 1:
        return
    scores, mask = soft.inputs["x"], None
    total = graph.once(scores, "add")
    if total is not None:
        inner = next((one for one in ("x", "z") if _is_scores(graph, total.inputs[one])), None)
        if inner is None:
            return
        scores, mask = total.inputs[inner], total.inputs["z" if inner == "x" else "x"]
    product = graph.product(scores, True)
    scale = product.number
    over = graph.once(product.factors[0], "matrix_product") if len(product.factors) == 1 else None
    if over is None or not math.isfinite(scale):
        return
    (queries, one), (keys, two) = _scaled(graph, over.inputs["x"]), _scaled(graph, over.inputs["z"])
    values = node.inputs["z"]
    shapes = [graph.shape(name) for name in (queries, keys, values)]
    if any(len(shape) != rank or shape[:-2] != shapes[0][:-2] for shape in shapes):
        return
    if any(name in graph.builder.arrays for name in (queries, keys, values)) or isinstance(shapes[0][-1], Length):
        return
    if mask is not None and (len(graph.shape(mask)) > rank or mask in (queries, keys, values)):
        return
    inputs = {"x": queries, "k": _turned(graph, keys, node.output), "v": values}
    attributes: dict[str, Any] = {"causal": False, "scale": scale * one * two}
    if mask is not None:
        inputs["mask"], attributes["boolean"] = mask, False
    graph.replace(node.output, "attention", inputs, **attributes)


def _is_scores(graph: Rewriting, name: str) -> bool:
    factors = graph.product(name, True).factors
    return len(factors) == 1 and graph.once(factors[0], "matrix_product") is not None


def _without_nan(graph: Rewriting, name: str) -> str:
    """x of what is x where x is a number, and else 0."""
    kept = graph.node(name, "masked")
    numbers = None if kept is None else graph.node(kept.inputs["z"], "equal")
    split = None if numbers is None else graph.split(numbers)
    odd = None if split is None or split[1] != 0 else graph.node(split[0], "not_equal")
    if kept is None or odd is None or {*odd.inputs.values()} != {kept.inputs["x"]}:
        return name
    return kept.inputs["x"]


def _scaled(graph: Rewriting, name: str) -> tuple[str, float]:
    """A value and the number that it is multiplied by."""
    product = graph.product(name, True)
    return (product.factors[0], product.number) if len(product.factors) == 1 else (name, 1.0)


def _turned(graph: Rewriting, name: str, before: str) -> str:
    """A value with its last two axes exchanged."""
    shape = graph.shape(name)
    wanted = (*shape[:-2], shape[-1], shape[-2])
    node = graph.node(name, "permute")
    source = name if node is None else node.inputs["x"]
    order = list(range(len(shape))) if node is None else [axis % len(shape) for axis in node.attributes["order"]]
    order[-2:] = order[:-3:-1]
    if order == sorted(order):
        return source
    output = graph.builder.claim(f"{name}.keys")
    graph.before(before, Node("permute", {"x": source}, output, {"order": order}), wanted)
    return output
