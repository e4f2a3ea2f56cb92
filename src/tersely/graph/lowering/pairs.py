"""Products of bfloat16: which nodes are computed so, what they read, and which results nobody reads as float32.

Such a product takes x rounded to bfloat16: a value beside the float32 one, which the product that computes it writes
itself, and a step of its own otherwise. Where all readers take that, the float32 one is never written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from tersely.graph.graph import Graph, Node
from tersely.graph.lowering.program import ROLES, Layout, Program
from tersely.graph.operators import Shape

if TYPE_CHECKING:
    from tersely.graph.lowering.context import Context

METHOD = "bfloat16"
BOUNDS = (None, "relu", "relu6")
"""Activations that a product finishes with while it rounds; others are done to float32 first."""


def chosen(
    graph: Graph, shapes: Mapping[str, Shape], weights: Collection[str], others: Collection[str]
) -> frozenset[str]:
    """Outputs of the nodes that are computed so.

    weights: those that are bfloat16. others: outputs of nodes that are computed in another way.
    """
    return frozenset(
        node.output
        for node in graph.nodes
        if node.inputs.get("weight") in weights
        and node.operator in ("convolution", "linear")
        and node.output not in others
        and not (node.operator == "convolution" and _depthwise(node, shapes))
    )


def _depthwise(node: Node, shapes: Mapping[str, Shape]) -> bool:
    outputs, channels = shapes[node.inputs["weight"]][:2]
    return channels == 1 and node.attributes["groups"] == outputs > 1


def rounded(context: Context, node: Node, number: int) -> int:
    """The number of a value's image in bfloat16, which a step for `node` writes if nothing did."""
    key = _memory(context, number)
    if key not in context.rounded:
        context.rounded[key] = _beside(context, number)
        context.emit("round", node.output, context.rounded[key], x=number)
    return context.rounded[key]


def results(context: Context, node: Node, number: int) -> dict[str, int]:
    """Members of a step that say where its result goes: as float32, and in bfloat16 where a product reads that.

    Channels that only fill a block are zeros for a product of an odd number of channels; those of a result are not.
    """
    readers = [one for one in context.graph.nodes if one.inputs.get("x") == node.output]
    even = context.program.layouts[number].channels % 2 == 0
    if not even or all(one.output not in context.pairs for one in readers):
        return {}
    beside = context.rounded[_memory(context, number)] = _beside(context, number)
    return {"rounded": beside}


def _beside(context: Context, number: int) -> int:
    return context.fresh(replace(context.program.layouts[number], blocked=True, element_bytes=2))


def _memory(context: Context, number: int) -> tuple[int, int, Layout]:
    owner, offset = context.program.aliases.get(number, (number, 0))
    return owner, offset, context.program.layouts[number]


def leave_out_unread(program: Program) -> None:
    """Take out of each step the float32 result that no other step reads, where its bfloat16 one is all that is wanted."""

    def owner(number: int) -> int:
        return program.aliases.get(number, (number, 0))[0]

    read = {
        owner(number)
        for step in program.steps
        for number in [step[role] for role in ROLES if role in step and role not in ("y", "rounded")]
        + list(step.get("xs", ()))
    }
    left_out = set()
    for step in program.steps:
        if "rounded" in step and owner(step["y"]) not in read and step.get("activation") in BOUNDS:
            left_out.add(owner(step.pop("y")))
    for number in range(len(program.layouts)):
        if owner(number) in left_out:
            program.layouts[number] = Layout(1, 1, 1, 1, blocked=False)
