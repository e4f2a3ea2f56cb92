"""Convolutions by the weights that are not zero: which ones can be computed so, and where that pays."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from tersely.graph.graph import Graph, Node
from tersely.graph.lowering.images import suits_winograd
from tersely.graph.operators import Shape
from tersely.planner.network_cost import PAIRS_SHARE, WINOGRAD_SHARE, listed_share


def can_list(node: Node, weight: Shape) -> bool:
    """Whether a node may be computed by a list of its weights. weight: their shape."""
    return node.operator == "convolution" and not (weight[1] == 1 and node.attributes["groups"] == weight[0] > 1)


def pays(node: Node, shapes: Mapping[str, Shape], density: float, winograd: bool, paired: bool) -> bool:
    """Whether a list of weights, made of decoded panels, is faster than the panels.

    density: the share that it has. paired: whether panels are multiplied in bfloat16.
    """
    outputs, *columns = shapes[node.inputs["weight"]]
    dense = PAIRS_SHARE if paired else WINOGRAD_SHARE if winograd and suits_winograd(node, shapes) else 1.0
    pixels = math.prod(shapes[node.output][2:]) * shapes[node.output][0]
    return listed_share(outputs, math.prod(columns), pixels, density, True, node.attributes["groups"]) < dense


def chosen(
    graph: Graph,
    shapes: Mapping[str, Shape],
    densities: Mapping[str, float],
    only: Collection[str],
    winograd: bool,
    paired: Collection[str] = (),
) -> frozenset[str]:
    """Outputs of the nodes that are computed so.

    densities: of weights that can be listed. only: those of them that can be multiplied no other way. paired: those
    that are multiplied in bfloat16 otherwise.
    """
    found = set()
    for node in graph.nodes:
        weight = node.inputs.get("weight", "")
        if weight not in densities or not can_list(node, shapes[weight]):
            continue
        if weight in only or pays(node, shapes, densities[weight], winograd, weight in paired):
            found.add(node.output)
    return frozenset(found)
