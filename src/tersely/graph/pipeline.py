"""A network that runs on compressed weights, NumPy in and out: a graph, its constants, a program for each shape."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tersely.backends.cpu import isa, native
from tersely.backends.cpu.threads import workers_of
from tersely.codes import registry
from tersely.core.errors import ArgumentError
from tersely.graph import passes
from tersely.graph.graph import Graph, Node
from tersely.graph.lowering import lower
from tersely.graph.lowering.program import Program
from tersely.graph.operators import Shape
from tersely.graph.profile import NodeTime, Profile, merged
from tersely.graph.quantised_operators import PRODUCTS
from tersely.graph.weights import in_out_of
from tersely.tensors.tensor import Tensor

Constant = Tensor | np.ndarray


class Pipeline:
    """graph: as it was imported. constants: weights as coded tensors, everything else as arrays: float32, and integers of
    quantised networks (int8, uint8, int32)."""

    def __init__(self, graph: Graph, constants: Mapping[str, Constant]) -> None:
        graph.check()
        self.source, self.original = graph, {name: constants[name] for name in sorted(graph.constants)}
        self.constants: dict[str, Constant] = dict(self.original)
        self.graph = passes.run(graph, self.constants)
        self._in_out = in_out_of(self.graph)
        self._programs: dict[tuple[tuple[Shape, ...], tuple[str, ...]], tuple[Program, Any]] = {}
        self._natives: dict[str, Any] = {}

    def program(self, *shapes: Shape, kinds: str = "") -> Program:
        """The program for inputs of these shapes. kinds: "f" or "i", floats or integers, for each; floats without."""
        return self._opened(shapes, tuple(kinds or "f" * len(shapes)))[0]

    def run(self, *inputs: np.ndarray, threads: int | None = None) -> list[np.ndarray]:
        """Returns the network's outputs, float32, or int8 or uint8 where it leaves them quantised.

        Args:
            inputs: float arrays, or integers and booleans where the network takes these; any batch and image size.
            threads: workers; None for `get_num_threads()`.

        Raises:
            ArgumentError: where inputs do not fit the network, with the node that says so.
        """
        return self._run(inputs, threads, False)[0]

    def profile(self, *inputs: np.ndarray, threads: int | None = None) -> Profile:
        """Returns what each node of one run took. Arguments and errors are those of `run`."""
        times = self._run(inputs, threads, True)[1]
        shapes, kinds = tuple(one.shape for one in inputs), tuple(_dtype_of(one).kind for one in inputs)
        program, opened = self._opened(shapes, kinds)
        steps = zip(program.nodes, program.steps, times, strict=True)
        forms = {node.output: self._form(node) for node in self.graph.nodes}
        nodes = [
            NodeTime(node, operator, forms.get(node, ""), program.shapes.get(node, ()), time)
            for node, operator, time in merged([(name, str(step["operator"]), time) for name, step, time in steps])
        ]
        return Profile(tuple(nodes), workers_of(threads), isa.active(), opened.arena_bytes)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the pipeline to one file, which `tersely.load_pipeline` opens.

        Args:
            path: the file; an existing one is replaced.

        Raises:
            ArgumentError: for names of weights that no file holds.
            DestinationError: where the file cannot be written.
        """
        from tersely.graph import files  # which opens pipelines, too

        files.save(self, path)

    def _form(self, node: Node) -> str:
        weight = self.constants.get(node.inputs.get("weight", ""))
        return registry.label(weight.encoded.node.to_json()) if isinstance(weight, Tensor) else ""

    @property
    def weight_bytes(self) -> tuple[int, int]:
        """Bytes of all constants as they were, and as they are held."""
        plain = held = 0
        for constant in self.original.values():
            plain += constant.nbytes
            held += constant.encoded.nbytes_stored if isinstance(constant, Tensor) else constant.nbytes
        return plain, held

    def _run(
        self, inputs: Sequence[np.ndarray], threads: int | None, timed: bool
    ) -> tuple[list[np.ndarray], list[int]]:
        if len(inputs) != len(self.graph.inputs):
            raise ArgumentError(f"the network takes {len(self.graph.inputs)} inputs, not {len(inputs)}")
        arrays = [np.asarray(one, _dtype_of(one), order="C") for one in inputs]
        program, opened = self._opened(tuple(one.shape for one in arrays), tuple(one.dtype.kind for one in arrays))
        outputs = [np.empty(shape, np.float32) for shape in program.output_shapes]
        count = workers_of(threads)
        try:
            times = opened.run(arrays, outputs, count, timed)
            return [_as(one, dtype) for one, dtype in zip(outputs, program.output_dtypes, strict=True)], times
        except ValueError as error:
            raise ArgumentError(str(error)) from None

    def _opened(self, shapes: tuple[Shape, ...], kinds: tuple[str, ...]) -> tuple[Program, Any]:
        """kinds: of the inputs' dtypes, "f" or "i"."""
        if (shapes, kinds) not in self._programs:
            known = {name: tuple(constant.shape) for name, constant in self.constants.items()}
            integers = {name for name, kind in zip(self.graph.inputs, kinds, strict=True) if kind == "i"}
            inputs = dict(zip(self.graph.inputs, shapes, strict=True))
            constants = {name: self._native(name) for name in self.graph.constants}
            products_only = self._products_only(constants)
            program = lower(self.graph, {**known, **inputs}, integers=integers, products_only=products_only)
            try:
                opened = native.module.open_program(json.dumps(program.to_json()), constants)
            except ValueError as error:
                raise ArgumentError(_by_node(str(error), program.nodes)) from None
            self._programs[shapes, kinds] = program, opened
        return self._programs[shapes, kinds]

    def _native(self, name: str) -> Any:
        if name not in self._natives:
            constant = self.constants[name]
            matrix = self._matrix(name, constant) if isinstance(constant, Tensor) else None
            if matrix is None:
                array = constant.decode() if isinstance(constant, Tensor) else constant
                if name in self._in_out:
                    array = array.T
                flat = np.ascontiguousarray(array, self._kept_as(name, array)).reshape(-1)
                if any(node.inputs.get("table") == name for node in self.graph.nodes) and flat.dtype == np.int8:
                    flat = flat.view(np.uint8) ^ np.uint8(128)  # numbers of bytes are counted from the least one
                matrix = np.concatenate([flat, np.zeros(-flat.size % 16, flat.dtype)])
            self._natives[name] = matrix
        return self._natives[name]

    def _kept_as(self, name: str, array: np.ndarray) -> np.dtype[Any]:
        """The dtype of which a constant is handed over: integers to products of bytes, else float32."""
        roles = {
            role
            for node in self.graph.nodes
            for role, read in node.inputs.items()
            if read == name and (node.operator in PRODUCTS or role == "table")
        }
        integers = ("int8", "uint8", "int32")
        return array.dtype if roles and str(array.dtype) in integers else np.dtype(np.float32)

    def _matrix(self, name: str, tensor: Tensor) -> Any:
        """The matrix that all its readers can multiply by as it is coded; None where they take decoded numbers."""
        if tensor.encoded.node.formulation == "dense":
            return None
        matrix = native.open_matrix(tensor.encoded)
        for node in self.graph.nodes:
            if matrix is None or node.inputs.get("weight") != name:
                continue
            if node.operator == "convolution" and not matrix.convolves(*_groups(node, tensor.shape)):
                return None
            if node.operator in PRODUCTS:
                return matrix
            if node.operator in ("linear", "embedding") and tensor.geometry.view != "matrix":
                return None
            if node.operator == "linear" and (tensor.geometry.orientation == "in_out") != (name in self._in_out):
                return None
        return matrix

    def _products_only(self, constants: Mapping[str, Any]) -> set[str]:
        """Weights of linear layers that have a product, but are no walk over words."""
        found = set()
        for node in self.graph.nodes:
            name = node.inputs.get("weight", "")
            matrix = constants.get(name)
            if node.operator == "linear" and not isinstance(matrix, np.ndarray):
                rows, columns = self.constants[name].shape
                if name in self._in_out:
                    rows, columns = columns, rows
                if matrix is not None and not matrix.convolves(1, columns, rows, 1):
                    found.add(name)
        return found


def _by_node(text: str, nodes: Sequence[str]) -> str:
    """What the executor says of a step, of the node that the step is part of."""
    number, colon, reason = text.removeprefix("step ").partition(": ")
    if not colon or not number.isdigit() or int(number) >= len(nodes):
        return text
    return f"{nodes[int(number)]}: {reason}"


def _groups(node: Node, weight: Shape) -> tuple[int, int, int, int]:
    """Groups, channels and outputs of each, and taps, as the executor counts them.

    A depthwise convolution is one group of one channel: each row of its weight meets pixels of its own.
    """
    outputs, channels, height, width = weight
    groups = node.attributes["groups"]
    if channels == 1 and groups == outputs:
        return 1, 1, outputs, height * width
    return groups, channels, outputs // groups, height * width


def _as(array: np.ndarray, dtype: str) -> np.ndarray:
    return array if dtype == "float32" else array.astype(dtype)


def _dtype_of(array: np.ndarray) -> np.dtype[Any]:
    """What an input is handed over as."""
    return np.dtype(np.int64 if array.dtype.kind in "iub" else np.float32)
