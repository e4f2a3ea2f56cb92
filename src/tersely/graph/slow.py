"""Weights of a saved network that this machine multiplies more slowly than dense ones: files are planned for a machine."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tersely.codes import registry
from tersely.core.errors import ArgumentError
from tersely.graph.graph import Graph
from tersely.graph.operators import infer
from tersely.graph.pipeline import Constant
from tersely.planner.choose import slow_here
from tersely.tensors.tensor import Tensor

FEW_ROWS = 8
"""Rows of x, or pixels, that share a weight: with more, how fast it is decoded matters little."""
SHARE = 0.25
"""Of all weights, by bytes, above which it is worth a word."""


def slow_weights(graph: Graph, constants: Mapping[str, Constant]) -> list[str]:
    """Those weights where they are a good part of all, for inputs of the shapes that the graph was made with."""
    coded = {name: one for name, one in constants.items() if isinstance(one, Tensor)}
    slow = {name for name, one in coded.items() if slow_here(registry.check(one.encoded))}
    if not slow:
        return []
    try:
        shapes = infer(graph, {**graph.examples, **{name: tuple(one.shape) for name, one in constants.items()}})
    except (ArgumentError, KeyError):  # no examples, or none that fit: a run will say so
        return []
    for node in graph.nodes:
        result = shapes[node.output]
        rows = math.prod(result[2:]) if node.operator == "convolution" else math.prod(result[:-1])
        if node.operator == "embedding" or rows > FEW_ROWS:
            slow.discard(node.inputs.get("weight", ""))
    found = sum(coded[name].nbytes for name in slow)
    return sorted(slow) if found > SHARE * sum(one.nbytes for one in coded.values()) else []
