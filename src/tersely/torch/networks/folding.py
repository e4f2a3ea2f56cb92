"""What is done to an exported module before it is translated.

What follows from constants alone - numbers of positions, masks that hide nothing, class tokens repeated for a batch -
is computed by torch, once. Calls of several results become a call for each, as do operators that are two of ours. Tied weights, of which torch.export makes
two constants, are one again.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch.fx import GraphModule
from torch.fx import Node as FxNode

from tersely.torch.networks import decompositions
from tersely.torch.networks.aten import TRANSLATIONS
from tersely.torch.networks.decomposing import decompose

CHECKS = ("aten._assert_tensor_metadata.default",)
PARTS = ("aten.unbind.int", "aten.split.Tensor", "aten.split_with_sizes.default", "aten.chunk.default")
ONE_OF_SEVERAL: dict[str, Callable[..., tuple[Any, tuple[Any, ...]]]] = {
    "aten._native_batch_norm_legit_no_training.default": lambda *given: (
        torch.ops.aten.batch_norm.default, (*given[:5], False, *given[5:], False)),
    "aten.max.dim": lambda x, axis, keep=False: (torch.ops.aten.amax.default, (x, [axis], keep)),
    "aten.min.dim": lambda x, axis, keep=False: (torch.ops.aten.amin.default, (x, [axis], keep)),
}  # fmt: skip
"""Operators of several results, of which the first is that of another operator: it and its arguments."""
RULES = decompositions.RULES
KNOWN = {*TRANSLATIONS, *PARTS, *CHECKS, "aten.rsqrt.default"}
"""Operators that are translated, or that are taken apart here."""


def fold(module: GraphModule, changing: Collection[str] = ()) -> None:
    """Rewrite a module in place; it computes the same.

    changing: parameters and buffers that a call of it writes to, from which nothing follows.
    """
    same: dict[tuple[Any, ...], str] = {}
    gone: set[FxNode] = set()
    pending = deque(module.graph.nodes)
    while pending:
        node = pending.popleft()
        target = str(node.target)
        if node in gone:
            continue
        if is_module(module, node):
            continue
        if node.op == "get_attr":
            if target not in changing:
                node.target = same.setdefault(_identity(attribute(module, target)), target)
        elif node.op != "call_function":
            continue
        elif target in CHECKS:
            module.graph.erase_node(node)
        elif not _is_random(node) and all(
            one.op == "get_attr" and not is_module(module, one) and one.target not in changing
            for one in node.all_input_nodes
        ):
            gone |= _compute(module, node)
        elif target in PARTS:
            gone |= _take_apart(module, node)
        elif target in ONE_OF_SEVERAL:
            removed, added = _one_result(module, node)
            gone |= removed
            pending.extendleft(added)
        elif target == "aten.rsqrt.default":
            _divide_by_root(module, node)
        else:
            pending.extendleft(reversed(decompose(module, node, RULES, KNOWN)))
    module.graph.eliminate_dead_code()
    module.recompile()


def _is_random(node: FxNode) -> bool:
    """Whether an operator draws numbers, others at each call."""
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


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


def _compute(module: GraphModule, node: FxNode) -> set[FxNode]:
    """A constant for a call, or for each of its results that is read. Returns the nodes that are no more."""
    value = node.meta.get("val")
    if not callable(node.target):
        return set()
    several = isinstance(value, (list, tuple))
    readers = list(node.users) if several else [node]
    if several and any(one.target is not operator.getitem for one in readers):
        return set()
    if not all(isinstance(one.meta.get("val"), torch.Tensor) for one in readers):
        return set()

    def value_of(one: FxNode) -> torch.Tensor:
        return attribute(module, str(one.target)).detach()

    args, kwargs = torch.fx.map_arg((node.args, dict(node.kwargs)), value_of)
    with torch.no_grad():
        result = node.target(*args, **kwargs)
    for one in readers:
        name = f"folded_{one.name}"
        found = result[one.args[1]] if several else result
        module.register_buffer(name, found.detach(), persistent=False)
        with module.graph.inserting_before(one):
            constant = module.graph.create_node("get_attr", name, name=one.name + "_folded")
        constant.meta = dict(one.meta)
        one.replace_all_uses_with(constant)
        module.graph.erase_node(one)
    if several:
        module.graph.erase_node(node)
    return {node, *readers}


def _one_result(module: GraphModule, node: FxNode) -> tuple[set[FxNode], list[FxNode]]:
    """The first of several results, as the operator that has one. Returns the nodes that are no more, and those that are new."""
    added: list[FxNode] = []
    users = list(node.users)
    if any(user.target is not operator.getitem or (user.args[1] != 0 and user.users) for user in users):
        return set(), []
    for user in users:
        if user.args[1] != 0:
            module.graph.erase_node(user)
            continue
        with module.graph.inserting_before(user):
            whole = module.graph.call_function(*ONE_OF_SEVERAL[str(node.target)](*node.args))
        whole.meta = dict(user.meta)
        added.append(whole)
        user.replace_all_uses_with(whole)
        module.graph.erase_node(user)
    module.graph.erase_node(node)
    return {node, *users}, added


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
