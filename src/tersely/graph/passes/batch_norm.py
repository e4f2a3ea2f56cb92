"""Batch norm after a convolution becomes the scale and shift of its epilogue: weights stay as they are, bit by bit.

Where it follows anything else it is a scale and shift of each channel, an operator of its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tersely.graph.graph import Graph, Node, renamed


def run(graph: Graph, constants: dict[str, Any]) -> Graph:
    uses, producer = graph.uses(), graph.producer()
    replaced: dict[str, Node] = {}
    names: dict[str, str] = {}
    added: set[str] = set()
    for node in graph.nodes:
        if node.operator != "batch_norm":
            continue
        before = producer.get(node.inputs["x"])
        follows = before is not None and before.operator == "convolution" and uses[before.output] == 1
        convolution = before if follows else None
        scale, shift = _affine(node, convolution, constants)
        inputs = {}
        for role, values in (("scale", scale), ("shift", shift)):
            inputs[role] = f"{node.output}.{role}"
            constants[inputs[role]] = values
            added.add(inputs[role])
        if convolution is None:
            replaced[node.output] = Node("scale_shift", {"x": node.inputs["x"], **inputs}, node.output)
            continue
        kept = {role: name for role, name in convolution.inputs.items() if role != "bias"}
        replaced[convolution.output] = Node(
            "convolution", {**kept, **inputs}, convolution.output, convolution.attributes
        )
        names[node.output] = convolution.output
    nodes = [replaced.get(node.output, node) for node in graph.nodes if node.output not in names]
    wider = replace(graph, constants=graph.constants | added)
    return wider.with_nodes(list(renamed(nodes, names)), [names.get(name, name) for name in graph.outputs])


def _affine(norm: Node, convolution: Node | None, constants: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """scale and shift, float32 [channels], of float64: (sum + bias - mean) x weight / sqrt(variance + eps) + bias."""

    def numbers(node: Node | None, role: str, otherwise: float) -> np.ndarray:
        name = None if node is None else node.inputs.get(role)
        return np.asarray(otherwise if name is None else constants[name], np.float64)

    with np.errstate(all="ignore"):  # NaN and infinities go through
        scale = numbers(norm, "weight", 1.0) / np.sqrt(numbers(norm, "variance", 1.0) + norm.attributes["eps"])
        inside = numbers(convolution, "bias", 0.0) - numbers(norm, "mean", 0.0)
        return scale.astype(np.float32), (inside * scale + numbers(norm, "bias", 0.0)).astype(np.float32)
