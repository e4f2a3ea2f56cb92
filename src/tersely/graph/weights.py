"""Which constants of a graph are weights of products, and how they are read."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tersely.core.errors import ArgumentError
from tersely.graph.graph import Graph
from tersely.graph.operators import Shape, infer
from tersely.graph.quantised_operators import PRODUCTS

CODED = ("convolution", "linear", "embedding", *PRODUCTS)
"""Operators whose weights are coded."""
FLOATS = ("float32", "bfloat16", "float16")
"""Dtypes of weights that the executor multiplies by as they are coded."""


def rows_of(graph: Graph, constants: Mapping[str, Shape]) -> dict[str, int]:
    """By weight: rows of x of its products, pixels of its convolutions, the most where it has several.

    Counted for the shapes of the graph's examples; raises ArgumentError where these do not go together.
    """
    shapes = infer(graph, {**graph.examples, **constants})
    found: dict[str, int] = {}
    dequantised = {node.output: node.inputs["x"] for node in graph.nodes if node.operator == "dequantise"}
    for node in graph.nodes:
        if node.operator not in CODED:
            continue
        weight = dequantised.get(node.inputs["weight"], node.inputs["weight"])
        if weight not in graph.constants:
            continue
        result = shapes[node.output]
        here = 1
        if node.operator in ("convolution", "quantised_convolution"):
            here = math.prod(result[2:])
        elif node.operator in ("linear", "quantised_linear"):
            here = math.prod(result[:-1])
        found[weight] = max(here, 1, found.get(weight, 0))
    return found


def in_out_of(graph: Graph) -> frozenset[str]:
    """Weights that are stored [inputs, outputs].

    Raises ArgumentError where one is read in another way as well.
    """
    found, other = set(), set()
    for node in graph.nodes:
        for role, name in node.inputs.items():
            if role == "weight" and node.operator == "linear" and node.attributes.get("in_out", False):
                found.add(name)
            else:
                other.add(name)
    found &= graph.constants
    if both := sorted(found & other):
        raise ArgumentError(f"{both[0]!r} is read [inputs, outputs] by one node and otherwise by another")
    return frozenset(found)
