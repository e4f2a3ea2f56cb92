"""Convolutions that a depthwise one alone reads become one step with it, where what lies between would leave the cache."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tersely.graph.lowering.loops import operands
from tersely.graph.lowering.program import Layout, Program
from tersely.planner.network_cost import EXPANSION_BYTES, EXPANSION_COLUMNS, EXPANSION_PIXELS

NOTHING = Layout(1, 1, 1, 1, 0, False)
"""What a value is replaced by that has no memory."""
PIXEL_ACTIVATIONS = (None, "relu", "relu6", "hard_sigmoid", "hard_swish", "sigmoid", "silu")


def join_expansions(program: Program) -> None:
    """Before values have places."""
    uses = Counter(program.owner(value) for step in program.steps for value in operands(step))
    steps: list[dict[str, Any]] = []
    nodes: list[str] = []
    for step, node in zip(program.steps, program.nodes, strict=True):
        if steps and _joins(program, steps[-1], step, uses):
            first = steps.pop()
            nodes.pop()
            between, program.layouts[first["y"]] = program.layouts[first["y"]], NOTHING
            inner = {member: value for member, value in first.items() if member not in ("operator", "x", "y")}
            whole = {member: value for member, value in step.items() if member != "groups"}
            sizes = {f"between_{one}": getattr(between, one) for one in ("height", "width", "halo")}
            step = {**whole, "operator": "expanded_depthwise", "x": first["x"], "first": inner, **sizes}
        steps.append(step)
        nodes.append(node)
    program.steps, program.nodes = steps, nodes


def _joins(program: Program, first: dict[str, Any], second: dict[str, Any], uses: Counter[int]) -> bool:
    if not (first["operator"] == second["operator"] == "convolution" and second["x"] == first.get("y")):
        return False
    x, between, y = (program.layouts[value] for value in (first["x"], first["y"], second["y"]))
    return (
        1 < second.get("groups", 1) == between.channels == y.channels
        and first.get("groups", 1) == 1
        and not any(member in step for step in (first, second) for member in ("method", "residual"))
        and first.get("activation") in PIXEL_ACTIVATIONS
        and second.get("activation") in PIXEL_ACTIVATIONS
        and uses[program.owner(first["y"])] == 2
        and x.channels * first["height"] * first["width"] <= EXPANSION_COLUMNS
        and y.height * y.width >= EXPANSION_PIXELS
        and 4 * between.floats // between.images >= EXPANSION_BYTES
    )
