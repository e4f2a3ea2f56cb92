"""Where a value's numbers lie, axis by axis: turned, cut and joined axes are other ways to see the same memory.

An axis is a list of factors (size, numbers from one to the next), the slowest first: in blocks of 16, 64 channels are
((4, plane), (16, 1)). So most of what a network reshapes moves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tersely.graph.lowering.program import CHANNEL_BLOCK, Layout
from tersely.graph.operators import Shape

Axis = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class View:
    """number: of a value, or constant: a name. offset: numbers from its beginning. axes: in the order of the shape."""

    number: int | None
    constant: str | None
    offset: int
    axes: tuple[Axis, ...]

    @property
    def shape(self) -> Shape:
        return tuple(math.prod(size for size, _ in axis) for axis in self.axes)

    def permuted(self, order: Sequence[int]) -> View:
        return replace(self, axes=tuple(self.axes[axis] for axis in order))

    def reshaped(self, shape: Sequence[int]) -> View | None:
        """None where an axis would end within a factor that does not divide so."""
        factors = list(joined([factor for axis in self.axes for factor in axis]))
        axes: list[Axis] = []
        for length in shape:
            axis: list[tuple[int, int]] = []
            while length > 1:
                size, stride = factors.pop(0)
                if length % size == 0:
                    axis.append((size, stride))
                    length //= size
                elif size % length == 0:
                    axis.append((length, size // length * stride))
                    factors.insert(0, (size // length, stride))
                    length = 1
                else:
                    return None
            axes.append(joined(axis))
        return replace(self, axes=tuple(axes))

    def sliced(self, axis: int, start: int, count: int, step: int) -> View | None:
        """`count` of an axis's numbers from `start` on; None where these are not evenly apart."""
        factors = self.axes[axis]
        if not factors or count == 1:
            return self.at(axis, start, keep=True)
        stride, inner = factors[0][1], math.prod(size for size, _ in factors[1:])
        if step == 1 and start % inner == 0 and count % inner == 0:
            found: Axis = joined([(count // inner, stride), *factors[1:]])
            offset = self.offset + start // inner * stride
        elif len(factors) == 1:
            found, offset = ((count, stride * step),), self.offset + start * stride
        elif start // inner == (start + (count - 1) * step) // inner:
            rest = replace(self, axes=(factors[1:],)).sliced(0, start % inner, count, step)
            if rest is None:
                return None
            found, offset = rest.axes[0], rest.offset + start // inner * stride
        else:
            return None
        return replace(self, offset=offset, axes=(*self.axes[:axis], found, *self.axes[axis + 1 :]))

    def at(self, axis: int, index: int, keep: bool = False) -> View:
        """One number of an axis, which is left out or, with keep, of length 1."""
        offset = self.offset
        for size, stride in reversed(self.axes[axis]):
            offset += index % size * stride
            index //= size
        found: tuple[Axis, ...] = ((),) if keep else ()
        return replace(self, offset=offset, axes=(*self.axes[:axis], *found, *self.axes[axis + 1 :]))

    def expanded(self, shape: Shape) -> View:
        """Axes of length 1 as long as `shape` says, and further ones before them, every number of each the same."""
        axes: tuple[Axis, ...] = ((),) * (len(shape) - len(self.axes)) + self.axes
        longer = zip(axes, shape, strict=True)
        return replace(self, axes=tuple(((n, 0),) if not axis and n > 1 else axis for axis, n in longer))

    def dense(self) -> bool:
        """Whether its numbers fill a stretch of memory that begins at a line of cache, in whatever order."""
        expected = 1
        for size, stride in sorted((f for axis in self.axes for f in axis), key=lambda factor: factor[1]):
            if stride != expected:
                return False
            expected *= size
        return self.number is not None and self.offset % CHANNEL_BLOCK == 0

    def stride(self, axis: int) -> int | None:
        """From one number to the next along an axis; 0 for one of length 1, None where that differs."""
        factors = self.axes[axis]
        return None if len(factors) > 1 else factors[0][1] if factors else 0


def joined(factors: Sequence[tuple[int, int]]) -> Axis:
    """The same factors, neighbours made one where they are."""
    found: list[tuple[int, int]] = []
    for size, stride in factors:
        if size == 1:
            continue
        if found and found[-1][1] == size * stride:
            found[-1] = (found[-1][0] * size, stride)
        else:
            found.append((size, stride))
    return tuple(found)


def plain_axes(shape: Sequence[int]) -> tuple[Axis, ...]:
    """Of numbers in the order of their indices."""
    return tuple(((size, math.prod(shape[axis + 1 :])),) if size != 1 else () for axis, size in enumerate(shape))


def channel_axis(channels: int, plane: int) -> Axis:
    """Of channels in blocks, whole ones or a single one."""
    if channels <= CHANNEL_BLOCK:
        return joined([(channels, 1)])
    return joined([(channels // CHANNEL_BLOCK, plane), (CHANNEL_BLOCK, 1)])


def token_axes(leading: Sequence[int], channels: int, layout: Layout) -> tuple[Axis, ...]:
    """Of [..., tokens, channels] in blocks of channels; leading: all axes but the last."""
    axes: list[Axis] = []
    for axis in plain_axes(leading):
        axes.append(tuple((size, stride * CHANNEL_BLOCK) for size, stride in axis))
    if layout.images != 1:  # each of the last but one axis's by itself
        planes = layout.elements // layout.images
        axes = [tuple((n, s // leading[-1] * planes) for n, s in one) for one in plain_axes(leading)]
        axes[-1] = joined([(leading[-1], CHANNEL_BLOCK)])
    return (*axes, channel_axis(channels, layout.width * CHANNEL_BLOCK))


def image_axes(layout: Layout) -> tuple[int, tuple[Axis, ...]]:
    """The offset and axes of images [images, channels, height, width], blocks whole or a single one."""
    pixel = CHANNEL_BLOCK if layout.blocked else layout.channels if layout.together else 1
    row = (layout.width + 2 * layout.halo) * pixel
    plane = row * (layout.height + 2 * layout.halo)
    step = 1 if layout.together else plane
    channels = channel_axis(layout.channels, plane) if layout.blocked else joined([(layout.channels, step)])
    axes = (
        joined([(layout.images, layout.elements // max(layout.images, 1))]),
        channels,
        joined([(layout.height, row)]),
        joined([(layout.width, pixel)]),
    )
    return layout.halo * (row + pixel), axes


def refined(views: Sequence[View]) -> tuple[list[int], list[list[int]]] | None:
    """Sizes of axes along which all views, of one shape, have one stride each, and those strides, view by view.

    The axes are in the order of the last view's memory. None where the views' factors do not divide one another.
    """
    found: list[tuple[int, tuple[int, ...]]] = []
    for axes in zip(*(view.axes for view in views), strict=True):
        stacks = [list(axis) for axis in axes]
        pieces: list[tuple[int, tuple[int, ...]]] = []
        while any(stacks):
            size = math.gcd(*(stack[-1][0] for stack in stacks if stack))
            if size == 1 or not all(stacks):
                return None
            pieces.append((size, tuple(stack[-1][1] for stack in stacks)))
            for stack in stacks:
                whole, stride = stack.pop()
                if whole != size:
                    stack.append((whole // size, stride * size))
        found.extend(reversed(pieces))
    found.sort(key=lambda piece: -piece[1][-1])
    merged: list[tuple[int, tuple[int, ...]]] = []
    for size, strides in found:
        if merged and all(outer == size * inner for outer, inner in zip(merged[-1][1], strides, strict=True)):
            merged[-1] = (merged[-1][0] * size, strides)
        else:
            merged.append((size, strides))
    if not merged:
        merged = [(1, (1,) * len(views))]
    return [size for size, _ in merged], [[strides[k] for _, strides in merged] for k in range(len(views))]
