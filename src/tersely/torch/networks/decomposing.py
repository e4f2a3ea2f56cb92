"""Operators of aten that our graph does not have as others that it has: before anything is translated or folded.

A rule writes the calls that a call is, each with the shape and dtype that torch gives it. What torch itself makes of
other operators, such as sums of products of named axes, needs no rule.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Interpreter
from torch.fx import Node as FxNode
from torch.fx.experimental.proxy_tensor import make_fx

COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd


@dataclass(frozen=True)
class Writer:
    """Writes calls before one, whose arguments are `of[name]`, defaults filled in."""

    module: GraphModule
    node: FxNode

    def __call__(self, operator: Any, *args: Any, **kwargs: Any) -> Any:
        """The value of one more call."""
        values, named = torch.fx.map_arg((args, kwargs), lambda one: one.meta["val"])
        with torch.no_grad():
            result = operator(*values, **named)
        with self.module.graph.inserting_before(self.node):
            found = self.module.graph.call_function(operator, args, kwargs)
        found.meta = {**self.node.meta, "val": result}
        return found

    @property
    def arguments(self) -> dict[str, Any]:
        """Of the call, by name, defaults filled in."""
        schema: Any = self.node.target
        return {
            argument.name: self.node.args[index]
            if index < len(self.node.args)
            else self.node.kwargs.get(argument.name, argument.default_value)
            for index, argument in enumerate(schema._schema.arguments)
        }

    @property
    def result(self) -> torch.Tensor:
        """What torch.export noted of the result: its shape and dtype."""
        found: torch.Tensor = self.node.meta["val"]
        return found

    def shape(self, value: FxNode) -> list[int]:
        return [int(length) for length in value.meta["val"].shape]

    def filled(self, number: float, shape: Any = (), dtype: torch.dtype | None = None) -> Any:
        """A constant."""
        return self(torch.ops.aten.full.default, list(shape), number, dtype=dtype or self.result.dtype)


Rule = Callable[[Writer], Any]
"""What takes the place of a call; None where this call is no other ones."""


def decompose(module: GraphModule, node: FxNode, rules: Mapping[str, Rule], known: Container[str]) -> list[FxNode]:
    """Put other calls in the place of one; returns them, in order, or nothing where it stays as it is.

    rules: by the operator's name. known: operators that stay where there is no rule for them.
    """
    target, value = str(node.target), node.meta.get("val")
    single = isinstance(value, torch.Tensor) and all(
        isinstance(one.meta.get("val"), torch.Tensor) for one in node.all_input_nodes
    )
    if not single or not all(isinstance(length, int) for length in value.shape):
        return []
    before, writer = node.prev, Writer(module, node)
    if target in rules:
        found = rules[target](writer)
    elif target not in known and _is_composite(node):
        found = _composed(writer, rules, known)
    else:
        return []
    if found is None:
        return []
    added = []
    while before.next is not node:
        before = before.next
        added.append(before)
    node.replace_all_uses_with(found)
    module.graph.erase_node(node)
    return added


def _is_composite(node: FxNode) -> bool:
    """Whether torch makes an operator of others, and it writes to none of its arguments."""
    operator: Any = node.target
    return (
        isinstance(operator, torch._ops.OpOverload)
        and operator.has_kernel_for_dispatch_key(COMPOSITE)
        and not operator._schema.is_mutable
    )


def _composed(writer: Writer, rules: Container[str], known: Container[str]) -> Any:
    """The calls that torch makes for a call, where all of them are known or have rules."""
    node = writer.node
    names = list(dict.fromkeys(node.all_input_nodes))

    def run(*tensors: torch.Tensor) -> Any:
        given = dict(zip(names, tensors, strict=True))
        args, kwargs = torch.fx.map_arg((node.args, dict(node.kwargs)), given.__getitem__)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    with torch.no_grad():
        traced = make_fx(run)(*(one.meta["val"] for one in names))
    calls = [one for one in traced.graph.nodes if one.op not in ("placeholder", "output")]
    for one in calls:
        target = str(one.target)
        if one.op != "call_function" or not (target in rules or target in known) or target == str(node.target):
            return None
    return _Inlined(traced, writer).run(*names)


class _Inlined(Interpreter):
    """Runs a traced graph by writing its calls."""

    def __init__(self, traced: GraphModule, writer: Writer) -> None:
        super().__init__(traced)
        self.writer = writer

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        return self.writer(target, *args, **kwargs)
