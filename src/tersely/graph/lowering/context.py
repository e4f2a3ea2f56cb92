"""What lowering an operator sees, and what it writes to.

A value is bound to a view of memory. Operators ask for it in the layout that they need - `image`, `tokens`, `matrices`,
`plain` - and what does not lie so is copied there once.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from tersely.core.errors import ArgumentError
from tersely.graph.graph import Graph, Node
from tersely.graph.lowering.layouts import layout_of, lies_together, padding_byte
from tersely.graph.lowering.program import CHANNEL_BLOCK, Layout, Program
from tersely.graph.lowering.views import Axis, View, image_axes, plain_axes, refined, token_axes
from tersely.graph.operators import Shape
from tersely.graph.quantised_operators import dtypes


class Context:
    """shapes: of every value and constant. winograd: whether convolutions may take Winograd's method.

    products_only: weights whose code can be multiplied, but not walked as those of a convolution.
    sparse: outputs of the convolutions that are computed by the weights that are not zero.
    pairs: those of products of bfloat16. rounded: by memory and layout, the value that is the same in bfloat16.
    """

    def __init__(
        self,
        graph: Graph,
        shapes: dict[str, Shape],
        winograd: bool,
        products_only: Collection[str] = (),
        sparse: Collection[str] = (),
        pairs: Collection[str] = (),
    ) -> None:
        self.dtypes = dtypes(graph)
        self.graph, self.shapes, self.winograd, self.products_only = graph, shapes, winograd, products_only
        self.sparse, self.pairs = sparse, pairs
        self.rounded: dict[tuple[int, int, Layout], int] = {}
        self.program = Program()
        self._numbers: dict[str, int] = {}
        self._planes: dict[str, int] = {}
        self._views: dict[str, View] = {}
        self._padded: dict[str, int] = {}
        self._copies: dict[tuple[str, str], View] = {}

    # Values that operators write.

    def new(self, name: str, layout: Layout) -> int:
        """A value of the graph that is to be written as an image, or as plain rows; its number."""
        number = self.fresh(layout)
        self._numbers[name] = number
        if len(self.shapes[name]) == 4:
            if not layout.blocked or whole_blocks(layout.channels):
                self._views[name] = View(number, None, *image_axes(layout))
        else:
            self._views[name] = View(number, None, 0, plain_axes(self.shapes[name]))
        return number

    def output(self, node: Node) -> int:
        """The value that a node computes, in the layout that its shape and its readers ask for."""
        return self.image(node.output)

    def new_planes(self, name: str) -> int:
        """An image that is to be written in planes of channels; its number."""
        number = self._planes[name] = self.fresh(self._layout_in_planes(name))
        self.bind(name, View(number, None, *image_axes(self.program.layouts[number])))
        return number

    def image(self, name: str) -> int:
        """The same, of a value by its name."""
        together = lies_together(name, self.graph, self.shapes, {*self.sparse, *self.pairs})
        return self.new(name, replace(self._image_layout(name), together=together))

    def _image_layout(self, name: str) -> Layout:
        layout = layout_of(name, self.graph, self.shapes, self.sparse)
        if self.element_bytes(name) == 4:
            return layout
        return replace(layout, blocked=True, element_bytes=1, fill=padding_byte(name, self.graph, self.dtypes))

    def element_bytes(self, name: str) -> int:
        """1 for values of bytes, else 4."""
        return 4 if self.dtypes[name] == "float32" else 1

    def has_image_view(self, channels: int) -> bool:
        """Whether images of so many channels in blocks have axes."""
        return whole_blocks(channels)

    def fresh(self, layout: Layout) -> int:
        if layout.floats == 0:
            raise ArgumentError("a value of no numbers, which the executor does not have")
        self.program.layouts.append(layout)
        return len(self.program.layouts) - 1

    def bind(self, name: str, view: View) -> None:
        """A value of the graph is what a view sees."""
        self._views[name] = view

    def new_plain(self, name: str) -> View:
        """A value that is to be written in the order of its indices; its view."""
        self.bind(name, self.plain_of(self.shapes[name], self.element_bytes(name)))
        return self._views[name]

    def new_tokens(self, name: str, leading: Sequence[Axis]) -> int:
        """A value [..., channels] in blocks of channels, its other axes lying as `leading` says; its number."""
        channels = self.shapes[name][-1]
        rows = math.prod(self.shapes[name][:-1])
        layout = Layout(1, channels, 1, rows, element_bytes=self.element_bytes(name))
        number = self.fresh(layout)
        if whole_blocks(channels):
            axes = token_axes((rows,), channels, layout)
            self.bind(name, View(number, None, 0, (*leading, axes[-1])))
        else:
            self._padded[name] = number
        return number

    def new_matrices(self, name: str, layout: Layout) -> int:
        """A value [..., rows, columns] with an image for each matrix (`matrices`); its number."""
        number = self.fresh(layout)
        if whole_blocks(layout.channels):
            self.bind(name, View(number, None, 0, token_axes(self.shapes[name][:-1], layout.channels, layout)))
        else:
            self._padded[name] = number
        return number

    def plain_of(self, shape: Shape, element_bytes: int = 4) -> View:
        """Memory for numbers in the order of their indices."""
        layout = replace(flat(math.prod(shape)), element_bytes=element_bytes)
        return View(self.fresh(layout), None, 0, plain_axes(shape))

    def bytes_of(self, view: View) -> int:
        """Bytes of each number that a view sees."""
        return 4 if view.number is None else self.program.layouts[view.number].element_bytes

    def plain_copy(self, view: View, name: str) -> View:
        """What a view sees, copied to the order of its indices."""
        found = self.plain_of(view.shape, self.bytes_of(view))
        self.copy(view, found, name)
        return found

    def new_like(self, name: str, view: View) -> View:
        """A value lying as another one does, which is dense; its view."""
        number = self.fresh(replace(flat(math.prod(view.shape)), element_bytes=self.element_bytes(name)))
        self.bind(name, View(number, None, 0, view.axes))
        return self._views[name]

    # Values that operators read.

    def number(self, name: str) -> int:
        """The number of a value that lies as images do, or as plain rows; of a constant that of a copy."""
        if name in self._numbers:
            return self._numbers[name]
        if name in self._planes:
            self._numbers[name] = self._moved(self._planes[name], name, self._image_layout(name))
            return self._numbers[name]
        shape = self.shapes[name]
        if len(shape) == 2:
            return self.rows(name)
        layout = self._image_layout(name)
        number = self.fresh(layout)
        self._copy_blocks(
            name, self.view(name), 1, layout.channels, lambda some: View(number, None, *image_axes(some)), layout
        )
        self._numbers[name] = number
        return number

    def planes(self, name: str) -> int:
        """The number of an image in planes of channels."""
        if name not in self._planes:
            number = self.number(name)
            blocked = self.program.layouts[number].blocked
            self._planes[name] = self._moved(number, name, self._layout_in_planes(name)) if blocked else number
        return self._planes[name]

    def lies_in_planes(self, name: str) -> bool:
        """Whether an image was written in planes of channels, and in no other way."""
        return name in self._planes and name not in self._numbers

    def is_image(self, name: str) -> bool:
        """Whether a value has been written as images, which operators on images read as they are."""
        return (name in self._numbers or name in self._planes) and len(self.shapes[name]) == 4

    def layout(self, name: str) -> Layout:
        return self.program.layouts[self.number(name)]

    def view(self, name: str) -> View:
        """Where a value's or a constant's numbers lie."""
        if name in self.graph.constants:
            return View(None, name, 0, plain_axes(self.shapes[name]))
        if name not in self._views:
            self._views[name] = self._unpadded(name)
        return self._views[name]

    def plain(self, name: str) -> View:
        """A value in the order of its indices."""
        view = self.view(name)
        if view.axes == plain_axes(view.shape) and view.dense():
            return view
        if (name, "plain") not in self._copies:
            self._copies[name, "plain"] = self.plain_copy(view, name)
        return self._copies[name, "plain"]

    def flat(self, name: str) -> int:
        """The same as a row of numbers; its number."""
        view = self.plain(name)
        return self.alias(view, flat(math.prod(view.shape)))

    def rows(self, name: str) -> int:
        """A value [..., features] as plain rows; its number."""
        shape = self.shapes[name]
        return self.alias(self.plain(name), Layout(math.prod(shape[:-1]), shape[-1], 1, 1, 0, False))

    def tokens(self, name: str) -> tuple[int, tuple[Axis, ...]]:
        """A value [..., channels] in blocks of channels, every row a pixel: its number, and how its other axes lie."""
        shape = self.shapes[name]
        rows, channels = math.prod(shape[:-1]), shape[-1]
        layout = Layout(1, channels, 1, rows, element_bytes=self.element_bytes(name))
        leading = token_axes(shape[:-1], channels, layout)[:-1]
        if name in self._padded and self.program.layouts[self._padded[name]].images == 1:
            return self._padded[name], leading
        view = self.view(name)
        if whole_blocks(channels) and view.number is not None and self.aligned(view):
            wanted = token_axes((rows,), channels, layout)
            lines = View(0, None, 0, (*(tuple((n, s // CHANNEL_BLOCK) for n, s in a) for a in view.axes[:-1]),))
            even = all(s % CHANNEL_BLOCK == 0 for axis in view.axes[:-1] for _, s in axis)
            if even and lines.dense() and view.axes[-1] == wanted[-1] and channels % CHANNEL_BLOCK == 0:
                return self.alias(view, layout), view.axes[:-1]
        return self._token_copy(name, view, leading, layout), leading

    def tokens_lying(self, name: str, leading: Sequence[Axis]) -> int:
        """The same, its other axes lying as `leading` says."""
        number, found = self.tokens(name)
        if found == tuple(leading):
            return number
        shape = self.shapes[name]
        layout = Layout(1, shape[-1], 1, math.prod(shape[:-1]), element_bytes=self.element_bytes(name))
        return self._token_copy(name, self.view(name), leading, layout)

    def matrices(self, view: View, name: str) -> int:
        """A view [..., rows, columns] with an image for each matrix, rows as pixels, columns in blocks; its number."""
        *leading, rows, columns = view.shape
        layout = Layout(math.prod(leading), columns, 1, rows)
        number = self.fresh(layout)
        self._copy_blocks(
            name,
            view,
            -1,
            columns,
            lambda some: View(number, None, 0, token_axes((*leading, rows), some.channels, some)),
            layout,
        )
        return number

    # Steps.

    def emit(self, operator: str, name: str, y: int, **members: Any) -> None:
        """A step that writes value y for the graph's node `name`."""
        self.add({"operator": operator, "y": y, **members}, name)

    def add(self, step: dict[str, Any], name: str) -> None:
        self.program.steps.append(step)
        self.program.nodes.append(name)

    def elementwise(self, kind: str, name: str, y: View, x: View, z: View | None = None) -> None:
        """A step y = x, or of x and z, all of one shape; operands that lie too differently are copied first."""
        views = [x, y] if z is None else [x, z, y]
        found = refined(views)
        if found is None:
            plainly = self.plain_of(y.shape, self.bytes_of(y))
            if z is not None:
                x, z = self.plain_copy(x, name), self.plain_copy(z, name)
                self.elementwise(kind, name, plainly, x, z)
            else:
                self.elementwise(kind, name, plainly, x)
            return self.elementwise("copy", name, y, plainly)
        sizes, strides = found
        if self.bytes_of(y) == 1:
            members = {**operand("x", x, strides[0]), **operand("y", y, strides[-1])}
            return self.add({"operator": "copy_bytes", "sizes": sizes, **members}, name)
        members = {"kind": kind, "sizes": sizes}
        for role, view, one in zip(("x", "y") if z is None else ("x", "z", "y"), views, strides, strict=True):
            members.update(operand(role, view, one))
        return self.add({"operator": "elementwise", **members}, name)

    def copy(self, x: View, y: View, name: str) -> None:
        self.elementwise("copy", name, y, x)

    def alias(self, view: View, layout: Layout) -> int:
        """A value that is memory of another one, seen in a layout of its own; its number."""
        assert view.number is not None
        if view.offset == 0 and self.program.layouts[view.number] == layout:
            return view.number
        number = self.fresh(layout)
        self.program.aliases[number] = (view.number, view.offset * layout.element_bytes // 4)
        return number

    def aligned(self, view: View) -> bool:
        """Whether a view begins at a line of cache, where a value may begin."""
        return view.offset * self.bytes_of(view) % (CHANNEL_BLOCK * 4) == 0

    def _layout_in_planes(self, name: str) -> Layout:
        return layout_of(name, self.graph, self.shapes, self.sparse, planes=True)

    def _moved(self, number: int, name: str, layout: Layout) -> int:
        """An image in another layout; its number."""
        other = self.fresh(layout)
        self.emit("move", name, other, x=number)
        return other

    def _token_copy(self, name: str, view: View, leading: Sequence[Axis], layout: Layout) -> int:
        key = name, f"tokens {leading}"
        if key not in self._copies:
            number = self.fresh(layout)

            def axes_of(some: Layout) -> View:
                return View(number, None, 0, (*leading, token_axes((some.width,), some.channels, some)[-1]))

            self._copy_blocks(name, view, -1, layout.channels, axes_of, layout)
            self._copies[key] = View(number, None, 0, ())
        number = self._copies[key].number  # type: ignore[assignment]
        return number

    def _copy_blocks(
        self, name: str, view: View, axis: int, channels: int, blocks: Callable[[Layout], View], layout: Layout
    ) -> None:
        """Copy a view to blocks of channels: whole blocks, then those of the last one.

        blocks: the view of a layout of whole blocks, or of a single one, in the memory that is written.
        """
        for target, source in self._pieces(name, view, axis, channels, blocks, layout):
            self.copy(source, target, name)

    def _pieces(
        self, name: str, view: View, axis: int, channels: int, blocks: Callable[[Layout], View], layout: Layout
    ) -> list[tuple[View, View]]:
        axis %= len(view.axes)
        if not layout.blocked or whole_blocks(channels):
            return [(blocks(layout), view)]
        whole = channels // CHANNEL_BLOCK * CHANNEL_BLOCK
        padded = replace(layout, channels=whole + CHANNEL_BLOCK)
        target = blocks(padded)
        found = []
        for start, count in ((0, whole), (whole, channels - whole)):
            to, source = target.sliced(axis, start, count, 1), view.sliced(axis, start, count, 1)
            if to is None or source is None:
                plainly = self.plain_copy(view, name)
                return self._pieces(name, plainly, axis, channels, blocks, layout)
            found.append((to, source))
        return found

    def _unpadded(self, name: str) -> View:
        """A value in blocks, the last with padding, in the order of its indices."""
        shape = self.shapes[name]
        found = self.plain_of(shape, self.element_bytes(name))
        image = name in self._numbers
        number = self._numbers[name] if image else self._padded[name]
        layout = self.program.layouts[number]

        def blocks(some: Layout) -> View:
            if image:
                return View(number, None, *image_axes(some))
            return View(number, None, 0, token_axes(shape[:-1], some.channels, some))

        axis, channels = (1, shape[1]) if image else (-1, shape[-1])
        for source, target in self._pieces(name, found, axis, channels, blocks, layout):
            self.copy(source, target, name)
        return found


def operand(role: str, view: View, strides: Sequence[int]) -> dict[str, Any]:
    """Members of a step for what it reads or writes through strides."""
    where = {role: view.number} if view.constant is None else {f"{role}_constant": view.constant}
    return {**where, f"{role}_at": view.offset, f"{role}_strides": list(strides)}


def real(number: float) -> int:
    """A float32 as a member of a step: the integer of its bits."""
    return int.from_bytes(struct.pack("<f", number), "little")


def flat(size: int) -> Layout:
    return Layout(1, size, 1, 1, 0, False)


def whole_blocks(channels: int) -> bool:
    """Whether channels in blocks are one axis: whole blocks, or a single one."""
    return channels % CHANNEL_BLOCK == 0 or channels < CHANNEL_BLOCK


Lower = Callable[[Context, Node], None]


def finish_of(node: Node) -> dict[str, str]:
    """The activation that a node ends with, as a member of its step."""
    return {"activation": node.attributes["activation"]} if "activation" in node.attributes else {}
