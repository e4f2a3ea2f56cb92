"""What a run of a network took, node by node."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from tersely.core.errors import DestinationError
from tersely.graph.graph import Graph
from tersely.graph.operators import Shape
from tersely.graph.picture.svg import svg


@dataclass(frozen=True)
class NodeTime:
    """One node of the graph. operator: of the step that has its weight, or else of its last one. form: of its weight, "" where it has none.

    method: how a product is computed that is not a direct one in float32: "winograd", "sparse", "bfloat16"; else "".
    """

    node: str
    operator: str
    form: str
    shape: tuple[int, ...]
    nanoseconds: int
    method: str = ""


@dataclass(frozen=True)
class Profile:
    """nodes: in the order in which they run, times of one run. arena_bytes: of everything between nodes.

    graph, shapes: as it ran, and of its values and constants.
    """

    nodes: tuple[NodeTime, ...]
    threads: int
    isa: str
    arena_bytes: int
    graph: Graph = field(repr=False)
    shapes: Mapping[str, Shape] = field(repr=False)

    @property
    def nanoseconds(self) -> int:
        return sum(one.nanoseconds for one in self.nodes)

    def to_json(self) -> dict[str, Any]:
        return {
            "nanoseconds": self.nanoseconds,
            "threads": self.threads,
            "isa": self.isa,
            "arena_bytes": self.arena_bytes,
            "nodes": [
                {
                    "node": one.node,
                    "operator": one.operator,
                    "method": one.method,
                    "form": one.form,
                    "shape": list(one.shape),
                    "nanoseconds": one.nanoseconds,
                }
                for one in self.nodes
            ],
        }

    def rows(self) -> list[tuple[str, str, str, str, str, str]]:
        """Node, operator, shape of its result, form of its weight, milliseconds, share of the whole; as text."""
        total = max(1, self.nanoseconds)
        return [
            (
                one.node,
                f"{one.operator}, {one.method}" if one.method else one.operator,
                " x ".join(map(str, one.shape)),
                one.form,
                f"{one.nanoseconds / 1e6:.3f}",
                f"{100 * one.nanoseconds / total:.1f} %",
            )
            for one in self.nodes
        ]

    def svg(self) -> str:
        """Returns a picture of the graph as it ran, one SVG document: nodes by their share of the time."""
        times: dict[str, int] = {}
        for one in self.nodes:
            if one.operator != "output":
                times[one.node] = times.get(one.node, 0) + one.nanoseconds
        return svg(self.graph, self.shapes, times, {one.node: one.form for one in self.nodes}, self.summary())

    def save_graph(self, path: str | os.PathLike[str]) -> None:
        """Writes that picture to a file.

        Args:
            path: the file, an SVG; an existing one is replaced.

        Raises:
            DestinationError: where the file cannot be written.
        """
        try:
            Path(path).write_text(self.svg(), encoding="utf-8")
        except OSError as error:
            raise DestinationError(f"{os.fspath(path)}: {error.strerror}: choose another path") from None

    def summary(self) -> str:
        return (
            f"{self.nanoseconds / 1e6:.2f} ms in {len(self.nodes)} nodes, {self.threads} threads, {self.isa}; "
            f"{self.arena_bytes / 1e6:.1f} MB between them"
        )

    def __str__(self) -> str:
        rows = [("node", "operator", "result", "weight", "ms", "share"), *self.rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(6)]
        lines = ["  ".join(_cell(text, widths[i], i > 3) for i, text in enumerate(row)).rstrip() for row in rows]
        return "\n".join([*lines, self.summary()])


def median_of(profiles: Sequence[Profile]) -> Profile:
    """The median time of each node over runs of one network on inputs of the same shapes.

    One run may have been disturbed anywhere; the fastest of several is as much so as the others, elsewhere.
    """
    nodes = [
        replace(together[0], nanoseconds=int(median(one.nanoseconds for one in together)))
        for together in zip(*(one.nodes for one in profiles), strict=True)
    ]
    return replace(profiles[0], nodes=tuple(nodes))


def _cell(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def merged(steps: Sequence[tuple[str, Mapping[str, Any], int]]) -> list[tuple[str, str, str, int]]:
    """(node, operator, method, nanoseconds) of (node, step, nanoseconds), those of one node that follow each other as one.

    The operator is that of the step that has the node's weight, or else of the last one.
    """
    found: list[tuple[str, str, str, int]] = []
    weighs = False
    for node, step, nanoseconds in steps:
        operator, method = str(step["operator"]), str(step.get("method", ""))
        if found and found[-1][0] == node and operator != "output":
            if weighs and "weight" not in step:
                operator, method = found[-1][1:3]
            nanoseconds += found.pop()[3]
        else:
            weighs = False
        weighs |= "weight" in step
        found.append((node, operator, method, nanoseconds))
    return found
