"""Rewritings of a graph, each with one job; `run` does all of them in order."""

from __future__ import annotations

from typing import Any

from tersely.graph.graph import Graph
from tersely.graph.passes import batch_norm, fuse, padding, quantised, quantised_constants


def run(graph: Graph, constants: dict[str, Any]) -> Graph:
    """The graph as it is lowered. constants: by name; what passes compute is added."""
    for one in (quantised.run, quantised_constants.run, padding.run, batch_norm.run, fuse.run):
        graph = one(graph, constants)
        graph.check()
    return graph
