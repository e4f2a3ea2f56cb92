"""Graphs of torch.fx, of aten's operators as torch.export leaves them, as ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.fx import Node as FxNode

from tersely.core.errors import ArgumentError, UnsupportedError
from tersely.graph.graph import Graph, Node
from tersely.graph.lowering import lower
from tersely.torch.networks.aten import TRANSLATIONS, Call, Translated


def import_nodes(
    nodes: Iterable[FxNode], names: Mapping[str, str], constants: Iterable[str], outputs: Iterable[FxNode]
) -> Graph:
    """The graph of some nodes of an fx graph, in their order.

    names: values that they read from elsewhere, by the fx node's name: inputs in their order, and `constants`.

    Raises UnsupportedError, with the node, for operators that our graph does not have.
    """
    held = frozenset(constants)
    known = dict(names)
    ours: list[Node] = []
    for node in nodes:
        found = translate(node, known.__getitem__)
        if found.operator is None:
            known[node.name] = found.inputs["x"]
        else:
            known[node.name] = node.name
            ours.append(Node(found.operator, found.inputs, node.name, found.attributes))
    read = {name for node in ours for name in node.inputs.values()}
    graph = Graph(
        tuple(name for name in dict.fromkeys(names.values()) if name not in held),
        tuple(known[node.name] for node in outputs),
        tuple(ours),
        held & read,
    )
    graph.check()
    return graph


def translate(node: FxNode, name_of: Callable[[str], str]) -> Translated:
    """What one call is in our graph. Raises UnsupportedError with the node's name."""
    target = str(node.target)
    if node.op != "call_function" or target not in TRANSLATIONS:
        raise UnsupportedError(f"{node.name}: operator {target} is not one of the graph's")
    try:
        return TRANSLATIONS[target](Call(_arguments(node, name_of)))
    except UnsupportedError as error:
        raise UnsupportedError(f"{node.name}: {error}") from None


def _arguments(node: FxNode, name_of: Callable[[str], str]) -> dict[str, Any]:
    """Arguments by name, defaults filled in, tensors as the names of their values."""

    def named(value: Any) -> Any:
        if isinstance(value, FxNode):
            return name_of(value.name)
        return [named(one) for one in value] if isinstance(value, (list, tuple)) else value

    schema: Any = node.target
    found = {}
    for index, argument in enumerate(schema._schema.arguments):
        missing = node.kwargs.get(argument.name, argument.default_value)
        found[argument.name] = named(node.args[index] if index < len(node.args) else missing)
    return found


def why_not(node: FxNode) -> str | None:
    """Why the executor cannot compute a node by itself, judged by the shapes that torch.export noted; None where it can."""
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor) or value.dtype != torch.float32:
        return f"{node.name}: its result is no float32 tensor"
    if not all(isinstance(length, int) for length in value.shape):
        return f"{node.name}: its shape is not fixed"
    try:
        reads = {one.name: one.meta["val"] for one in node.all_input_nodes}
        constants = [one.name for one in node.all_input_nodes if is_constant(one)]
        graph = import_nodes([node], {name: name for name in reads}, constants, [node])
        if graph.nodes:
            lower(graph, {name: tuple(map(int, value.shape)) for name, value in reads.items()})
    except (UnsupportedError, ArgumentError) as error:
        return str(error)
    return None


def is_constant(node: FxNode) -> bool:
    """Whether a node is a parameter or buffer of its module."""
    return node.op == "get_attr"
