"""What exporters took apart, put together again: rewritings of a model's graph, each with one job."""

from __future__ import annotations

from collections.abc import Sequence

from tersely.graph.graph import Node
from tersely.onnx import pattern_activations, pattern_attention, pattern_norms
from tersely.onnx.call import Builder
from tersely.onnx.rewriting import Rewriting


def run(builder: Builder, outputs: Sequence[str]) -> tuple[list[Node], list[str]]:
    """The nodes and outputs of the rewritten graph; nodes that nothing depends on are left out."""
    rewriting = Rewriting(builder, outputs)
    rewriting.sweep()
    for one in (
        pattern_activations.run,
        pattern_norms.biases,
        pattern_norms.norms,
        pattern_norms.affine,
        pattern_attention.run,
        pattern_norms.other_orientations,
    ):
        one(rewriting)
        rewriting.sweep()
    return list(rewriting.nodes.values()), rewriting.outputs
