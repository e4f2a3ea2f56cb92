"""How values lie: by their shapes, and by what reads them."""

from __future__ import annotations

from collections.abc import Mapping

from tersely.core.errors import ArgumentError
from tersely.graph.graph import Graph
from tersely.graph.lowering.program import CHANNEL_BLOCK, Layout
from tersely.graph.operators import Shape


def layout_of(name: str, graph: Graph, shapes: Mapping[str, Shape]) -> Layout:
    """Raises ArgumentError for shapes that have no layout."""
    shape = shapes[name]
    if len(shape) == 4:
        images, channels, height, width = shape
        # A camera's three channels would be one block of which 13 are padding.
        blocked = name not in graph.inputs or channels % CHANNEL_BLOCK == 0
        return Layout(images, channels, height, width, _halo(name, graph), blocked)
    if len(shape) == 2:
        return Layout(shape[0], shape[1], 1, 1, 0, False)
    raise ArgumentError(f"{name}: values of shape {list(shape)} have no layout")


def _halo(name: str, graph: Graph) -> int:
    """As wide as the widest padding of the convolutions that read it."""
    paddings = (
        max(node.attributes["padding"])
        for node in graph.nodes
        if node.operator == "convolution" and node.inputs["x"] == name
    )
    return max(paddings, default=0)
