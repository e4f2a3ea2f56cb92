"""Operators that put images together or take them apart: concatenation, padding, slices, resizing."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from tersely.core.errors import ArgumentError
from tersely.graph.graph import Node
from tersely.graph.lowering.context import Context, Lower
from tersely.graph.operators import Shape, slice_range
from tersely.graph.quantised_operators import kept


@dataclass(frozen=True)
class Region:
    """`size` (channels, rows, columns) of a value from `begin` on, `step` apart, and where in the result it lies."""

    size: Sequence[int]
    begin: Sequence[int]
    to: Sequence[int] = (0, 0, 0)
    step: Sequence[int] = (1, 1)

    def numbers(self) -> list[int]:
        return [*self.size, *self.begin, *self.step, *self.to]


def _bits(number: float) -> int:
    """The bits of a number as float32."""
    return int(struct.unpack("<I", struct.pack("<f", number))[0])


def _shape(context: Context, node: Node, name: str) -> Shape:
    shape = context.shapes[name]
    if len(shape) != 4:
        raise ArgumentError(f"{node}: only images of four dimensions are put together or taken apart")
    return shape


def _assemble(context: Context, node: Node, parts: Sequence[tuple[str, Region]], fill: float | None) -> None:
    xs = [context.number(name) for name, _ in parts]
    numbers = [number for _, region in parts for number in region.numbers()]
    extra = {}
    if fill is not None:
        dtype = context.dtypes[node.output]
        extra["fill"] = _bits(fill) if dtype == "float32" else kept(int(fill), dtype)
    context.emit("assemble", node.output, context.output(node), xs=xs, regions=numbers, **extra)


def _concatenate(context: Context, node: Node) -> None:
    axis = node.attributes["axis"] % len(_shape(context, node, node.output)) - 1
    if axis < 0:
        raise ArgumentError(f"{node}: images are not concatenated one after another")
    parts, to = [], [0, 0, 0]
    for name in node.inputs.values():
        size = _shape(context, node, name)[1:]
        parts.append((name, Region(size, (0, 0, 0), tuple(to))))
        to[axis] += size[axis]
    _assemble(context, node, parts, None)


def _pad(context: Context, node: Node) -> None:
    name = node.inputs["x"]
    shape, before, behind = _shape(context, node, name), node.attributes["before"], node.attributes["behind"]
    if before[0] or behind[0]:
        raise ArgumentError(f"{node}: images are not padded with images")
    size = [n + min(a, 0) + min(b, 0) for n, a, b in zip(shape[1:], before[1:], behind[1:], strict=True)]
    if min(size) < 1:
        raise ArgumentError(f"{node}: nothing is left of the image")
    begin, to = [max(-a, 0) for a in before[1:]], [max(a, 0) for a in before[1:]]
    _assemble(context, node, [(name, Region(size, begin, to))], node.attributes["value"])


def _slice(context: Context, node: Node) -> None:
    name = node.inputs["x"]
    shape, axis = _shape(context, node, name), node.attributes["axis"] % 4 - 1
    places = slice_range(node, shape)
    if axis < 0 or (axis == 0 and places.step != 1):
        raise ArgumentError(f"{node}: neither images nor single channels are taken out")
    begin, step = [0, 0, 0], [1, 1, 1]
    begin[axis], step[axis] = places.start, places.step
    _assemble(context, node, [(name, Region(context.shapes[node.output][1:], begin, step=step[1:]))], None)


def nearest(length: int, count: int, factor: float | None) -> list[int]:
    """The pixel that each of `count` takes of `length`, as torch computes it: in float32."""
    step = _float32(1 / factor if factor else length / count)
    return [min(int(_float32(place * step)), length - 1) for place in range(count)]


def bilinear(length: int, count: int, factor: float | None, corners: bool) -> list[tuple[int, int, float]]:
    """Two pixels of `length` for each of `count`, and the weight of the second.

    corners: whether the first and the last pixel stay where they are.
    """
    found = []
    for place in range(count):
        if corners:
            at = place * (length - 1) / (count - 1) if count > 1 else 0.0
        else:
            at = max((place + 0.5) * (1 / factor if factor else length / count) - 0.5, 0.0)
        first = min(int(at), length - 1)
        found.append((first, min(first + 1, length - 1), at - first))
    return found


def _float32(number: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", number))[0])


def _resize(context: Context, node: Node) -> None:
    attributes, name = node.attributes, node.inputs["x"]
    sizes, counts = _shape(context, node, name)[2:], context.shapes[node.output][2:]
    factors = attributes["factors"] or (None, None)
    axes = []
    for length, count, factor in zip(sizes, counts, factors, strict=True):
        if attributes["mode"] == "nearest":
            pixels = [(at, at, 0.0) for at in nearest(length, count, factor)]
        else:
            pixels = bilinear(length, count, factor, attributes["corners"])
        axes.append([n for first, second, weight in pixels for n in (first, second, _bits(weight))])
    x = context.number(name)
    context.emit("resize", node.output, context.output(node), x=x, rows=axes[0], columns=axes[1])


ROWS: dict[str, Lower] = {"concatenate": _concatenate, "pad": _pad, "slice": _slice, "resize": _resize}
