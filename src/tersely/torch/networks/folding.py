"""What is done to an exported module before it is translated.

What follows from constants alone - numbers of positions, masks that hide nothing, class tokens repeated for a batch -
is computed by torch, once. Calls of several results become a call for each, as do operators that are two of ours. Tied weights, of which torch.export makes
two constants, are one again.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import GraphModule
from torch.fx import Node as FxNode

CHECKS = ("aten._assert_tensor_metadata.default",)
PARTS = ("aten.unbind.int", "aten.split.Tensor", "aten.split_with_sizes.default", "aten.chunk.default")


def fold(module: GraphModule) -> None:
    """Rewrite a module in place; it computes the same."""
    same: dict[tuple[Any, ...], str] = {}
    gone: set[FxNode] = set()
    for node in list(module.graph.nodes):
        target = str(node.target)
        if node in gone:
            continue
        if is_module(module, node):
            continue
        if node.op == "get_attr":
            node.target = same.setdefault(_identity(attribute(module, target)), target)
        elif node.op == "call_function" and target in CHECKS:
            module.graph.erase_node(node)
        elif node.op == "call_function" and target in PARTS:
            gone |= _take_apart(module, node)
        elif target == "aten.rsqrt.default" and not all(one.op == "get_attr" for one in node.all_input_nodes):
            _divide_by_root(module, node)
        elif node.op == "call_function" and all(
            one.op == "get_attr" and not is_module(module, one) for one in node.all_input_nodes
        ):
            _compute(module, node)
    module.graph.eliminate_dead_code()
    module.recompile()


def is_module(module: torch.nn.Module, node: FxNode) -> bool:
    """Whether a node is a graph that another node calls, such as what is computed under autocast."""
    return node.op == "get_attr" and isinstance(operator.attrgetter(str(node.target))(module), torch.nn.Module)


def attribute(module: torch.nn.Module, name: str) -> torch.Tensor:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part)
    assert isinstance(found, torch.Tensor)
    return found


def _identity(tensor: torch.Tensor) -> tuple[Any, ...]:
    if tensor.numel() == 0 or tensor.device.type != "cpu":
        return (id(tensor),)
    return tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()


def _compute(module: GraphModule, node: FxNode) -> None:
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor) or not callable(node.target):
        return

    def value_of(one: FxNode) -> torch.Tensor:
        return attribute(module, str(one.target)).detach()

    args, kwargs = torch.fx.map_arg((node.args, dict(node.kwargs)), value_of)
    with torch.no_grad():
        result = node.target(*args, **kwargs)
    name = f"folded_{node.name}"
    module.register_buffer(name, result.detach(), persistent=False)
    with module.graph.inserting_before(node):
        constant = module.graph.create_node("get_attr", name, name=node.name + "_folded")
    constant.meta = dict(node.meta)
    node.replace_all_uses_with(constant)
    module.graph.erase_node(node)


def _divide_by_root(module: GraphModule, node: FxNode) -> None:
    """1 / sqrt(x) as the two operators that it is."""
    with module.graph.inserting_before(node):
        root = module.graph.call_function(torch.ops.aten.sqrt.default, (node.args[0],))
    root.meta = dict(node.meta)
    node.target, node.args = torch.ops.aten.reciprocal.default, (root,)


def _take_apart(module: GraphModule, node: FxNode) -> set[FxNode]:
    """Each part by itself: a number along the axis, or a range of them. Returns the nodes that are no more."""
    source, aten = node.args[0], torch.ops.aten
    axis = node.kwargs.get("dim", node.args[-1] if _has_axis(node) else 0)
    start = 0
    edges = []
    for part in node.meta["val"]:
        length = 1 if str(node.target) == "aten.unbind.int" else part.shape[axis]
        edges.append((start, start + length))
        start += length
    users = list(node.users)
    if any(user.target is not operator.getitem for user in users):
        return set()
    for user in users:
        first, last = edges[int(user.args[1])]
        with module.graph.inserting_before(user):
            if str(node.target) == "aten.unbind.int":
                part = module.graph.call_function(aten.select.int, (source, axis, first))
            else:
                part = module.graph.call_function(aten.slice.Tensor, (source, axis, first, last))
        part.meta = dict(user.meta)
        user.replace_all_uses_with(part)
        module.graph.erase_node(user)
    module.graph.erase_node(node)
    return {node, *users}


def _has_axis(node: FxNode) -> bool:
    return len(node.args) > (1 if str(node.target) == "aten.unbind.int" else 2)
