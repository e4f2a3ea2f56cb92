"""Operators that say otherwise where numbers lie: most of them move nothing."""

from __future__ import annotations

import math
from typing import Any

from tersely.graph.graph import Node
from tersely.graph.lowering.context import Context, Lower, operand, whole_blocks
from tersely.graph.lowering.program import CHANNEL_BLOCK, Layout
from tersely.graph.lowering.views import View, plain_axes, refined, token_axes
from tersely.graph.operators import slice_of, swapped


def _reshape(context: Context, node: Node) -> None:
    x, shape = node.inputs["x"], context.shapes[node.output]
    source = context.shapes[x]
    if len(source) == 4 and context.is_image(x) and len(shape) == 2 and shape[0] == source[0]:
        y = context.output(node)
        context.emit("move", node.output, y, x=context.number(x), flat=1)
        return
    found = context.view(x).reshaped(shape) or context.plain(x).reshaped(shape)
    assert found is not None, "one factor is cut anyhow"
    context.bind(node.output, found)


def _permute(context: Context, node: Node) -> None:
    context.bind(node.output, context.view(node.inputs["x"]).permuted(node.attributes["order"]))


def _transpose(context: Context, node: Node) -> None:
    view = context.view(node.inputs["x"])
    context.bind(node.output, view.permuted(swapped(node, len(view.axes))))


def _expand(context: Context, node: Node) -> None:
    context.bind(node.output, context.view(node.inputs["x"]).expanded(context.shapes[node.output]))


def _slice(context: Context, node: Node) -> None:
    x = node.inputs["x"]
    axis, start, count, step = slice_of(node, context.shapes[x])
    found = context.view(x).sliced(axis, start, count, step) or context.plain(x).sliced(axis, start, count, step)
    assert found is not None, "one factor is cut anyhow"
    context.bind(node.output, found)


def _select(context: Context, node: Node) -> None:
    view = context.view(node.inputs["x"])
    axis = node.attributes["axis"] % len(view.axes)
    context.bind(node.output, view.at(axis, node.attributes["index"] % view.shape[axis]))


def _concatenate(context: Context, node: Node) -> None:
    names = [node.inputs[f"x{i}"] for i in range(len(node.inputs))]
    target = _new(context, node, all(context.is_image(name) for name in names))
    axis, start = node.attributes["axis"] % len(target.axes), 0
    pieces = []
    for name in names:
        length = context.shapes[name][axis]
        pieces.append(target.sliced(axis, start, length, 1))
        start += length
    whole = target
    if None in pieces:  # a part ends within a block
        whole = context.plain_of(target.shape)
    start = 0
    for name in names:
        length = context.shapes[name][axis]
        piece = whole.sliced(axis, start, length, 1)
        assert piece is not None, "one factor is cut anyhow"
        context.copy(context.view(name).expanded(piece.shape), piece, node.output)
        start += length
    if whole is not target:
        context.copy(whole, target, node.output)


def _pad(context: Context, node: Node) -> None:
    y, view = context.new_plain(node.output), context.view(node.inputs["x"])
    context.emit("fill", node.output, y.number or 0, number=0)
    target: View | None = y
    for axis, ((before, _), length) in enumerate(zip(node.attributes["pads"], view.shape, strict=True)):
        assert target is not None
        target = target.sliced(axis, before, length, 1)
    assert target is not None
    context.copy(view, target, node.output)


def _new(context: Context, node: Node, images: bool) -> View:
    """As images where these are joined, in blocks of channels where tokens have whole ones, else plain."""
    shape = context.shapes[node.output]
    if images and whole_blocks(shape[1]):
        context.output(node)
    elif len(shape) >= 3 and shape[-1] % CHANNEL_BLOCK == 0:
        context.new_tokens(
            node.output, token_axes(shape[:-1], shape[-1], Layout(1, shape[-1], 1, math.prod(shape[:-1])))[:-1]
        )
    else:
        context.new_plain(node.output)
    return context.view(node.output)


def _reduce(context: Context, node: Node) -> None:
    """Sums along axes: kept axes are written in order, the others walked."""
    x = context.view(node.inputs["x"])
    axes = sorted(axis % len(x.axes) for axis in node.attributes["axes"])
    kept = [axis for axis in range(len(x.axes)) if axis not in axes]
    shape = [x.shape[axis] for axis in kept]
    y = context.new_plain(node.output)
    result = View(y.number, None, 0, plain_axes(shape))
    outer = refined([x.permuted(kept), result])
    over = refined([x.permuted(axes), x.permuted(axes)])
    assert outer is not None, "one factor is cut anyhow"
    assert over is not None, "a view is cut as it is itself"
    sizes, (x_outer, y_strides) = outer
    members: dict[str, Any] = {"kind": node.operator, "sizes": sizes, "over": over[0]}
    members.update(operand("x", x, [*x_outer, *over[1][0]]))
    members.update(operand("y", result, y_strides))
    context.add({"operator": "reduce", **members}, node.output)


ROWS: dict[str, Lower] = {
    **dict.fromkeys(("reshape", "flatten", "squeeze", "unsqueeze"), _reshape),
    "permute": _permute,
    "transpose": _transpose,
    "expand": _expand,
    "slice": _slice,
    "select": _select,
    "concatenate": _concatenate,
    "pad": _pad,
    "mean": _reduce,
    "sum": _reduce,
}
