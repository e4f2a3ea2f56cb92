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
from tersely.graph import passes, reading, room
from tersely.graph.graph import Graph, Node
from tersely.graph.inputs import handed, kind_of, seen
from tersely.graph.lowering import Choices, lower
from tersely.graph.lowering.program import Program
from tersely.graph.lowering.residuals import taken_out
from tersely.graph.lowering.sparse import can_list
from tersely.graph.operators import Shape, infer
from tersely.graph.profile import NodeTime, Profile, merged
from tersely.graph.quantised_operators import PRODUCTS
from tersely.graph.room import too_large
from tersely.graph.weights import FLOATS, in_out_of
from tersely.tensors.tensor import Tensor

Constant = Tensor | np.ndarray


class Pipeline:
    """graph: as it was imported. constants: weights as coded tensors, everything else as arrays: floats of 8 to 32 bits,
    which the executor widens to float32, and integers of quantised networks (int8, uint8, int32).

    winograd: whether 3 x 3 convolutions may take Winograd's method, which rounds otherwise. bfloat16_products: whether
    products by weights of bfloat16 round what they multiply to it, where the processor multiplies its pairs. is_read: the
    graph is from a file, which has not been shown to mean anything.
    """

    def __init__(
        self,
        graph: Graph,
        constants: Mapping[str, Constant],
        winograd: bool = True,
        bfloat16_products: bool = True,
        is_read: bool = False,
    ) -> None:
        if not native.available():
            raise ArgumentError(f"networks run in the native module: {native.reason_unavailable('scalar')}")
        graph.check()
        self._choices = Choices(winograd, bfloat16_products)
        self.source, self.original = graph, {name: constants[name] for name in sorted(graph.constants)}
        self.constants: dict[str, Constant] = dict(self.original)
        self._is_read = is_read
        with reading.meant(is_read):
            self.graph = passes.run(graph, self.constants)
        self._in_out = in_out_of(self.graph)
        self._programs: dict[tuple[tuple[Shape, ...], tuple[str, ...], bool, bool], tuple[Program, Any]] = {}
        self._natives: dict[str, Any] = {}

    def program(self, *shapes: Shape, kinds: str = "") -> Program:
        """The program for inputs of these shapes. kinds: "f" or "i", floats or integers, for each; floats without."""
        return self._opened(shapes, tuple(kinds or "f" * len(shapes)))[0]

    def run(self, *inputs: np.ndarray, threads: int | None = None) -> list[np.ndarray]:
        """Returns the network's outputs: float32, as they were computed, or int8 or uint8 where it leaves them quantised.

        Args:
            inputs: float arrays, as float32 holds them, or integers and booleans where the network takes these; any batch
                and image size, any strides and byte order.
            threads: workers; None for `get_num_threads()`.

        Raises:
            ArgumentError: where inputs do not fit the network, with the node that says so.
            TooLargeError: before anything is computed, where memory does not hold what is between nodes.
        """
        return self._run(inputs, threads, False)[0]

    def profile(self, *inputs: np.ndarray, threads: int | None = None) -> Profile:
        """Returns what each node of one run took. Arguments and errors are those of `run`."""
        times = self._run(inputs, threads, True)[1]
        arrays = [seen(one, name) for one, name in zip(inputs, self.graph.inputs, strict=True)]
        if any(one.size == 0 for one in arrays):
            raise ArgumentError("inputs without a number have no profile")
        program, opened = self._opened(tuple(one.shape for one in arrays), tuple(map(kind_of, arrays)))
        steps = list(zip(program.nodes, program.steps, times, strict=True))
        forms = {node.output: self._form(node) for node in self.graph.nodes}
        nodes = [
            NodeTime(node, operator, forms.get(node, ""), program.shapes.get(node, ()), time, method)
            for node, operator, method, time in merged(steps)
        ]
        ran = taken_out(self.graph, program.shapes)
        return Profile(tuple(nodes), workers_of(threads), isa.active(), opened.arena_bytes, ran, program.shapes)

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
        arrays = [seen(one, name) for one, name in zip(inputs, self.graph.inputs, strict=True)]
        shapes, count = tuple(one.shape for one in arrays), workers_of(threads)
        if any(one.size == 0 for one in arrays):
            return self._empty(shapes), []
        program, opened = self._opened(shapes, tuple(map(kind_of, arrays)))
        try:
            outputs = [np.empty(shape, np.float32) for shape in program.output_shapes]
            times = opened.run([handed(one) for one in arrays], outputs, count, timed)
            return [_as(one, dtype) for one, dtype in zip(outputs, program.output_dtypes, strict=True)], times
        except MemoryError:
            raise too_large(program, shapes, "and the system gives no more") from None
        except ValueError as error:
            raise _with_node(error, program) from None

    def _empty(self, shapes: Sequence[Shape]) -> list[np.ndarray]:
        """What comes of inputs without a number: nothing, if that is so of all outputs."""
        known = {name: tuple(constant.shape) for name, constant in self.constants.items()}
        found = infer(self.graph, {**known, **dict(zip(self.graph.inputs, shapes, strict=True))})
        outputs = [found[name] for name in self.graph.outputs]
        if any(0 not in shape for shape in outputs):
            raise ArgumentError(
                f"inputs {', '.join(str(list(one)) for one in shapes)} have no numbers, and the result has"
            )
        return [np.empty(shape, np.float32) for shape in outputs]

    def _opened(self, shapes: tuple[Shape, ...], kinds: tuple[str, ...]) -> tuple[Program, Any]:
        """kinds: of the inputs' dtypes, "f" or "i"."""
        paired = self._choices.bfloat16_products and isa.multiplies_pairs()
        wide = isa.is_wide()
        key = shapes, kinds, paired, wide
        if key not in self._programs:
            known = {name: tuple(constant.shape) for name, constant in self.constants.items()}
            integers = {name for name, kind in zip(self.graph.inputs, kinds, strict=True) if kind == "i"}
            inputs = dict(zip(self.graph.inputs, shapes, strict=True))
            with reading.meant(self._is_read):
                constants = {name: self._native(name) for name in self.graph.constants}
                products_only = self._products_only(constants)
                densities = self._densities(constants)
                program = lower(
                    self.graph,
                    {**known, **inputs},
                    self._choices,
                    integers,
                    products_only,
                    densities,
                    [name for name in densities if not self._walks(name, constants[name])],
                    self._of_bfloat16() if paired else (),
                    wide,
                )
            room.check(program, shapes)
            try:
                opened = native.module.open_program(json.dumps(program.to_json()), constants)
            except MemoryError:
                raise too_large(program, shapes, "and the system gives no more") from None
            except ValueError as error:
                raise _with_node(error, program) from None
            self._programs[key] = program, opened
        return self._programs[key]

    def _of_bfloat16(self) -> set[str]:
        names = {node.inputs["weight"] for node in self.graph.nodes if "weight" in node.inputs}
        held = {name: self.constants[name] for name in names & self.graph.constants}
        return {name for name, one in held.items() if _dtype_of(one) == "bfloat16"}

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
        readers = {node.operator for node in self.graph.nodes if node.inputs.get("weight") == name}
        if tensor.encoded.dtype not in FLOATS and not readers <= set(PRODUCTS):
            return None
        matrix = native.open_matrix(tensor.encoded)
        for node in self.graph.nodes:
            if matrix is None or node.inputs.get("weight") != name:
                continue
            if node.operator == "convolution" and not _convolved(node, tensor, matrix):
                return None
            if node.operator in PRODUCTS:
                return matrix
            if node.operator in ("linear", "embedding") and tensor.geometry.view != "matrix":
                return None
            if node.operator == "linear" and (tensor.geometry.orientation == "in_out") != (name in self._in_out):
                return None
        return matrix

    def _densities(self, constants: Mapping[str, Any]) -> dict[str, float]:
        """Of weights that convolutions can list: the share that a list has."""
        found = {}
        for node in self.graph.nodes:
            name = node.inputs.get("weight", "")
            tensor, matrix = self.constants.get(name), constants.get(name)
            if not isinstance(tensor, Tensor) or matrix is None or isinstance(matrix, np.ndarray):
                continue
            if _listed(node, tensor, matrix):
                found[name] = tensor.checked.root.row.density(tensor.checked.root)
        return found

    def _walks(self, name: str, matrix: Any) -> bool:
        """Whether all convolutions with a weight can decode its panels."""
        shape = tuple(self.constants[name].shape)
        readers = [node for node in self.graph.nodes if node.inputs.get("weight") == name]
        return all(matrix.convolves(*_groups(node, shape)) for node in readers)

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


