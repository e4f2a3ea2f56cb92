"""Convolutions by the weights that are not zero: which ones can be computed so, and where that pays."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tersely.core.geometry import CHUNK_WEIGHTS
from tersely.graph.graph import Graph, Node
from tersely.graph.lowering.images import suits_winograd
from tersely.graph.operators import Shape
from tersely.tensors.tensor import Tensor

FINISHES = (None, "relu", "relu6", "gelu", "gelu_tanh", "tanh")
"""Activations that a sparse convolution ends with: bounds, and those that have a kernel for numbers in a row."""

DENSE, WINOGRAD = 1.0, 0.62
"""A weight by a pixel, decoded and multiplied with its zeros; by Winograd's method."""
ENTRY, PACK, FINISH = 1.35, 6.0, 8.0
"""A weight that is not zero by a pixel; a column by a pixel, packed; a result, written."""


def can_list(node: Node, weight: Shape) -> bool:
    """Whether a node may be computed by a list of its weights. weight: the weight's shape."""
    if node.operator != "convolution" or node.attributes.get("activation") not in FINISHES:
        return False
    outputs, channels = weight[:2]
    return not (channels == 1 and node.attributes["groups"] == outputs > 1)


def pays(node: Node, shapes: Mapping[str, Shape], density: float, winograd: bool) -> bool:
    """Whether a list of weights is faster than all of them. density: the share of those that are not zero."""
    outputs, *taps = shapes[node.inputs["weight"]]
    columns = math.prod(taps)
    dense = WINOGRAD if winograd and suits_winograd(node, shapes) else DENSE
    groups = node.attributes["groups"]
    listed = density * ENTRY + PACK * groups / outputs + FINISH / columns
    return listed < dense


def chosen(
    graph: Graph, shapes: Mapping[str, Shape], densities: Mapping[str, float], only: frozenset[str], winograd: bool
) -> frozenset[str]:
    """Outputs of the nodes that are computed so.

    densities: of weights that can be listed. only: those of them that can be multiplied no other way.
    """
    found = set()
    for node in graph.nodes:
        weight = node.inputs.get("weight", "")
        if weight in densities and can_list(node, shapes[weight]):
            if weight in only or pays(node, shapes, densities[weight], winograd):
                found.add(node.output)
    return frozenset(found)


def density_of(tensor: Tensor) -> float:
    """The share of a sparse tensor's weights that have a value, what fills segments and lanes up among them."""
    positions = tensor.encoded.node.parameters
    if positions["positions"] == "n_of_m":
        return float(positions["n"] / positions["m"])
    panels, segments = tensor.geometry.panels, tensor.geometry.segments
    gaps = positions["positions"] == "gaps"
    end = int(tensor.encoded.components["directory"].view("<u8")[panels if gaps else segments])
    return end * (CHUNK_WEIGHTS if gaps else 1) / max(1, tensor.geometry.padded_weights)
