"""Small graphs with their constants, and the same as pipelines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import tersely
from tersely.graph.graph import Graph, Node
from tersely.graph.pipeline import Pipeline

WEIGHTS = ("convolution", "linear")


def convolution(x: str, weight: str, output: str, **given: Any) -> Node:
    """A node; stride, padding, dilation and groups as given, other keywords are inputs."""
    names = ("stride", "padding", "dilation", "groups", "activation")
    attributes = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
    attributes |= {key: value for key, value in given.items() if key in names}
    inputs = {"x": x, "weight": weight, **{key: value for key, value in given.items() if key not in names}}
    return Node("convolution", inputs, output, attributes)


def pipeline_of(graph: Graph, constants: Mapping[str, np.ndarray], **encoding: Any) -> Pipeline:
    """Weights of products coded (encoding: as of `tersely.encode`), everything else as it is."""
    weights = {node.inputs["weight"] for node in graph.nodes if node.operator in WEIGHTS}
    return Pipeline(
        graph,
        {name: tersely.encode(one, **encoding) if name in weights else one for name, one in constants.items()},
    )


def residual_network(rng: np.random.Generator, channels: int = 32) -> tuple[Graph, dict[str, np.ndarray]]:
    """Images of 3 channels: convolution, norm, pooling, a residual block, pooling, rows, a product."""

    def normal(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    constants = {
        "first": normal(channels, 3, 3, 3),
        "second": normal(channels, channels, 3, 3),
        "third": normal(channels, channels, 1, 1),
        "last": normal(48, channels),
        "last.bias": rng.standard_normal(48).astype(np.float32),
    }
    nodes = [convolution("x", "first", "a", stride=[2, 2], padding=[1, 1])]
    for number, (before, after) in enumerate((("a", "b"), ("e", "f"), ("g", "h"))):
        roles = {"mean": rng.standard_normal, "variance": rng.random, "weight": rng.random, "bias": rng.standard_normal}
        for role, draw in roles.items():
            constants[f"norm{number}.{role}"] = draw(channels).astype(np.float32)
        inputs = {"x": before, **{role: f"norm{number}.{role}" for role in roles}}
        norm = Node("batch_norm", inputs, after, {"eps": 1e-3})
        if number == 0:
            pool = {"kernel": [3, 3], "stride": [2, 2], "padding": [1, 1], "dilation": [1, 1], "ceil": False}
            nodes += [norm, Node("relu", {"x": "b"}, "c"), Node("max_pool", {"x": "c"}, "d", pool)]
            nodes += [convolution("d", "second", "e", padding=[1, 1])]
        elif number == 1:
            nodes += [norm, Node("relu", {"x": "f"}, "f1"), convolution("f1", "third", "g")]
        else:
            nodes += [norm, Node("add", {"x": "h", "z": "d"}, "i"), Node("relu", {"x": "i"}, "j")]
    nodes += [
        Node("adaptive_average_pool", {"x": "j"}, "k", {"size": [1, 1]}),
        Node("flatten", {"x": "k"}, "l", {"first": 1, "last": -1}),
        Node("linear", {"x": "l", "weight": "last", "bias": "last.bias"}, "y"),
    ]
    return Graph(("x",), ("y",), tuple(nodes), frozenset(constants)), constants
