"""A network as a graph: nodes in an order in which they can be computed, and names for what is between them.

A graph knows no shapes: they follow from those of its inputs (`operators.infer`), so one graph serves every batch and
image size. Constants - weights, statistics - are named by nodes and kept beside the graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tersely.core.errors import ArgumentError

VERSION = 1


@dataclass(frozen=True)
class Node:
    """One operator. inputs: names of values or constants by role; output: the name of what it computes."""

    operator: str
    inputs: Mapping[str, str]
    output: str
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        roles = ", ".join(f"{role}={name}" for role, name in self.inputs.items())
        extra = "".join(f", {key}={value}" for key, value in self.attributes.items())
        return f"{self.output} = {self.operator}({roles}{extra})"


@dataclass(frozen=True)
class Graph:
    """inputs, outputs: names of values, in order. nodes: each after those that it needs.

    examples: shapes of inputs that the graph was made with, for those who want to try it; {} where nobody said.
    lengths: of the axes of inputs that the graph is made for, by name; None where any will do, a word where any will do
    that is the same wherever the word stands. input_dtypes, output_dtypes: of the network as it was imported, in order,
    by NumPy's names; () where nobody said. The executor computes in float32 whatever they are.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: frozenset[str]
    examples: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    lengths: Mapping[str, tuple[int | str | None, ...]] = field(default_factory=dict)
    input_dtypes: tuple[str, ...] = ()
    output_dtypes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"graph({', '.join(self.inputs)}):", *(f"    {node}" for node in self.nodes)]
        return "\n".join([*lines, f"    return {', '.join(self.outputs)}"])

    def check(self) -> None:
        """Raises ArgumentError where a name is used before it is computed, or computed twice."""
        known = {*self.inputs, *self.constants}
        if len(known) != len(self.inputs) + len(self.constants):
            raise ArgumentError("an input of the graph has the name of another input or of a constant")
        for node in self.nodes:
            for role, name in node.inputs.items():
                if name not in known:
                    raise ArgumentError(f"{node.output}: {role} {name!r} is not computed before it")
            if node.output in known:
                raise ArgumentError(f"{node.output!r} is computed twice")
            known.add(node.output)
        if unknown := set(self.lengths) - set(self.inputs):
            raise ArgumentError(f"lengths of {sorted(unknown)[0]!r}, which is no input")
        for what, names, dtypes in (
            ("input", self.inputs, self.input_dtypes),
            ("output", self.outputs, self.output_dtypes),
        ):
            if dtypes and len(dtypes) != len(names):
                raise ArgumentError(f"{len(dtypes)} {what} dtypes of {len(names)} {what}s")
        for name in self.outputs:
            if name not in known:
                raise ArgumentError(f"the output {name!r} is never computed")

    def uses(self) -> Counter[str]:
        """How often each value is read, as an output of the graph too."""
        return Counter([name for node in self.nodes for name in node.inputs.values()] + list(self.outputs))

    def producer(self) -> dict[str, Node]:
        return {node.output: node for node in self.nodes}

    def with_nodes(self, nodes: Sequence[Node], outputs: Sequence[str] | None = None) -> Graph:
        """The same graph of other nodes; constants that none of them reads are dropped."""
        read = {name for node in nodes for name in node.inputs.values()}
        kept = tuple(self.outputs if outputs is None else outputs)
        return replace(self, outputs=kept, nodes=tuple(nodes), constants=frozenset(self.constants & read))

    def to_json(self) -> dict[str, Any]:
        said: dict[str, Any] = {}
        if self.lengths:
            said["lengths"] = {name: list(one) for name, one in self.lengths.items()}
        if self.input_dtypes:
            said["input_dtypes"] = list(self.input_dtypes)
        if self.output_dtypes:
            said["output_dtypes"] = list(self.output_dtypes)
        return {
            "version": VERSION,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "constants": sorted(self.constants),
            "examples": {name: list(shape) for name, shape in self.examples.items()},
            **said,
            "nodes": [
                {
                    "operator": node.operator,
                    "inputs": dict(node.inputs),
                    "output": node.output,
                    "attributes": dict(node.attributes),
                }
                for node in self.nodes
            ],
        }


def renamed(nodes: Sequence[Node], names: Mapping[str, str]) -> Iterator[Node]:
    """The nodes, reading other values where `names` says so."""
    for node in nodes:
        inputs = {role: names.get(name, name) for role, name in node.inputs.items()}
        yield Node(node.operator, inputs, node.output, node.attributes)
