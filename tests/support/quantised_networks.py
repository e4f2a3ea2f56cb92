"""Small quantised graphs as a QDQ model says them, with their constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import tersely
from tersely.graph import reference
from tersely.graph.graph import Graph, Node
from tersely.graph.pipeline import Pipeline
from tersely.graph.quantised_operators import RANGES

WINDOW = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}


@dataclass(frozen=True)
class Scales:
    """Scale and zero point of a value."""

    scale: float
    zero: int


class Network:
    """Nodes as they are added; `graph` and `constants` are what they come to."""

    def __init__(self, dtype: str = "uint8") -> None:
        self.dtype = dtype
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}

    def _scales(self, name: str, scales: Scales) -> dict[str, str]:
        self.constants[f"{name}.scale"] = np.array(scales.scale, np.float32)
        self.constants[f"{name}.zero"] = np.array(scales.zero, self.dtype)
        return {"scale": f"{name}.scale", "zero": f"{name}.zero"}

    def quantise(self, x: str, name: str, scales: Scales) -> str:
        """Quantises and dequantises x, under this name; returns the floats."""
        inputs = self._scales(name, scales)
        self.nodes.append(Node("quantise", {"x": x, **inputs}, name, {"dtype": self.dtype}))
        self.nodes.append(Node("dequantise", {"x": name, **inputs}, f"{name}.floats"))
        return f"{name}.floats"

    def constant(self, name: str, array: np.ndarray, scale: np.ndarray, zero: np.ndarray | None = None) -> str:
        self.constants[name], self.constants[f"{name}.scale"] = array, np.asarray(scale)
        inputs = {"x": name, "scale": f"{name}.scale"}
        if zero is not None:
            self.constants[f"{name}.zero"], inputs["zero"] = zero, f"{name}.zero"
        self.nodes.append(Node("dequantise", inputs, f"{name}.floats", {"axis": 0}))
        return f"{name}.floats"

    def add(self, operator: str, output: str, inputs: Mapping[str, str], **attributes: Any) -> str:
        self.nodes.append(Node(operator, inputs, output, attributes))
        return output

    def graph(self, *outputs: str) -> Graph:
        return Graph(("x",), outputs, tuple(self.nodes), frozenset(self.constants))

    def pipeline(self, *outputs: str, formulation: str | None = None, **encoding: Any) -> Pipeline:
        """Bytes of weights coded where a formulation is named. encoding: as of `tersely.encode`."""
        graph = self.graph(*outputs)
        constants: dict[str, Any] = dict(self.constants)
        if formulation is not None:
            for name, array in self.constants.items():
                if array.dtype in (np.int8, np.uint8) and array.ndim > 1:
                    constants[name] = tersely.encode(array, formulation=formulation, **encoding)
        return Pipeline(graph, constants)


def weights(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: str, per_channel: bool, zeros: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers, scales and zero points."""
    low, high = RANGES[dtype]
    count = shape[0] if per_channel else 1
    numbers = rng.integers(low, high + 1, shape).astype(dtype)
    zero = rng.integers(low, high + 1, count) if zeros else np.full(count, 0 if dtype == "int8" else 128)
    scale = (0.002 + 0.01 * rng.random(count)).astype(np.float32)
    if not per_channel:
        scale, zero = scale.reshape(()), zero.reshape(())
    return numbers, scale, zero.astype(dtype)


def expected(pipeline: Pipeline, *inputs: np.ndarray) -> list[np.ndarray]:
    """What the reference makes of the graph as it is lowered."""
    constants = {name: one if isinstance(one, np.ndarray) else one.decode() for name, one in pipeline.constants.items()}
    return reference.run(pipeline.graph, dict(zip(pipeline.graph.inputs, inputs, strict=True)), constants)
