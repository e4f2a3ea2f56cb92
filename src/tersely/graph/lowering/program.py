"""A program as it is lowered: layouts of values, steps, places."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from tersely.graph.operators import Shape

CHANNEL_BLOCK = 16
VERSION = 1
ALIGNMENT = 16
"""Floats: a line of cache, at which values begin."""
ROLES = ("x", "y", "z", "k", "v", "mask", "residual", "rounded")
"""Members of steps that are numbers of values."""


@dataclass(frozen=True)
class Layout:
    """How a value lies: ImageLayout of `backends/cpu/network/image.hpp`, and how many images there are.

    together: instead of planes, the channels of a pixel side by side. element_bytes: 4, of float32, 2, of bfloat16, or 1. fill: what is in the halo, of bytes; floats have zeros there.
    turns, each: of a value that a loop sees some images of at a time, `each` floats from one turn's to the next one's.
    """

    images: int
    channels: int
    height: int
    width: int
    halo: int = 0
    blocked: bool = True
    element_bytes: int = 4
    fill: int = 0
    turns: int = 1
    each: int = 0
    together: bool = False

    @property
    def floats(self) -> int:
        """Of memory, whatever is in it."""
        return -(-self.elements * self.element_bytes // 4)

    @property
    def elements(self) -> int:
        channels = -(-self.channels // CHANNEL_BLOCK) * CHANNEL_BLOCK if self.blocked else self.channels
        return self.images * channels * (self.height + 2 * self.halo) * (self.width + 2 * self.halo)


@dataclass(frozen=True)
class Loop:
    """Steps [first, end) run `turns` times over, each time on the next images."""

    first: int
    end: int
    turns: int


@dataclass
class Program:
    """steps: as the executor takes them, values by number. nodes: the graph's node that each step is part of.

    loops: steps that take a part of a batch at a time, one loop after another.
    aliases: values that are memory of another one, as (that one, floats from its beginning).
    places: of each value in the arena, in floats, also of those of bytes. arena: how many floats it has. shapes: of values of the graph.
    """

    layouts: list[Layout] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    nodes: list[str] = field(default_factory=list)
    loops: list[Loop] = field(default_factory=list)
    aliases: dict[int, tuple[int, int]] = field(default_factory=dict)
    places: list[int] = field(default_factory=list)
    arena: int = 0
    output_shapes: list[Shape] = field(default_factory=list)
    output_dtypes: list[str] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)

    def owner(self, value: int) -> int:
        """The value whose memory this one is."""
        return self.aliases.get(value, (value, 0))[0]

    def to_json(self) -> dict[str, Any]:
        values = [{"at": at, **asdict(one)} for at, one in zip(self.places, self.layouts, strict=True)]
        loops = {"loops": [asdict(one) for one in self.loops]} if self.loops else {}
        return {"version": VERSION, "arena": self.arena, "values": values, "steps": self.steps, **loops}
