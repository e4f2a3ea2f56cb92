"""Whether memory holds a program: refused before anything is allocated, with what it is that takes so much."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tersely.backends.cpu import memory
from tersely.core.errors import TooLargeError
from tersely.graph.lowering.program import Program
from tersely.graph.operators import Shape


def check(program: Program, inputs: Sequence[Shape]) -> None:
    """Raises TooLargeError where inputs, outputs and what is between nodes take more memory than the process may have."""
    limit = memory.limit_bytes()
    if _needed(program, inputs) > limit:
        raise too_large(program, inputs, f"more than the {_bytes(limit)} that this process may have")


def _needed(program: Program, inputs: Sequence[Shape]) -> int:
    return 4 * (program.arena + sum(map(math.prod, [*inputs, *program.output_shapes])))


def too_large(program: Program, inputs: Sequence[Shape], reason: str) -> TooLargeError:
    """The error, with the largest value and the node that computes it."""
    largest = max(range(len(program.layouts)), key=lambda number: program.layouts[number].floats, default=None)
    what = ""
    if largest is not None:
        owner = next(
            (node for node, step in zip(program.nodes, program.steps, strict=True) if step.get("y") == largest), ""
        )
        shape = f" {list(program.shapes[owner])}" if owner in program.shapes else ""
        what = f" (the largest value, of {owner!r}{shape}, {_bytes(4 * program.layouts[largest].floats)})"
    shapes = ", ".join(str(list(shape)) for shape in inputs)
    return TooLargeError(
        f"for inputs {shapes} the network needs {_bytes(_needed(program, inputs))}{what}, {reason}: "
        "run fewer or smaller images or sequences at a time"
    )


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
