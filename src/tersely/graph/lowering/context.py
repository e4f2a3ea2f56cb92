"""What lowering an operator sees, and what it writes to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tersely.core.errors import ArgumentError
from tersely.graph.graph import Graph, Node
from tersely.graph.lowering.layouts import layout_of
from tersely.graph.lowering.program import Layout, Program
from tersely.graph.operators import Shape


class Context:
    """shapes: of every value and constant. winograd: whether convolutions may take Winograd's method."""

    def __init__(self, graph: Graph, shapes: dict[str, Shape], winograd: bool) -> None:
        self.graph, self.shapes, self.winograd = graph, shapes, winograd
        self.program = Program()
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        """The number of a value. Raises ArgumentError for constants."""
        if name not in self._numbers:
            raise ArgumentError(f"{name}: a constant where the executor takes a value")
        return self._numbers[name]

    def layout(self, name: str) -> Layout:
        return self.program.layouts[self.number(name)]

    def new(self, name: str, layout: Layout) -> int:
        """A value of the graph that is to be written; its number."""
        self._numbers[name] = len(self.program.layouts)
        self.program.layouts.append(layout)
        return self._numbers[name]

    def output(self, node: Node) -> int:
        """The value that a node computes, in the layout that its shape and its readers ask for."""
        return self.new(node.output, layout_of(node.output, self.graph, self.shapes))

    def emit(self, operator: str, name: str, y: int, **members: Any) -> None:
        """A step that writes value y for the graph's node `name`."""
        self.add({"operator": operator, "y": y, **members}, name)

    def add(self, step: dict[str, Any], name: str) -> None:
        self.program.steps.append(step)
        self.program.nodes.append(name)


Lower = Callable[[Context, Node], None]


def finish_of(node: Node) -> dict[str, str]:
    """The activation that a node ends with, as a member of its step."""
    return {"activation": node.attributes["activation"]} if "activation" in node.attributes else {}
