"""Convolutions by the weights that are not zero: which ones can be computed so, and where that pays."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from tersely.graph.graph import Graph, Node
from tersely.graph.lowering.images import suits_winograd
from tersely.graph.operators import Shape
from tersely.planner.network_cost import PAIRS_SHARE, WINOGRAD_SHARE, listed_share, may_be_joined


def can_list(node: Node, weight: Shape) -> bool:
    """Whether a node may be computed by a list of its weights. weight: their shape."""
    return node.operator == "convolution" and not (weight[1] == 1 and node.attributes["groups"] == weight[0] > 1)


def pays(node: Node, shapes: Mapping[str, Shape], density: float, winograd: bool, paired: bool, wide: bool) -> bool:
    """Whether a list of weights, made of decoded panels, is faster than the panels.

    density: the share that it has. paired: whether panels are multiplied in bfloat16. wide: of AVX-512.
    """
    outputs, *columns = shapes[node.inputs["weight"]]
    dense = PAIRS_SHARE if paired else WINOGRAD_SHARE if winograd and suits_winograd(node, shapes) else 1.0
    pixels = math.prod(shapes[node.output][2:]) * shapes[node.output][0]
    return listed_share(outputs, math.prod(columns), pixels, density, True, wide, node.attributes["groups"]) < dense


def _expands(node: Node, graph: Graph, shapes: Mapping[str, Shape]) -> bool:
    """Whether a depthwise convolution alone reads it that will be joined with it, unless it is computed by a list."""
    outputs, *columns = shapes[node.inputs["weight"]]
    pixels = math.prod(shapes[node.output][2:])
    if (
        "residual" in node.inputs
        or node.output in graph.outputs
        or not may_be_joined(outputs, math.prod(columns), pixels)
    ):
        return False
    readers = [one for one in graph.nodes if node.output in one.inputs.values()]
    return len(readers) == 1 and readers[0].operator == "convolution" and readers[0].attributes["groups"] == outputs


def chosen(
    graph: Graph,
    shapes: Mapping[str, Shape],
    densities: Mapping[str, float],
    only: Collection[str],
    winograd: bool,
    paired: Collection[str] = (),
    wide: bool = True,
) -> frozenset[str]:
    """Outputs of the nodes that are computed so.

    densities: of weights that can be listed. only: those of them that can be multiplied no other way. paired: those
    that are multiplied in bfloat16 otherwise. wide: whether the machine has AVX-512.
    """
    found = set()
    for node in graph.nodes:
        weight = node.inputs.get("weight", "")
        if weight not in densities or not can_list(node, shapes[weight]):
            continue
        if weight in only or (
            not _expands(node, graph, shapes)
            and pays(node, shapes, densities[weight], winograd, weight in paired, wide)
        ):
            found.add(node.output)
    return frozenset(found)
