"""A network that runs on compressed weights, NumPy in and out: a graph, its constants, a program for each shape."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tersely.backends.cpu import native
from tersely.backends.cpu.threads import workers_of
from tersely.core.errors import ArgumentError
from tersely.graph import passes
from tersely.graph.graph import Graph, Node
from tersely.graph.lowering import lower
from tersely.graph.lowering.program import Program
from tersely.graph.operators import Shape
from tersely.tensors.tensor import Tensor

Constant = Tensor | np.ndarray


class Pipeline:
    """graph: as it was imported. constants: weights as coded tensors, everything else as float32 arrays."""

    def __init__(self, graph: Graph, constants: Mapping[str, Constant]) -> None:
        graph.check()
        self.source, self.original = graph, {name: constants[name] for name in sorted(graph.constants)}
        self.constants: dict[str, Constant] = dict(self.original)
        self.graph = passes.run(graph, self.constants)
        self._programs: dict[tuple[Shape, ...], tuple[Program, Any]] = {}
        self._natives: dict[str, Any] = {}

    def program(self, *shapes: Shape) -> Program:
        """The program for inputs of these shapes."""
        return self._opened(shapes)[0]

    def run(self, *inputs: np.ndarray, threads: int | None = None) -> list[np.ndarray]:
        """The network's outputs, float32, for float32 inputs."""
        return self._run(inputs, threads, False)[0]

    def profile(self, *inputs: np.ndarray, threads: int | None = None) -> list[tuple[str, str, int]]:
        """(node, operator, nanoseconds) of each step of one run."""
        program, _ = self._opened(tuple(one.shape for one in inputs))
        times = self._run(inputs, threads, True)[1]
        return [
            (name, str(step["operator"]), time)
            for name, step, time in zip(program.nodes, program.steps, times, strict=True)
        ]

    def _run(
        self, inputs: Sequence[np.ndarray], threads: int | None, timed: bool
    ) -> tuple[list[np.ndarray], list[int]]:
        if len(inputs) != len(self.graph.inputs):
            raise ArgumentError(f"the network takes {len(self.graph.inputs)} inputs, not {len(inputs)}")
        arrays = [np.ascontiguousarray(one, np.float32) for one in inputs]
        program, opened = self._opened(tuple(one.shape for one in arrays))
        outputs = [np.empty(shape, np.float32) for shape in program.output_shapes]
        count = workers_of(threads)
        return outputs, opened.run(arrays, outputs, count, timed)

    def _opened(self, shapes: tuple[Shape, ...]) -> tuple[Program, Any]:
        if shapes not in self._programs:
            known = {name: tuple(constant.shape) for name, constant in self.constants.items()}
            program = lower(self.graph, {**known, **dict(zip(self.graph.inputs, shapes, strict=True))})
            constants = {name: self._native(name) for name in self.graph.constants}
            sizes = [int(np.prod(shape)) for shape in shapes]
            out = [int(np.prod(shape)) for shape in program.output_shapes]
            opened = native.module.open_program(json.dumps(program.to_json()), constants, sizes, out)
            self._programs[shapes] = program, opened
        return self._programs[shapes]

    def _native(self, name: str) -> Any:
        if name not in self._natives:
            constant = self.constants[name]
            matrix = self._matrix(name, constant) if isinstance(constant, Tensor) else None
            if matrix is None:
                array = constant.decode() if isinstance(constant, Tensor) else constant
                flat = np.ascontiguousarray(array, np.float32).reshape(-1)
                matrix = np.concatenate([flat, np.zeros(-flat.size % 16, np.float32)])
            self._natives[name] = matrix
        return self._natives[name]

    def _matrix(self, name: str, tensor: Tensor) -> Any:
        """The matrix that all its readers can multiply by as it is coded; None where they take decoded numbers."""
        if tensor.encoded.node.formulation == "dense":
            return None
        matrix = native.open_matrix(tensor.encoded)
        for node in self.graph.nodes:
            if node.inputs.get("weight") != name:
                continue
            if node.operator == "convolution" and not matrix.convolves(*_groups(node, tensor.shape)):
                return None
            if node.operator == "linear" and tensor.geometry.view != "matrix":
                return None
        return matrix


def _groups(node: Node, weight: Shape) -> tuple[int, int, int, int]:
    """Groups, channels and outputs of each, and taps, as the executor counts them.

    A depthwise convolution is one group of one channel: each row of its weight meets pixels of its own.
    """
    outputs, channels, height, width = weight
    groups = node.attributes["groups"]
    if channels == 1 and groups == outputs:
        return 1, 1, outputs, height * width
    return groups, channels, outputs // groups, height * width
