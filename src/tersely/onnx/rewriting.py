"""A graph while it is rewritten: who computes what, how often it is read, and which constants are single numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tersely.graph.graph import Node
from tersely.onnx.call import Builder
from tersely.onnx.values import Shape

CLOSE = 1e-5
"""How much a number that exporters round may differ from what is meant, as a share."""


DEPTH = 6
"""Of products in products that are looked into."""


def is_close(a: float | None, b: float) -> bool:
    return a is not None and math.isclose(a, b, rel_tol=CLOSE, abs_tol=0.0)


@dataclass(frozen=True)
class Product:
    """A product of values and of a number."""

    number: float
    factors: tuple[str, ...]


class Rewriting:
    """nodes: by what they compute, in order. A pass replaces the last node of what it finds; `swept` drops the others."""

    def __init__(self, builder: Builder, outputs: Sequence[str]) -> None:
        self.builder, self.outputs = builder, list(outputs)
        self.nodes = {node.output: node for node in builder.nodes}
        self._earlier: dict[str, list[Node]] = {}
        self.count()

    def count(self) -> None:
        reads = [name for node in self.nodes.values() for name in node.inputs.values()]
        self.uses = Counter([*reads, *self.outputs])

    def node(self, name: str, *operators: str) -> Node | None:
        """What computes a value, where it is one of these operators."""
        node = self.nodes.get(name)
        return node if node is not None and node.operator in operators else None

    def once(self, name: str, *operators: str) -> Node | None:
        """The same, where nobody else reads the value."""
        return self.node(name, *operators) if self.uses[name] == 1 else None

    def shape(self, name: str) -> Shape:
        return self.builder.shapes[name]

    def number(self, name: str) -> float | None:
        """A constant that is a single number."""
        array = self.builder.arrays.get(name)
        return float(array.reshape(())) if array is not None and array.size == 1 else None

    def is_vector(self, name: str, length: Any) -> bool:
        """Whether a constant has one number for each place of a last axis."""
        array = self.builder.arrays.get(name)
        return array is not None and array.ndim > 0 and array.shape[-1] == length == array.size

    def split(self, node: Node) -> tuple[str, float] | None:
        """A sum or product of a value and a number."""
        for one, other in (("x", "z"), ("z", "x")):
            number = self.number(node.inputs[other])
            if number is not None and node.inputs[one] not in self.builder.arrays:
                return node.inputs[one], number
        return None

    def product(self, name: str, inside: bool = False, depth: int = DEPTH) -> Product:
        """All factors of a value; products that others read as well are factors themselves, but for the first."""
        node = self.once(name, "multiply", "divide") if inside else self.node(name, "multiply", "divide")
        if node is None or not depth:
            number = self.number(name)
            return Product(1.0, (name,)) if number is None else Product(number, ())
        if node.operator == "divide":
            by = self.number(node.inputs["z"])
            if not by:
                return Product(1.0, (name,))
            over = self.product(node.inputs["x"], True, depth - 1)
            return Product(over.number / by, over.factors)
        x, z = (self.product(node.inputs[role], True, depth - 1) for role in ("x", "z"))
        return Product(x.number * z.number, (*x.factors, *z.factors))

    def replace(self, output: str, operator: str, inputs: dict[str, str], **attributes: Any) -> None:
        self.nodes[output] = Node(operator, inputs, output, attributes)

    def constant(self, wanted: str, array: np.ndarray) -> str:
        name = self.builder.claim(wanted)
        self.builder.arrays[name], self.builder.shapes[name] = array, array.shape
        return name

    def before(self, output: str, node: Node, shape: Shape) -> None:
        """A new node, computed before another one."""
        self.builder.shapes[node.output] = shape
        self.nodes[node.output] = node
        self._earlier.setdefault(output, []).append(node)

    def swept(self) -> list[Node]:
        """The nodes that outputs depend on."""
        moved = {node.output for some in self._earlier.values() for node in some}
        ordered: list[Node] = []
        for node in self.nodes.values():
            if node.output not in moved:
                ordered += [*self._earlier.get(node.output, []), node]
        read = set(self.outputs)
        kept: list[Node] = []
        for node in reversed(ordered):
            if node.output in read:
                kept.append(node)
                read.update(node.inputs.values())
        return kept[::-1]

    def sweep(self) -> None:
        self.nodes = {node.output: node for node in self.swept()}
        self._earlier.clear()
        self.count()


def other_of(factors: Iterable[str], name: str) -> str | None:
    """The other one of two."""
    found = list(factors)
    if len(found) != 2 or name not in found:
        return None
    found.remove(name)
    return found[0]
