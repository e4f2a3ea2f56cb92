"""Graphs of torch.fx, of aten's operators as torch.export leaves them, as ours."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.fx import GraphModule
from torch.fx import Node as FxNode

from tersely.core.errors import ArgumentError, UnsupportedError
from tersely.graph import passes
from tersely.graph.graph import Graph, Node
from tersely.graph.lowering import lower
from tersely.graph.operators import ARITHMETIC
from tersely.torch.networks.aten import TRANSLATIONS
from tersely.torch.networks.calls import FLOATS, Call, Known, Translated
from tersely.torch.networks.folding import attribute
from tersely.torch.weight.dtypes import NAMES

NUMBERS = (*FLOATS, torch.int64, torch.int32, torch.bool)
"""Dtypes of tensors whose numbers float32 holds: of integers those that an input may have."""


def import_nodes(
    nodes: Iterable[FxNode], names: Mapping[str, str], constants: Mapping[str, torch.Tensor], outputs: Iterable[FxNode]
) -> tuple[Graph, dict[str, torch.Tensor]]:
    """The graph of some nodes of an fx graph, in their order, and its constants.

    names: values that they read from elsewhere, by the fx node's name: inputs in their order, and `constants`.

    Raises UnsupportedError, with the node, for operators that our graph does not have.
    """
    reader = _Reader(names, constants)
    for node in nodes:
        reader.read(node)
    results = tuple(reader.names[node.name] for node in outputs)
    nodes = _one_way(reader)
    read = {name for node in nodes for name in node.inputs.values()} | set(results)
    held = {name: tensor for name, tensor in reader.constants.items() if name in read}
    inputs = tuple(name for name in dict.fromkeys(names.values()) if name not in constants)
    dtypes = tuple(NAMES[one.meta["val"].dtype] for one in outputs)
    graph = Graph(inputs, results, tuple(nodes), frozenset(held), output_dtypes=dtypes)
    graph.check()
    return graph, held


def _one_way(reader: _Reader) -> list[Node]:
    """A weight that is read both [inputs, outputs] and otherwise is two constants: each is coded for its readers."""

    def turned(node: Node, role: str) -> bool:
        return role == "weight" and node.operator == "linear" and bool(node.attributes.get("in_out", False))

    other = {name for node in reader.nodes for role, name in node.inputs.items() if not turned(node, role)}
    found = []
    for node in reader.nodes:
        weight = node.inputs.get("weight", "")
        if weight in other and turned(node, "weight"):
            name = f"{weight}.in_out"
            reader.constants[name] = reader.constants[weight]
            node = replace(node, inputs={**node.inputs, "weight": name})
        found.append(node)
    return found


class _Reader:
    """names: of values and constants by the fx node's name. constants: those given and those that translating made."""

    def __init__(self, names: Mapping[str, str], constants: Mapping[str, torch.Tensor]) -> None:
        self.names, self.constants = dict(names), dict(constants)
        self.nodes: list[Node] = []

    def read(self, node: FxNode) -> None:
        target = str(node.target)
        if node.op != "call_function" or target not in TRANSLATIONS:
            raise UnsupportedError(f"{node.name}: operator {target} is not one of the graph's")
        try:
            found = TRANSLATIONS[target](self._call_of(node))
        except UnsupportedError as error:
            raise UnsupportedError(f"{node.name}: {error}") from None
        if found.operator is None:
            self.names[node.name] = found.inputs["x"]
        else:
            self.names[node.name] = node.name
            self.nodes.append(Node(found.operator, self._once(found, node), node.name, found.attributes))

    def _once(self, found: Translated, node: FxNode) -> dict[str, str]:
        """Constants that are the same for every image of a batch are kept for one, where operators repeat them."""
        shape = node.meta["val"].shape
        joins = found.operator == "concatenate" and found.attributes["axis"] % len(shape) != 0
        if found.operator not in ARITHMETIC and not joins:
            return found.inputs
        batches = {one.meta["val"].shape[:1] for one in node.all_input_nodes if not self._is_constant(one)}
        inputs = dict(found.inputs)
        for role, name in inputs.items():
            tensor = self.constants.get(name)
            if tensor is None or tensor.dim() != len(shape) or tensor.dim() == 0 or tensor.shape[:1] not in batches:
                continue
            if tensor.shape[0] > 1 and torch.equal(tensor, tensor[:1].expand_as(tensor)):
                inputs[role] = f"{name}.once"
                self.constants[inputs[role]] = tensor[:1]
        return inputs

    def _is_constant(self, node: FxNode) -> bool:
        return self.names[node.name] in self.constants

    def _number(self, number: float) -> str:
        name = f"number {number}"
        self.constants[name] = torch.tensor(float(number))
        return name

    def _call_of(self, node: FxNode) -> Call:
        """Arguments by name, defaults filled in, tensors as the names of their values."""
        schema: Any = node.target
        found, tensors = {}, {}
        for index, argument in enumerate(schema._schema.arguments):
            missing = node.kwargs.get(argument.name, argument.default_value)
            value = node.args[index] if index < len(node.args) else missing
            found[argument.name] = self._named(value)
            tensors[argument.name] = self._known(value)
        return Call(found, tensors, node.meta["val"], self._number)

    def _named(self, value: Any) -> Any:
        if isinstance(value, FxNode):
            return self.names[value.name]
        return [self._named(one) for one in value] if isinstance(value, (list, tuple)) else value

    def _known(self, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [self._known(one) for one in value]
        if not isinstance(value, FxNode):
            return None
        tensor = value.meta["val"]
        return Known(tuple(tensor.shape), tensor.dtype, self.constants.get(self.names[value.name]))


def why_not(node: FxNode, changing: Collection[str] = ()) -> str | None:
    """Why the executor cannot compute a node by itself, judged by the shapes that torch.export noted; None where it can.

    changing: parameters and buffers that a run writes to.
    """
    if read := [str(one.target) for one in node.all_input_nodes if is_constant(one) and one.target in changing]:
        return f"{node.name}: a run of the model writes to {read[0]}"
    if str(node.target) not in TRANSLATIONS:
        return f"{node.name}: the executor has no {node.target}"
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor) or value.dtype not in NUMBERS:
        return f"{node.name}: its result is no tensor of {', '.join(str(one) for one in NUMBERS)}"
    if not all(isinstance(length, int) for length in value.shape):
        return f"{node.name}: its shape is not fixed"
    try:
        reads = {one.name: one.meta.get("val") for one in node.all_input_nodes}
        if several := [name for name, one in reads.items() if not isinstance(one, torch.Tensor)]:
            return f"{node.name}: {several[0]} is no tensor"
        module = node.graph.owning_module
        assert isinstance(module, GraphModule)
        constants = {one.name: attribute(module, str(one.target)) for one in node.all_input_nodes if is_constant(one)}
        for name, one in reads.items():
            if one.dtype not in NUMBERS:
                return f"{node.name}: {name} is of {one.dtype}"
        graph, held = import_nodes([node], {name: name for name in reads}, constants, [node])
        if graph.nodes:
            # Passes may want numbers of constants; which ones does not matter here.
            numbers: dict[str, Any] = {
                name: np.broadcast_to(np.float32(1), tuple(held[name].shape)) for name in graph.constants
            }
            graph = passes.run(graph, numbers)
            shapes = {name: tuple(map(int, one.shape)) for name, one in {**reads, **numbers}.items()}
            integers = {name for name in graph.inputs if not reads[name].is_floating_point()}
            lower(graph, shapes, integers=integers)
    except (UnsupportedError, ArgumentError) as error:
        return str(error)
    return None


def is_constant(node: FxNode) -> bool:
    """Whether a node is a parameter or buffer of its module."""
    return node.op == "get_attr"
