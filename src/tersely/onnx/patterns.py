"""What exporters took apart, put together again: passes over the graph of a model, each with one job."""

from __future__ import annotations

from collections.abc import Sequence

from tersely.graph.graph import Node
from tersely.onnx.call import Builder


def run(builder: Builder, outputs: Sequence[str]) -> tuple[list[Node], list[str]]:
    return list(builder.nodes), list(outputs)
