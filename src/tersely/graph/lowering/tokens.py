"""Operators on tokens: layer norm, softmax, attention."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from tersely.graph.graph import Node
from tersely.graph.lowering.context import Context, Lower, operand, real
from tersely.graph.lowering.program import CHANNEL_BLOCK, Layout
from tersely.graph.lowering.views import View, channel_axis, joined
from tersely.graph.operators import Shape


def _layer_norm(context: Context, node: Node) -> None:
    x, leading = context.tokens(node.inputs["x"])
    constants = {role: node.inputs[role] for role in ("weight", "bias") if role in node.inputs}
    y = context.new_tokens(node.output, leading)
    context.emit("layer_norm", node.output, y, x=x, eps=real(node.attributes["eps"]), **constants)


def _softmax(context: Context, node: Node) -> None:
    shape = context.shapes[node.output]
    axis = node.attributes["axis"] % len(shape)
    order = [*(i for i in range(len(shape)) if i != axis), axis]
    x = context.plain_copy(context.view(node.inputs["x"]).permuted(order), node.output)
    turned = tuple(shape[i] for i in order)
    layout = Layout(math.prod(turned[:-1]), turned[-1], 1, 1, 0, False)
    y = context.plain_of(turned)
    context.emit("softmax", node.output, context.alias(y, layout), x=context.alias(x, layout))
    context.bind(node.output, y.permuted([order.index(i) for i in range(len(shape))]))


@dataclass(frozen=True)
class Heads:
    """Where [images, heads, blocks of 16 channels, tokens, 16] lie: strides of the first three in floats."""

    number: int
    offset: int
    image: int
    head: int
    block: int

    def members(self, role: str) -> dict[str, Any]:
        strides = [self.image, self.head, self.block, CHANNEL_BLOCK, 1]
        return {role: self.number, f"{role}_at": self.offset, f"{role}_strides": strides}


def _attention(context: Context, node: Node) -> None:
    """Heads are ranges of channels of tokens where they lie so, and are copied to be images of their own elsewhere."""
    shape = context.shapes[node.inputs["x"]]
    (images, heads), (queries, size) = (*shape[:-2], 1)[:2], shape[-2:]
    keys, value_size = context.shapes[node.inputs["v"]][-2:]
    members: dict[str, Any] = {"images": images, "heads": heads, "queries": queries, "keys": keys, "size": size}
    for role in ("x", "k", "v"):
        members.update(_heads(context, node.inputs[role]).members(role))
    if "mask" in node.inputs:
        members.update(_mask(context, node.inputs["mask"], (*shape[:-1], keys), node.output))
    y = _result(context, node.output, images, heads, queries, value_size)
    scale = node.attributes.get("scale")
    context.add(
        {
            "operator": "attention", **members, **y.members("y"), "value_size": value_size,
            "scale": real(size**-0.5 if scale is None else scale),
            "boolean": int(node.attributes.get("boolean", False)), "causal": int(node.attributes.get("causal", False)),
        },
        node.output,
    )  # fmt: skip


def _heads(context: Context, name: str) -> Heads:
    view = context.view(name)
    view = view if len(view.axes) == 4 else replace(view, axes=(view.axes[0], (), *view.axes[1:]))
    _, heads, tokens, size = view.shape
    image, head = view.stride(0), view.stride(1)
    in_rows = view.number is not None and view.axes[2] in ((), ((tokens, CHANNEL_BLOCK),))
    if in_rows and image is not None and head is not None and size % CHANNEL_BLOCK == 0:
        assert view.number is not None
        blocks = view.axes[3]
        if blocks == ((size, 1),):
            return Heads(view.number, view.offset, image, head, CHANNEL_BLOCK)
        if len(blocks) == 2 and blocks[1] == (CHANNEL_BLOCK, 1):
            return Heads(view.number, view.offset, image, head, blocks[0][1])
    plane = tokens * CHANNEL_BLOCK
    number = context.matrices(view, name)
    return Heads(number, 0, heads * plane * _blocks(size), plane * _blocks(size), plane)


def _blocks(channels: int) -> int:
    return -(-channels // CHANNEL_BLOCK)


def _mask(context: Context, name: str, scores: Shape, node: str) -> dict[str, Any]:
    mask = context.view(name)
    if mask.shape[-1] != scores[-1]:  # one truth for all keys
        mask = context.plain_copy(mask.expanded((*mask.shape[:-1], scores[-1])), node)
    if any(mask.stride(axis) is None for axis in range(len(mask.axes))) or mask.stride(len(mask.axes) - 1) not in (
        0,
        1,
    ):
        mask = context.plain_copy(mask, node)
    mask = mask.expanded(scores)
    strides = [mask.stride(axis) or 0 for axis in range(len(scores))]
    if len(scores) == 3:
        strides.insert(1, 0)
    return operand("mask", mask, [*strides[:-1], 1])


def _result(context: Context, name: str, images: int, heads: int, queries: int, size: int) -> Heads:
    """Tokens whose channels are the heads side by side, or, where a head has no whole blocks, an image for each."""
    if size % CHANNEL_BLOCK:
        plane = queries * CHANNEL_BLOCK
        number = context.new_matrices(name, Layout(images * heads, size, 1, queries))
        return Heads(number, 0, heads * plane * _blocks(size), plane * _blocks(size), plane)
    rows = images * queries
    number = context.fresh(Layout(1, heads * size, 1, rows))
    block = rows * CHANNEL_BLOCK
    found = Heads(number, 0, queries * CHANNEL_BLOCK, size // CHANNEL_BLOCK * block, block)
    axes = (
        joined([(images, found.image)]),
        joined([(heads, found.head)]),
        joined([(queries, CHANNEL_BLOCK)]),
        channel_axis(size, block),
    )
    own = axes if len(context.shapes[name]) == 4 else (axes[0], *axes[2:])
    context.bind(name, View(number, None, 0, own))
    return found


ROWS: dict[str, Lower] = {"layer_norm": _layer_norm, "softmax": _softmax, "attention": _attention}
