"""The encoder as a graph: nodes that name what they read, so that tersely runs all of it and not one product at a time.

See: Devlin et al., "BERT", 2019; Reimers and Gurevych, "Sentence-BERT", 2019 (mean pooling, unit length).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import tersely
from tersely.graph.graph import Graph, Node
from tersely.graph.pipeline import Pipeline

LAYERS, HEADS, HEAD_SIZE = 6, 12, 32
EPS = 1e-12
INPUTS = ("ids", "positions", "mask")
"""Numbers of tokens [sentences, tokens], 0, 1, 2, ... [1, tokens], and 1 for every token that is none of padding."""


class Nodes(list[Node]):
    """Nodes in the order in which they are added; each method returns the name of what its node computes."""

    def add(self, operator: str, output: str, attributes: Mapping[str, Any] | None = None, **inputs: str) -> str:
        self.append(Node(operator, inputs, output, dict(attributes or {})))
        return output

    def linear(self, x: str, layer: str) -> str:
        return self.add("linear", layer, x=x, weight=f"{layer}.weight", bias=f"{layer}.bias")

    def norm(self, x: str, layer: str) -> str:
        return self.add("layer_norm", layer, {"eps": EPS}, x=x, weight=f"{layer}.weight", bias=f"{layer}.bias")

    def heads(self, x: str) -> str:
        """[sentences, tokens, channels] as [sentences, heads, tokens, channels of a head]: nothing is moved."""
        apart = self.add("reshape", f"{x}.heads", {"shape": [0, 0, HEADS, HEAD_SIZE]}, x=x)
        return self.add("transpose", f"{x}.by_head", {"axes": [1, 2]}, x=apart)

    def embeddings(self) -> str:
        words = self.add("embedding", "words", x="ids", weight="embeddings.word_embeddings.weight")
        places = self.add("embedding", "places", x="positions", weight="embeddings.position_embeddings.weight")
        x = self.add("add", "tokens", x=words, z=places)
        x = self.add("add", "typed", x=x, z="token_type")
        return self.norm(x, "embeddings.LayerNorm")

    def layer(self, x: str, name: str, mask: str) -> str:
        """Attention, then two products, each added to what it has read."""
        q, k, v = (self.heads(self.linear(x, f"{name}.attention.self.{one}")) for one in ("query", "key", "value"))
        mixed = self.add("attention", f"{name}.mixed", {"boolean": True}, x=q, k=k, v=v, mask=mask)
        mixed = self.add("transpose", f"{name}.by_token", {"axes": [1, 2]}, x=mixed)
        mixed = self.add("reshape", f"{name}.joined", {"shape": [0, 0, -1]}, x=mixed)
        x = self.add("add", f"{name}.attended", x=self.linear(mixed, f"{name}.attention.output.dense"), z=x)
        x = self.norm(x, f"{name}.attention.output.LayerNorm")
        inner = self.add("gelu", f"{name}.gelu", x=self.linear(x, f"{name}.intermediate.dense"))
        x = self.add("add", f"{name}.fed", x=self.linear(inner, f"{name}.output.dense"), z=x)
        return self.norm(x, f"{name}.output.LayerNorm")

    def sentences(self, x: str) -> str:
        """The mean of a sentence's tokens, of length 1."""
        mask = self.add("reshape", "mask.tokens", {"shape": [0, -1, 1]}, x="mask")
        total = self.add("sum", "total", {"axes": [1], "keep": False}, x=self.add("multiply", "seen", x=x, z=mask))
        count = self.add("sum", "count", {"axes": [1], "keep": True}, x="mask")
        mean = self.add("divide", "mean", x=total, z=count)
        squares = self.add("multiply", "squares", x=mean, z=mean)
        length = self.add("sqrt", "length", x=self.add("sum", "squared", {"axes": [1], "keep": True}, x=squares))
        return self.add("divide", "sentences", x=mean, z=length)


def graph() -> Graph:
    nodes = Nodes()
    x = nodes.embeddings()
    mask = nodes.add("reshape", "mask.keys", {"shape": [0, 1, 1, -1]}, x="mask")
    for number in range(LAYERS):
        x = nodes.layer(x, f"encoder.layer.{number}", mask)
    outputs = (nodes.sentences(x),)
    computed = {node.output for node in nodes} | set(INPUTS)
    constants = frozenset(name for node in nodes for name in node.inputs.values() if name not in computed)
    examples = {"ids": (1, 16), "positions": (1, 16), "mask": (1, 16)}
    return Graph(INPUTS, outputs, tuple(nodes), constants, examples)


def pipeline(tensors: Mapping[str, tersely.Tensor]) -> Pipeline:
    """The network on a file's tensors: matrices as they are coded, vectors as numbers."""
    constants = {name: tensor if tensor.ndim > 1 else tensor.decode() for name, tensor in tensors.items()}
    constants["token_type"] = tensors["embeddings.token_type_embeddings.weight"].rows(0, 1)[0]
    return Pipeline(graph(), constants)


def embed(encoder: Pipeline, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Unit vectors [sentences, channels]."""
    (vectors,) = encoder.run(ids, np.arange(ids.shape[1])[None], mask)
    return vectors
