"""An exported program as a graph and its constants.

What follows from constants alone - position numbers, masks that hide nothing, class tokens repeated for a batch - is
computed by torch on the way in.
"""

from __future__ import annotations

import operator
from types import SimpleNamespace
from typing import Any

import torch

from tersely.core.errors import UnsupportedError
from tersely.graph.graph import Graph, Node
from tersely.graph.operators import ARITHMETIC
from tersely.torch.networks.aten import TRANSLATIONS
from tersely.torch.networks.calls import Call, Translated

WITHOUT_RESULT = ("aten._assert_tensor_metadata.default", "aten._assert_scalar.default")


def import_exported(program: torch.export.ExportedProgram) -> tuple[Graph, dict[str, torch.Tensor]]:
    """The graph of an exported program, and its parameters, buffers and other constants by name.

    Tensors that share their memory, as tied weights do, have one name.

    Raises UnsupportedError, with the node, for operators that the graph does not have.
    """
    signature = program.graph_signature
    reader = _Reader(
        {
            **dict(signature.inputs_to_parameters),
            **dict(signature.inputs_to_buffers),
            **dict(signature.inputs_to_lifted_tensor_constants),
        },
        {**program.state_dict, **program.constants},
    )
    for node in program.graph.nodes:
        if node.op == "placeholder":
            reader.placeholder(node)
        elif node.op == "call_function":
            reader.call(node)
    outputs = tuple(reader.names[name] for name in signature.user_outputs)
    used = {name for node in reader.nodes for name in node.inputs.values()} | set(outputs)
    constants = {name: tensor for name, tensor in reader.constants.items() if name in used}
    graph = Graph(tuple(signature.user_inputs), outputs, tuple(reader.nodes), frozenset(constants))
    graph.check()
    return graph, constants


class _Reader:
    """names: of values and constants by the exported program's. constants: tensors by our name."""

    def __init__(self, stored: dict[str, str], tensors: dict[str, torch.Tensor]) -> None:
        self.stored, self.tensors = stored, tensors
        self.names: dict[str, Any] = {}
        self.nodes: list[Node] = []
        self.constants: dict[str, torch.Tensor] = {}
        self._same: dict[tuple[Any, ...], str] = {}

    def placeholder(self, node: Any) -> None:
        if node.name not in self.stored:
            self.names[node.name] = node.name
            return
        name = self.stored[node.name]
        tensor = self.tensors[name].detach()
        key = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        self.names[node.name] = self._same.setdefault(key, name) if tensor.numel() else name
        self.constants[self.names[node.name]] = tensor

    def call(self, node: Any) -> None:
        target = str(node.target)
        if target in WITHOUT_RESULT:
            return
        if node.target is operator.getitem:
            self.names[node.name] = self.names[node.args[0].name][node.args[1]]
            return
        if self._is_constant(node):
            self._fold(node)
            return
        if target not in TRANSLATIONS:
            raise UnsupportedError(f"{node.name}: operator {target} is not one of the graph's")
        try:
            found = TRANSLATIONS[target](self._call_of(node))
        except UnsupportedError as error:
            raise UnsupportedError(f"{node.name}: {error}") from None
        if isinstance(found, list):
            self.names[node.name] = [self._add(f"{node.name}.{i}", one, node) for i, one in enumerate(found)]
        else:
            self.names[node.name] = self._add(node.name, found, node)

    def _add(self, name: str, found: Translated, node: Any) -> str:
        if found.operator is None:
            return found.inputs["x"]
        inputs = self._once(found, node)
        self.nodes.append(Node(found.operator, inputs, name, found.attributes))
        return name

    def _once(self, found: Translated, node: Any) -> dict[str, str]:
        """Constants that are the same for every image of a batch are kept for one, where operators repeat them."""
        joins = found.operator == "concatenate" and found.attributes["axis"] % len(node.meta["val"].shape) != 0
        if found.operator not in ARITHMETIC and not joins:
            return found.inputs
        shape = node.meta["val"].shape
        of_batch = {one.meta["val"].shape[:1] for one in node.all_input_nodes if not self._has_constant(one)}
        inputs = dict(found.inputs)
        for role, name in inputs.items():
            tensor = self.constants.get(name)
            if tensor is None or tensor.dim() != len(shape) or tensor.dim() == 0 or tensor.shape[:1] not in of_batch:
                continue
            if tensor.shape[0] > 1 and torch.equal(tensor, tensor[:1].expand_as(tensor)):
                inputs[role] = f"{name}.once"
                self.constants[inputs[role]] = tensor[:1]
        return inputs

    def _has_constant(self, node: Any) -> bool:
        names = self.names.get(node.name)
        return all(name in self.constants for name in (names if isinstance(names, list) else [names]))

    def _is_constant(self, node: Any) -> bool:
        return all(self._has_constant(one) for one in node.all_input_nodes)

    def _fold(self, node: Any) -> None:
        def value_of(one: Any) -> Any:
            return self.constants[self.names[one.name]]

        args, kwargs = torch.fx.map_arg((node.args, dict(node.kwargs)), value_of)
        with torch.no_grad():
            result = node.target(*args, **kwargs)
        if isinstance(result, torch.Tensor):
            self.names[node.name] = self._constant(node.name, result)
        else:
            self.names[node.name] = [self._constant(f"{node.name}.{i}", one) for i, one in enumerate(result)]

    def _constant(self, name: str, tensor: torch.Tensor) -> str:
        self.constants[name] = tensor.detach()
        return name

    def _number(self, number: float) -> str:
        return self._constant(f"number {number}", torch.tensor(float(number)))

    def _call_of(self, node: Any) -> Call:
        """Arguments by name, defaults filled in, tensors as the names of their values."""
        values = dict(node.kwargs)
        found, tensors = {}, {}
        for index, argument in enumerate(node.target._schema.arguments):
            value = node.args[index] if index < len(node.args) else values.get(argument.name, argument.default_value)
            if isinstance(value, torch.fx.Node):
                tensors[argument.name] = self._known_of(value)
                value = self.names[value.name]
            elif isinstance(value, (list, tuple)) and any(isinstance(one, torch.fx.Node) for one in value):
                if not all(isinstance(one, torch.fx.Node) for one in value):
                    raise UnsupportedError("a list of tensors and what are none")
                tensors[argument.name] = [self._known_of(one) for one in value]
                value = [self.names[one.name] for one in value]
            elif isinstance(value, (list, tuple)):
                value = list(value)
            found[argument.name] = value
        return Call(found, tensors, node.meta["val"], self._number)

    def _known_of(self, node: Any) -> Any:
        """Shape and dtype of a tensor; values_of_constant where it is a constant."""
        constant = self.constants.get(self.names[node.name])
        meta = node.meta["val"]
        return SimpleNamespace(shape=meta.shape, dtype=meta.dtype, values_of_constant=constant)
