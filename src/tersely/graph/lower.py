"""From a graph and the shapes of its inputs to a program: layouts, memory, steps.

Images lie in blocks of 16 channels from the first convolution to the last, with a halo of zeros as wide as any
convolution that reads them pads; rows lie as they are. The program is data (backends/cpu/network/program.hpp), the same
for every instruction set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tersely.core.errors import ArgumentError
from tersely.graph.graph import Graph, Node
from tersely.graph.memory import Life, place
from tersely.graph.operators import ACTIVATIONS, ARITHMETIC, Shape, infer

CHANNEL_BLOCK = 16
WINOGRAD_PIXELS = 144


@dataclass(frozen=True)
class Layout:
    """How a value lies: `ImageLayout` of backends/cpu/network/image.hpp, and how many images there are."""

    images: int
    channels: int
    height: int
    width: int
    halo: int = 0
    blocked: bool = True

    @property
    def floats(self) -> int:
        channels = -(-self.channels // CHANNEL_BLOCK) * CHANNEL_BLOCK if self.blocked else self.channels
        return self.images * channels * (self.height + 2 * self.halo) * (self.width + 2 * self.halo)


@dataclass
class Program:
    """steps: as the executor takes them, values by number. nodes: the node that each step computes, "" for moves."""

    layouts: list[Layout] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    nodes: list[str] = field(default_factory=list)
    arena: int = 0
    places: list[int] = field(default_factory=list)
    output_shapes: list[Shape] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        values = [
            {
                "at": at,
                "images": one.images,
                "channels": one.channels,
                "height": one.height,
                "width": one.width,
                "halo": one.halo,
                "blocked": one.blocked,
            }
            for at, one in zip(self.places, self.layouts, strict=True)
        ]
        return {"version": 1, "arena": self.arena, "values": values, "steps": self.steps}


def lower(graph: Graph, shapes: Mapping[str, Shape], winograd: bool = True) -> Program:
    """The program of a graph for inputs of these shapes.

    shapes: of inputs and constants. winograd: whether 3 x 3 convolutions may take Winograd's method.

    Raises ArgumentError where shapes do not go together, and for operators that the executor does not have.
    """
    return _Lowering(graph, infer(graph, shapes), winograd).run()


class _Lowering:
    def __init__(self, graph: Graph, shapes: dict[str, Shape], winograd: bool) -> None:
        self.graph, self.shapes, self.winograd = graph, shapes, winograd
        self.program = Program()
        self.numbers: dict[str, int] = {}
        self.halos = self._halos()

    def run(self) -> Program:
        for index, name in enumerate(self.graph.inputs):
            self._emit("input", name, self._new(name, self._layout(name)), index=index)
        for node in self.graph.nodes:
            self._node(node)
        for index, name in enumerate(self.graph.outputs):
            self.program.steps.append({"operator": "output", "x": self.numbers[name], "index": index})
            self.program.nodes.append(name)
            self.program.output_shapes.append(self.shapes[name])
        self._place()
        return self.program

    def _halos(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for node in self.graph.nodes:
            if node.operator == "convolution":
                name = node.inputs["x"]
                found[name] = max(found.get(name, 0), *node.attributes["padding"])
        return found

    def _layout(self, name: str) -> Layout:
        shape = self.shapes[name]
        if len(shape) == 4:
            images, channels, height, width = shape
            # A camera's three channels would be one block of which 13 are padding.
            blocked = name not in self.graph.inputs or channels % CHANNEL_BLOCK == 0
            return Layout(images, channels, height, width, self.halos.get(name, 0), blocked)
        if len(shape) == 2:
            return Layout(shape[0], shape[1], 1, 1, 0, False)
        raise ArgumentError(f"{name}: values of shape {list(shape)} are not lowered")

    def _new(self, name: str, layout: Layout) -> int:
        self.numbers[name] = len(self.program.layouts)
        self.program.layouts.append(layout)
        return self.numbers[name]

    def _emit(self, operator: str, name: str, y: int, **members: Any) -> None:
        self.program.steps.append({"operator": operator, "y": y, **members})
        self.program.nodes.append(name)

    def _node(self, node: Node) -> None:
        x = self.numbers.get(node.inputs.get("x", ""))
        if x is None:
            raise ArgumentError(f"{node}: an operator on constants alone")
        y = self._new(node.output, self._layout(node.output))
        operator, attributes = node.operator, node.attributes
        finish = {"activation": attributes["activation"]} if "activation" in attributes else {}
        if operator == "convolution":
            self._convolution(node, x, y, finish)
        elif operator == "linear":
            extra = {"bias": node.inputs["bias"]} if "bias" in node.inputs else {}
            self._emit("linear", node.output, y, x=x, weight=node.inputs["weight"], **extra, **finish)
        elif operator in ("max_pool", "average_pool", "adaptive_average_pool"):
            self._pool(node, x, y)
        elif operator == "flatten":
            flat = len(self.shapes[node.inputs["x"]]) == 4
            if len(self.shapes[node.output]) != 2:
                raise ArgumentError(f"{node}: only images are flattened, to rows")
            self._emit("move", node.output, y, x=x, flat=int(flat))
        elif operator in ACTIVATIONS:
            self._emit("pointwise", node.output, y, x=x, kind=operator)
        elif operator in ARITHMETIC:
            z = self.numbers.get(node.inputs["z"])
            if z is None or self.shapes[node.inputs["x"]] != self.shapes[node.inputs["z"]]:
                raise ArgumentError(f"{node}: operands of different shapes")
            self._emit("pointwise", node.output, y, x=x, z=z, kind=operator, **finish)
        else:
            raise ArgumentError(f"{node}: the executor has no such operator")

    def _convolution(self, node: Node, x: int, y: int, finish: dict[str, Any]) -> None:
        attributes = node.attributes
        if attributes["groups"] != 1:
            raise ArgumentError(f"{node}: convolutions in groups are not lowered")
        extra: dict[str, Any] = {}
        if "residual" in node.inputs:
            extra["residual"] = self.numbers[node.inputs["residual"]]
        for role in ("scale", "shift"):
            if role in node.inputs:
                extra[role] = node.inputs[role]
        if "bias" in node.inputs:
            extra["shift"] = node.inputs["bias"]
        height, width = self.shapes[node.inputs["weight"]][2:]
        if self.winograd and _suits_winograd(node, self.shapes):
            extra["method"] = "winograd"
        self._emit(
            "convolution", node.output, y, x=x, weight=node.inputs["weight"], height=height, width=width,
            **_pairs(attributes, "stride", "stride"), **_pairs(attributes, "dilation", "dilation"),
            **_pairs(attributes, "padding", "pad"), **extra, **finish,
        )  # fmt: skip

    def _pool(self, node: Node, x: int, y: int) -> None:
        attributes = dict(node.attributes)
        if node.operator == "adaptive_average_pool":
            size, target = self.shapes[node.inputs["x"]][2:], attributes["size"]
            if any(length % count for length, count in zip(size, target, strict=True)):
                raise ArgumentError(f"{node}: {list(size)} pixels are not shared out evenly to {list(target)}")
            kernel = [length // count for length, count in zip(size, target, strict=True)]
            attributes = {"kernel": kernel, "stride": kernel, "padding": [0, 0]}
        kind = "max" if node.operator == "max_pool" else "mean"
        if any(one != 1 for one in attributes.get("dilation", [1, 1])):
            raise ArgumentError(f"{node}: pooling with dilation is not lowered")
        self._emit(
            "pool", node.output, y, x=x, kind=kind, height=attributes["kernel"][0], width=attributes["kernel"][1],
            count_padding=int(attributes.get("count_padding", False)),
            **_pairs(attributes, "stride", "stride"), **_pairs(attributes, "padding", "pad"),
        )  # fmt: skip

    def _place(self) -> None:
        """Places for all values, and zeros around those with a halo before they are written."""
        steps = self.program.steps
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for index, step in enumerate(steps):
            for role in ("x", "y", "z", "residual"):
                if role in step:
                    first.setdefault(step[role], index)
                    last[step[role]] = index
        lives = [Life(layout.floats, first[i], last[i]) for i, layout in enumerate(self.program.layouts)]
        self.program.places, self.program.arena = place(lives)
        with_halos: list[dict[str, Any]] = []
        nodes: list[str] = []
        for step, name in zip(steps, self.program.nodes, strict=True):
            y = step.get("y")
            if y is not None and self.program.layouts[y].halo:
                with_halos.append({"operator": "clear", "y": y})
                nodes.append(name)
            with_halos.append(step)
            nodes.append(name)
        self.program.steps, self.program.nodes = with_halos, nodes


def _suits_winograd(node: Node, shapes: Mapping[str, Shape]) -> bool:
    """Whether transforms pay: measured on two machines, images of 14 x 14 pixels and more gain, 7 x 7 lose."""
    _, channels, height, width = shapes[node.inputs["weight"]]
    attributes = node.attributes
    once = all(one == 1 for name in ("stride", "dilation") for one in attributes[name])
    enough = math.prod(shapes[node.output][2:]) >= WINOGRAD_PIXELS
    return once and (height, width) == (3, 3) and channels % CHANNEL_BLOCK == 0 and enough


def _pairs(attributes: Mapping[str, Any], name: str, member: str) -> dict[str, int]:
    """The two numbers of an attribute as the members of a step."""
    y, x = attributes.get(name, (1, 1))
    return {f"{member}_y": y, f"{member}_x": x}


def floats_of(shape: Shape) -> int:
    return math.prod(shape)
