"""From a graph and the shapes of its inputs to a program: layouts, memory, steps.

Images lie in blocks of 16 channels from the first convolution to the last, with a halo of zeros as wide as any
convolution that reads them pads; rows lie as they are. The program is data (backends/cpu/network/program.hpp) that
every instruction set runs; which convolutions are computed by lists of weights is chosen for one. How an operator is lowered is a row of `images.ROWS` or another family's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tersely.core.errors import ArgumentError
from tersely.graph.graph import Graph
from tersely.graph.lowering import images, pairs, pointwise, quantised, regions, rows, sparse, tokens
from tersely.graph.lowering import shapes as shape_rows
from tersely.graph.lowering.context import Context, Lower
from tersely.graph.lowering.expansions import join_expansions
from tersely.graph.lowering.loops import add_loops
from tersely.graph.lowering.placement import place_values
from tersely.graph.lowering.program import Program
from tersely.graph.lowering.residuals import taken_out
from tersely.graph.operators import Shape, check_lengths, infer

ROWS: dict[str, Lower] = {
    **images.ROWS,
    **pointwise.ROWS,
    **regions.ROWS,
    **rows.ROWS,
    **quantised.ROWS,
    **shape_rows.ROWS,
    **tokens.ROWS,
}
"""Of two rows for an operator the last: `shapes` asks `images` and `regions` where operands are images."""


@dataclass(frozen=True)
class Choices:
    """winograd: whether 3 x 3 convolutions may take Winograd's method, which rounds otherwise.

    bfloat16_products: whether products by weights of bfloat16 round x to it, where the processor multiplies its pairs.
    """

    winograd: bool = True
    bfloat16_products: bool = True


def lower(
    graph: Graph,
    shapes: Mapping[str, Shape],
    choices: Choices = Choices(),
    integers: Collection[str] = (),
    products_only: Collection[str] = (),
    densities: Mapping[str, float] = MappingProxyType({}),
    listed_only: Collection[str] = (),
    paired: Collection[str] = (),
    wide: bool = True,
) -> Program:
    """The program of a graph for inputs of these shapes.

    shapes: of inputs and constants. integers: inputs that are int64, not float32. products_only: weights of linear
    layers whose code can be multiplied, but not decoded panel by panel. densities: shares of the weights that are not
    zero, where a convolution can be computed by these; listed_only: weights for which there is no other way.
    paired: weights of bfloat16 whose products round x to it. wide: whether the machine has AVX-512.

    Raises ArgumentError where shapes do not go together, and for what the executor does not have.
    """
    check_lengths(graph, shapes)
    graph = taken_out(graph, shapes)
    inferred = infer(graph, shapes)
    listed = sparse.chosen(graph, inferred, densities, listed_only, choices.winograd, paired, wide)
    products = pairs.chosen(graph, inferred, paired, listed)
    context = Context(graph, inferred, choices.winograd, products_only, listed, products)
    for index, name in enumerate(graph.inputs):
        _input(context, name, index, name in integers)
    for node in graph.nodes:
        if node.operator not in ROWS:
            raise ArgumentError(f"{node}: the executor has no such operator")
        ROWS[node.operator](context, node)
    for index, name in enumerate(graph.outputs):
        context.program.output_dtypes.append(context.dtypes[name])
        if context.element_bytes(name) == 1:
            name = quantised.as_floats(context, name)
        number = context.number(name) if context.is_image(name) else context.flat(name)
        context.add({"operator": "output", "x": number, "index": index}, name)
        context.program.output_shapes.append(context.shapes[name])
    context.program.shapes = context.shapes
    pairs.leave_out_unread(context.program)
    join_expansions(context.program)
    add_loops(context.program)
    place_values(context.program)
    return context.program


def _input(context: Context, name: str, index: int, integers: bool) -> None:
    if len(context.shapes[name]) == 4 and not integers:
        context.emit("input", name, context.image(name), index=index)
        return
    y = context.new_plain(name).number
    context.add({"operator": "input", "y": y, "index": index, "integers": int(integers)}, name)
