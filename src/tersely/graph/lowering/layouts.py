"""How values lie: by their shapes, and by what reads them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tersely.core.errors import ArgumentError
from tersely.graph.graph import Graph
from tersely.graph.lowering.program import CHANNEL_BLOCK, Layout
from tersely.graph.operators import Shape, paddings
from tersely.graph.quantised_operators import affine, kept


def layout_of(
    name: str, graph: Graph, shapes: Mapping[str, Shape], listed: Collection[str] = (), planes: bool = False
) -> Layout:
    """How a value lies that others than lists of weights read, or with `planes` these.

    listed: outputs of the convolutions that are computed by the weights that are not zero. Raises ArgumentError for
    shapes that have no layout.
    """
    shape = shapes[name]
    if len(shape) == 4:
        images, channels, height, width = shape
        lent = name in graph.inputs and channels % CHANNEL_BLOCK and _only_convolved(name, graph)
        blocked = not lent and not planes
        halo = max(_paddings(name, graph, listed, one) for one in ((planes,) if not lent else (False, True)))
        return Layout(images, channels, height, width, halo, blocked)
    if len(shape) == 2:
        return Layout(shape[0], shape[1], 1, 1, 0, False)
    raise ArgumentError(f"{name}: values of shape {list(shape)} have no layout")


def lies_together(name: str, graph: Graph, shapes: Mapping[str, Shape], others: Collection[str]) -> bool:
    """Whether only products that multiply whole panels read an image of few channels that comes from outside.

    others: outputs of nodes that are computed in other ways. The columns of a pixel are then whole rows of taps, in the
    order in which coded weights have them. MEASURED (Zen 5, two threads): ResNet-50's first layer, whose runs would be of
    one column, takes 0.62 ms for 0.73.
    """
    shape = shapes[name]
    if name not in graph.inputs or len(shape) != 4 or not 1 < shape[1] < CHANNEL_BLOCK:
        return False
    readers = [node for node in graph.nodes if name in node.inputs.values()]
    convolved = all(node.operator == "convolution" and node.output not in others for node in readers)
    return convolved and _only_convolved(name, graph)


def _only_convolved(name: str, graph: Graph) -> bool:
    """Whether convolutions of one group read a value, or it is quantised, and nothing else.

    They take channels as they come: a camera's three would be one block of which 13 are padding.
    """
    readers = [node for node in graph.nodes if name in node.inputs.values()]
    return name not in graph.outputs and all(
        (node.operator == "quantise" or (node.operator == "convolution" and node.attributes["groups"] == 1))
        and [role for role, value in node.inputs.items() if value == name] == ["x"]
        for node in readers
    )


def _paddings(name: str, graph: Graph, listed: Collection[str], by_lists: bool) -> int:
    """The widest padding of the convolutions that read a value by lists of weights, or otherwise.

    What only others read has no zeros around it here: clearing these took longer than a pruned 1 x 1 convolution.
    """
    widths = (
        max(max(pair) for pair in paddings(node))
        for node in graph.nodes
        if node.operator in ("convolution", "quantised_convolution")
        and node.inputs["x"] == name
        and (node.output in listed) == by_lists
    )
    return max(widths, default=0)


def padding_byte(name: str, graph: Graph, dtypes: Mapping[str, str]) -> int:
    """What surrounds a value of bytes: the zero point of the convolutions that read and pad it.

    Raises ArgumentError where two of them do not agree.
    """
    found = {
        kept(affine(node, "x", dtypes[name]).zero, dtypes[name])
        for node in graph.nodes
        if node.operator == "quantised_convolution" and node.inputs["x"] == name and any(map(any, paddings(node)))
    }
    if len(found) > 1:
        raise ArgumentError(f"{name}: convolutions pad it with different zero points: give each a value of its own")
    return found.pop() if found else 0
