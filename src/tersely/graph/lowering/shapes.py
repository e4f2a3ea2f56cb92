"""Operators that say otherwise where numbers lie: most of them move nothing."""

from __future__ import annotations

import math
from typing import Any

from tersely.core.errors import ArgumentError
from tersely.graph.graph import Node
from tersely.graph.lowering import images, regions
from tersely.graph.lowering.context import Context, Lower, operand, real, whole_blocks
from tersely.graph.lowering.program import CHANNEL_BLOCK, Layout
from tersely.graph.lowering.views import View, plain_axes, refined, token_axes
from tersely.graph.operators import leading_node, slice_range, swapped


def _reshape(context: Context, node: Node) -> None:
    x, shape = node.inputs["x"], context.shapes[node.output]
    source = context.shapes[x]
    rows = len(shape) == 2 and shape[0] == source[0] and context.element_bytes(x) == 4
    if len(source) == 4 and context.is_image(x) and rows:
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
    x, axis = node.inputs["x"], node.attributes["axis"] % len(context.shapes[node.inputs["x"]])
    places = slice_range(node, context.shapes[x])
    if context.is_image(x) and axis > 0 and (axis > 1 or places.step == 1):
        return regions.ROWS["slice"](context, node)
    where = axis, places.start, len(places), places.step
    found = context.view(x).sliced(*where) or context.plain(x).sliced(*where)
    assert found is not None, "one factor is cut anyhow"
    context.bind(node.output, found)


def _leading(context: Context, node: Node) -> None:
    _slice(context, leading_node(node, {role: context.shapes[name] for role, name in node.inputs.items()}))


def _select(context: Context, node: Node) -> None:
    view = context.view(node.inputs["x"])
    axis = node.attributes["axis"] % len(view.axes)
    context.bind(node.output, view.at(axis, node.attributes["index"] % view.shape[axis]))


def _concatenate(context: Context, node: Node) -> None:
    names = [node.inputs[f"x{i}"] for i in range(len(node.inputs))]
    shapes = {context.shapes[name][:1] for name in names}
    if all(context.is_image(name) for name in names) and node.attributes["axis"] % 4 and len(shapes) == 1:
        return regions.ROWS["concatenate"](context, node)
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
    """Fewer than no numbers before or behind: so many are cut off."""
    x, before, behind = node.inputs["x"], node.attributes["before"], node.attributes["behind"]
    if context.is_image(x) and not before[0] and not behind[0]:
        return regions.ROWS["pad"](context, node)
    if context.element_bytes(x) != 4:
        raise ArgumentError(f"{node}: bytes are padded as images only")
    y, source = context.new_plain(node.output), context.plain(x)
    assert y.number is not None
    context.emit("fill", node.output, y.number, number=real(node.attributes["value"]))
    target = y
    for axis, (first, last, length) in enumerate(zip(before, behind, context.shapes[x], strict=True)):
        count = length + min(first, 0) + min(last, 0)
        if count < 1:
            return  # nothing is left of x
        target, source = _cut(target, axis, max(first, 0), count), _cut(source, axis, max(-first, 0), count)
    context.copy(source, target, node.output)


def _cut(view: View, axis: int, start: int, count: int) -> View:
    found = view.sliced(axis, start, count, 1)
    assert found is not None, "one factor is cut anyhow"
    return found


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
    name, axes = node.inputs["x"], {axis % len(context.shapes[node.inputs["x"]]) for axis in node.attributes["axes"]}
    if node.operator == "mean" and context.is_image(name) and axes == {2, 3}:
        return images.ROWS["mean"](context, node)
    x = context.view(node.inputs["x"])
    walked = sorted(axes)
    kept = [axis for axis in range(len(x.axes)) if axis not in axes]
    shape = [x.shape[axis] for axis in kept]
    y = context.new_plain(node.output)
    result = View(y.number, None, 0, plain_axes(shape))
    outer = refined([x.permuted(kept), result])
    over = refined([x.permuted(walked), x.permuted(walked)])
    assert outer is not None, "one factor is cut anyhow"
    assert over is not None, "a view is cut as it is itself"
    sizes, (x_outer, y_strides) = outer
    members: dict[str, Any] = {"kind": node.operator, "sizes": sizes, "over": over[0]}
    members.update(operand("x", x, [*x_outer, *over[1][0]]))
    members.update(operand("y", result, y_strides))
    context.add({"operator": "reduce", **members}, node.output)


def _cumulative_sum(context: Context, node: Node) -> None:
    """Sums of 2, 4, 8 and more numbers along an axis: each doubling adds what lies so many numbers before."""
    found = context.plain(node.inputs["x"])
    axis = node.attributes["axis"] % len(found.axes)
    length, count = found.shape[axis], 1
    while count < length:
        sums = context.plain_of(found.shape)
        ends, begins = _cut(found, axis, count, length - count), _cut(found, axis, 0, length - count)
        context.elementwise("add", node.output, _cut(sums, axis, count, length - count), ends, begins)
        context.copy(_cut(found, axis, 0, count), _cut(sums, axis, 0, count), node.output)
        found, count = sums, 2 * count
    context.bind(node.output, found)


ROWS: dict[str, Lower] = {
    **dict.fromkeys(("reshape", "flatten", "squeeze", "unsqueeze"), _reshape),
    "permute": _permute,
    "transpose": _transpose,
    "expand": _expand,
    "slice": _slice,
    "leading": _leading,
    "select": _select,
    "concatenate": _concatenate,
    "pad": _pad,
    "mean": _reduce,
    "sum": _reduce,
    "max": _reduce,
    "cumulative_sum": _cumulative_sum,
}
