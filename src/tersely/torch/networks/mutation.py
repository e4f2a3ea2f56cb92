"""Operators in place: a graph of values has none, so what they write to is read nowhere afterwards, or is made new.

torch.export leaves an activation in place as it stands. Where nobody reads x later, nor anything that shares its memory, it is the
operator that computes a new value. Elsewhere torch turns the program into one that writes nowhere (`functional`).
What then is still written to, a buffer of the model or an input, is left to torch (`written`).
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch.fx import GraphModule
from torch.fx import Node as FxNode

PASSES_ON = ("aten.dropout.default", "aten.feature_dropout.default", "aten.alpha_dropout.default")
"""Operators that give back their input itself in eval mode, which their schemas do not say."""


def functional(program: torch.export.ExportedProgram) -> GraphModule:
    """The module of a program that reads nothing which an operator in place has written to.

    program: as torch.export made it; it may be written to.
    """
    module = _module(program)
    if any(_is_seen(node) for node in module.graph.nodes if _writes(node)):
        for node in program.graph.nodes:
            _as_alias(node)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's, of its own modules
            module = _module(program.run_decompositions({}))
    for node in module.graph.nodes:
        if all(one.op == "call_function" for one in _written_by(node)):
            node.target = _new(node.target)
    return module


def written(module: GraphModule) -> frozenset[str]:
    """Parameters and buffers of a module, by name, that a call of it writes to."""
    return frozenset(
        str(one.target) for node in module.graph.nodes for one in _written_by(node) if one.op == "get_attr"
    )


def _module(program: torch.export.ExportedProgram) -> GraphModule:
    module = program.module(check_guards=False)  # whoever calls it has one for each set of shapes
    assert isinstance(module, GraphModule)
    return module


def _as_alias(node: FxNode) -> None:
    """What gives back its input itself, as the operator that says so."""
    if str(node.target) in PASSES_ON and not (node.args[1] and node.args[2]):
        node.target, node.args = torch.ops.aten.alias.default, node.args[:1]


def _new(target: Any) -> Any:
    """The operator that gives a new value where another one writes to its argument."""
    if not _writes_first(target):
        return target
    packet, overload = str(target).split(".")[1:]
    found = getattr(getattr(torch.ops.aten, packet.removesuffix("_"), None), overload, None)
    return target if found is None or found._schema.is_mutable else found


def _writes_first(target: Any) -> bool:
    """Whether an operator of aten is one in place: `relu_`, which is `relu` but for where its result is."""
    schema = getattr(target, "_schema", None)
    return schema is not None and schema.is_mutable and str(target).partition(".")[2].partition(".")[0].endswith("_")


def _writes(node: FxNode) -> bool:
    return bool(_written_by(node))


def _written_by(node: FxNode) -> list[FxNode]:
    """The values that an operator writes to."""
    return [value for value, argument in _arguments(node) if argument.alias_info and argument.alias_info.is_write]


def _arguments(node: FxNode) -> list[tuple[FxNode, Any]]:
    """Values that a call reads, each with the argument of the schema that it is."""
    schema = getattr(node.target, "_schema", None)
    if node.op != "call_function" or schema is None:
        return []
    found = []
    for index, argument in enumerate(schema.arguments):
        value = node.args[index] if index < len(node.args) else node.kwargs.get(argument.name)
        if isinstance(value, FxNode):
            found.append((value, argument))
    return found


def _shares(node: FxNode) -> bool:
    """Whether the result of a call may lie in the memory of what it reads."""
    if getattr(node.target, "_schema", None) is None:
        return node.op == "call_function"  # one of several results, or a graph
    views = any(argument.alias_info and not argument.alias_info.is_write for _, argument in _arguments(node))
    return views or str(node.target) in PASSES_ON


def _is_seen(node: FxNode) -> bool:
    """Whether what an operator in place does is seen anywhere but in its result."""
    for value in _written_by(node):
        if value.op != "call_function" or _shares(value):
            return True
        for user in value.users:
            if user is not node and (_shares(user) or not user < node):
                return True
    return False
