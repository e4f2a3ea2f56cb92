"""From a graph and the shapes of its inputs to a program: layouts, memory, steps.

Images lie in blocks of 16 channels from the first convolution to the last, with a halo of zeros as wide as any
convolution that reads them pads; rows lie as they are. The program is data (backends/cpu/network/program.hpp), the same
for every instruction set. How an operator is lowered is a row of `images.ROWS` or another family's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tersely.core.errors import ArgumentError
from tersely.graph.graph import Graph
from tersely.graph.lowering import images, pointwise, regions, rows
from tersely.graph.lowering.context import Context, Lower
from tersely.graph.lowering.layouts import layout_of
from tersely.graph.lowering.placement import place_values
from tersely.graph.lowering.program import Program
from tersely.graph.operators import Shape, infer

ROWS: dict[str, Lower] = {**images.ROWS, **pointwise.ROWS, **rows.ROWS, **regions.ROWS}


@dataclass(frozen=True)
class Choices:
    """winograd: whether 3 x 3 convolutions may take Winograd's method, which rounds otherwise."""

    winograd: bool = True


def lower(graph: Graph, shapes: Mapping[str, Shape], choices: Choices = Choices()) -> Program:
    """The program of a graph for inputs of these shapes.

    shapes: of inputs and constants.

    Raises ArgumentError where shapes do not go together, and for what the executor does not have.
    """
    context = Context(graph, infer(graph, shapes), choices.winograd)
    for index, name in enumerate(graph.inputs):
        context.emit("input", name, context.new(name, layout_of(name, graph, context.shapes)), index=index)
    for node in graph.nodes:
        if node.operator not in ROWS:
            raise ArgumentError(f"{node}: the executor has no such operator")
        ROWS[node.operator](context, node)
    for index, name in enumerate(graph.outputs):
        context.add({"operator": "output", "x": context.number(name), "index": index}, name)
        context.program.output_shapes.append(context.shapes[name])
    place_values(context.program)
    return context.program
