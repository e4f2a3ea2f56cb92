"""An exported program as a graph and its constants."""

from __future__ import annotations

from typing import Any

import torch

from tersely.core.errors import UnsupportedError
from tersely.graph.graph import Graph, Node
from tersely.torch.networks.aten import TRANSLATIONS, Call


def import_exported(program: torch.export.ExportedProgram) -> tuple[Graph, dict[str, torch.Tensor]]:
    """The graph of an exported program, and its parameters and buffers by name.

    Raises UnsupportedError, with the node, for operators that the graph does not have.
    """
    signature = program.graph_signature
    stored = {
        **dict(signature.inputs_to_parameters),
        **dict(signature.inputs_to_buffers),
        **dict(signature.inputs_to_lifted_tensor_constants),
    }
    tensors = {**program.state_dict, **program.constants}
    names: dict[str, str] = {}
    nodes: list[Node] = []
    for node in program.graph.nodes:
        if node.op == "placeholder":
            names[node.name] = stored.get(node.name, node.name)
        elif node.op == "call_function":
            _translate(node, names, nodes)
    used = {name for node in nodes for name in node.inputs.values()}
    constants = {name: tensors[name] for name in stored.values() if name in used}
    graph = Graph(
        tuple(signature.user_inputs),
        tuple(names[name] for name in signature.user_outputs),
        tuple(nodes),
        frozenset(constants),
    )
    graph.check()
    return graph, constants


def _translate(node: Any, names: dict[str, str], nodes: list[Node]) -> None:
    target = str(node.target)
    if target not in TRANSLATIONS:
        raise UnsupportedError(f"{node.name}: operator {target} is not one of the graph's")
    try:
        found = TRANSLATIONS[target](Call(*_arguments(node, names)))
    except UnsupportedError as error:
        raise UnsupportedError(f"{node.name}: {error}") from None
    if found.operator is None:
        names[node.name] = found.inputs["x"]
    else:
        names[node.name] = node.name
        nodes.append(Node(found.operator, found.inputs, node.name, found.attributes))


def _arguments(node: Any, names: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments by name, defaults filled in, tensors as the names of their values; and what is known of tensors."""
    values = dict(node.kwargs)
    found, tensors = {}, {}
    for index, argument in enumerate(node.target._schema.arguments):
        value = node.args[index] if index < len(node.args) else values.get(argument.name, argument.default_value)
        found[argument.name] = _named(value, names)
        if isinstance(value, torch.fx.Node):
            tensors[argument.name] = value.meta["val"]
    return found, tensors


def _named(value: Any, names: dict[str, str]) -> Any:
    """An argument with names in the place of tensors, in lists too."""
    if isinstance(value, torch.fx.Node):
        return names[value.name]
    return [_named(one, names) for one in value] if isinstance(value, (list, tuple)) else value
