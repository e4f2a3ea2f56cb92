"""Parts of a program that run on some images of a batch at a time, so that what is between their steps stays in cache.

A convolution decodes its weights once for all images that it is given, and so wants pixels enough to share what that
costs; more images than that only take cache from each other. Early layers have many pixels and few weights, late ones
the reverse: a network begins image by image, and ends with whole batches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tersely.graph.lowering.program import ALIGNMENT, ROLES, Layout, Loop, Program

PIXELS = 600
"""Of a turn, which share what decoding a panel costs: that of some twelve of them."""
BYTES = 1 << 19
"""Of a turn's operands: with fewer, workers wait for each other longer than for memory."""
FITS = 1 << 23
"""Of a turn's operands, for which a step is not parted from those before it. MEASURED (Zen 5, batches of 8): layers whose
operands take 10 MB lose nothing by it, those of 15 MB and more a tenth to two thirds."""
BY_IMAGE = frozenset(
    {
        "input",
        "convolution",
        "expanded_depthwise",
        "pool",
        "pointwise",
        "combine",
        "scale_shift",
        "activate",
        "assemble",
        "resize",
        "move",
    }
    | {"quantise", "dequantise", "quantised_convolution", "quantised_add", "quantised_pool"}
)
"""Operators whose steps do the same to each image, and have nothing that counts images."""


@dataclass(frozen=True)
class _Wish:
    """images: how many a step wants at a time; None where it takes what its neighbours have. each: bytes for an image."""

    images: int | None
    each: int


def add_loops(program: Program) -> None:
    """Put steps into loops, and give their values the images of one turn. Before values have places."""
    batch = max((program.layouts[step["y"]].images for step in program.steps if step["operator"] == "input"), default=1)
    if batch == 1:
        return
    for loop in list(_runs(program, batch)):
        uses = _uses(program)
        inside = range(loop.first, loop.end)
        values = {value for index in inside for value in operands(program.steps[index])}
        around = {value for value in values if not all(index in inside for index in uses[program.owner(value)])}
        if all(_parts(program.layouts[value], loop.turns) for value in around):
            _enter(program, loop, values, around)
            program.loops.append(loop)


def operands(step: dict[str, Any]) -> list[int]:
    """Numbers of the values that a step reads or writes."""
    return [step[role] for role in ROLES if role in step] + list(step.get("xs", ()))


def _runs(program: Program, batch: int) -> Iterator[Loop]:
    first, images, follows = 0, None, True
    for index, step in enumerate([*program.steps, None]):
        wish = None if step is None else _wish(program, step, batch)
        stays = wish is not None and follows and (
            wish.images is None or images is None or wish.images == images
            or (wish.images < images and images * wish.each <= FITS)
        )  # fmt: skip
        if not stays:
            if images is not None and images < batch:
                yield Loop(first, index, batch // images)
            first, images = index, None
        follows = wish is not None
        if wish is not None and images is None:
            images = wish.images


def _wish(program: Program, step: dict[str, Any], batch: int) -> _Wish | None:
    """None where a step is no business of single images."""
    layouts = [program.layouts[value] for value in operands(step)]
    alike = all(layout.images == batch for layout in layouts) and not any(v in program.aliases for v in operands(step))
    if step["operator"] not in BY_IMAGE or not alike or step.get("method") not in (None, "winograd"):
        return None
    each = sum(4 * layout.floats for layout in layouts) // batch
    y = program.layouts[step["y"]]
    if "weight" not in step or step.get("groups", 1) == y.channels:
        return _Wish(None, each)
    wanted = max(math.ceil(PIXELS / (y.height * y.width)), math.ceil(BYTES / each))
    return _Wish(min((one for one in _divisors(batch) if one >= wanted), default=batch), each)


def _divisors(number: int) -> list[int]:
    small = [one for one in range(1, math.isqrt(number) + 1) if number % one == 0]
    return small + [number // one for one in small]


def _uses(program: Program) -> dict[int, list[int]]:
    """The steps that read or write each value's memory."""
    found: dict[int, list[int]] = {}
    for index, step in enumerate(program.steps):
        for value in operands(step):
            found.setdefault(program.owner(value), []).append(index)
    return found


def _parts(layout: Layout, turns: int) -> bool:
    """Whether each turn's images begin at a line of cache."""
    each, rest = divmod(layout.elements * layout.element_bytes, turns)
    return rest == 0 and each % (4 * ALIGNMENT) == 0


def _enter(program: Program, loop: Loop, values: set[int], around: set[int]) -> None:
    """Values that are used outside as well are seen a turn's images at a time; others have no more than these."""
    seen = {}
    for value in sorted(values):
        whole = program.layouts[value]
        part = replace(whole, images=whole.images // loop.turns)
        if value in around:
            seen[value] = len(program.layouts)
            program.aliases[seen[value]] = (program.owner(value), 0)
            program.layouts.append(replace(part, turns=loop.turns, each=part.floats))
        else:
            program.layouts[value] = part
    for step in program.steps[loop.first : loop.end]:
        for role in ROLES:
            if role in step:
                step[role] = seen.get(step[role], step[role])
        if "xs" in step:
            step["xs"] = [seen.get(value, value) for value in step["xs"]]