def _convolved(node: Node, weight: Tensor, matrix: Any) -> bool:
    """Whether a convolution can multiply by a weight as it is coded."""
    return bool(matrix.convolves(*_groups(node, weight.shape)) or _listed(node, weight, matrix))


def _listed(node: Node, weight: Tensor, matrix: Any) -> bool:
    """Whether a node is a convolution that can be computed by a list of its weights."""
    root = weight.checked.root
    return (
        can_list(node, weight.shape) and root.row.lists(root.node) and bool(matrix.lists(*_groups(node, weight.shape)))
    )


def _groups(node: Node, weight: Shape) -> tuple[int, int, int, int]:
    """Groups, channels and outputs of each, and taps, as the executor counts them.

    A depthwise convolution is one group of one channel: each row of its weight meets pixels of its own.
    """
    outputs, channels, height, width = weight
    groups = node.attributes["groups"]
    if channels == 1 and groups == outputs:
        return 1, 1, outputs, height * width
    return groups, channels, outputs // groups, height * width


def _dtype_of(constant: Constant) -> str:
    return constant.encoded.dtype if isinstance(constant, Tensor) else str(constant.dtype)


def _as(array: np.ndarray, dtype: str) -> np.ndarray:
    return array if dtype == "float32" else array.astype(dtype)


def _with_node(error: ValueError, program: Program) -> ArgumentError:
    """What the executor says of a step, by the node that it is part of."""
    step, colon, reason = str(error).partition(": ")
    word, _, number = step.partition(" ")
    if colon and word == "step" and number.isdecimal() and int(number) < len(program.nodes):
        return ArgumentError(f"{program.nodes[int(number)]}: {reason}")
    return ArgumentError(str(error))
