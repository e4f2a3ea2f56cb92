"""Operators that say where numbers lie, as slices, concatenations, other shapes and orders of axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tersely.torch.networks.decomposing import Rule, Writer

aten: Any = torch.ops.aten
RUNS = 64
"""Stretches of an axis that are taken one by one."""


def joined(write: Writer, parts: Sequence[Any], axis: int) -> Any:
    return parts[0] if len(parts) == 1 else write(aten.cat.default, list(parts), axis)


def part(write: Writer, x: Any, axis: int, begin: int, end: int) -> Any:
    return x if (begin, end) == (0, write.shape(x)[axis]) else write(aten.slice.Tensor, x, axis, begin, end)


def _roll(write: Writer) -> Any:
    found = write.arguments
    x, shifts, axes = found["self"], list(found["shifts"]), list(found["dims"])
    shape = write.shape(x)
    if not axes:  # of all numbers in a row
        x, axes = write(aten.view.default, write(aten.contiguous.default, x), [-1]), [0]
    for shift, axis in zip(shifts, axes, strict=True):
        length = write.shape(x)[axis]
        if length and shift % length:
            cut = length - shift % length
            x = joined(write, [part(write, x, axis, cut, length), part(write, x, axis, 0, cut)], axis)
    return x if write.shape(x) == shape else write(aten.view.default, x, shape)


def _stack(write: Writer) -> Any:
    found = write.arguments
    axis = found["dim"]
    return joined(write, [write(aten.unsqueeze.default, one, axis) for one in found["tensors"]], axis)


def _repeat(write: Writer) -> Any:
    """Each axis [n] as [times, n]."""
    found = write.arguments
    x, times = found["self"], list(found["repeats"])
    shape = write.shape(x)
    shape = [1] * (len(times) - len(shape)) + shape
    if 0 in times or all(one == 1 for one in times):
        return write(aten.reshape.default, x, shape) if 0 not in times else None
    x = write(aten.reshape.default, x, [n for length in shape for n in (1, length)])
    x = write(aten.expand.default, x, [n for pair in zip(times, shape, strict=True) for n in pair])
    return write(aten.reshape.default, x, [n * t for n, t in zip(shape, times, strict=True)])


def _repeat_interleave(write: Writer) -> Any:
    """Each number along an axis so many times, one after another."""
    found = write.arguments
    x, times, axis = found["self"], found["repeats"], found["dim"]
    shape = write.shape(x)
    if axis is None or not isinstance(times, int) or times < 1:
        return None
    axis %= len(shape)
    x = write(aten.unsqueeze.default, x, axis + 1)
    x = write(aten.expand.default, x, [*shape[: axis + 1], times, *shape[axis + 1 :]])
    return write(aten.reshape.default, x, [*shape[:axis], shape[axis] * times, *shape[axis + 1 :]])


def _slice_scatter(write: Writer) -> Any:
    found = write.arguments
    x, source, axis, step = found["self"], found["src"], found["dim"], found["step"]
    length = write.shape(x)[axis]
    begin, end, _ = slice(found["start"], found["end"]).indices(length)
    if step != 1 or begin >= end:
        return None
    parts = [source]
    if begin:
        parts.insert(0, part(write, x, axis, 0, begin))
    if end < length:
        parts.append(part(write, x, axis, end, length))
    return joined(write, parts, axis)


def _select_scatter(write: Writer) -> Any:
    found = write.arguments
    x, axis = found["self"], found["dim"]
    length = write.shape(x)[axis]
    at = found["index"] % length
    parts = [write(aten.unsqueeze.default, found["src"], axis)]
    if at:
        parts.insert(0, part(write, x, axis, 0, at))
    if at + 1 < length:
        parts.append(part(write, x, axis, at + 1, length))
    return joined(write, parts, axis)


def taken(write: Writer, x: Any, axis: int, places: Sequence[int]) -> Any:
    """Numbers along an axis by their places, stretch by stretch; None where there are too many of these."""
    runs: list[list[int]] = []
    for one in places:
        if runs and one == runs[-1][1]:
            runs[-1][1] += 1
        else:
            runs.append([one, one + 1])
    if not runs or len(runs) > RUNS:
        return None
    return joined(write, [part(write, x, axis, begin, end) for begin, end in runs], axis)


def _known(write: Writer, index: Any) -> list[int] | None:
    """The numbers of a constant of one axis."""
    if index.op != "get_attr" or index.meta["val"].dim() != 1 or index.meta["val"].dtype != torch.int64:
        return None
    found: Any = write.module
    for name in str(index.target).split("."):
        found = getattr(found, name)
    return [int(one) for one in found]


def _by_number(write: Writer, x: Any, axis: int, index: Any) -> Any:
    length, places = write.shape(x)[axis], _known(write, index)
    if places is None or not all(-length <= one < length for one in places):
        return None
    return taken(write, x, axis, [one % length for one in places])


def _index(write: Writer) -> Any:
    """Along one axis by constant numbers."""
    found = write.arguments
    used = [axis for axis, one in enumerate(found["indices"]) if one is not None]
    return _by_number(write, found["self"], used[0], found["indices"][used[0]]) if len(used) == 1 else None


def _flip(write: Writer) -> Any:
    found = write.arguments
    x = found["self"]
    for axis in found["dims"]:
        x = None if x is None else taken(write, x, axis, range(write.shape(x)[axis] - 1, -1, -1))
    return x


def _pad(write: Writer) -> Any:
    """Other numbers than a constant around: those at the edges, or mirrored at them, or those of the other end."""
    found = write.arguments
    x, pads, mode = found["self"], list(found["pad"]), found["mode"]
    if mode not in ("reflect", "replicate", "circular"):
        return None
    for place in range(len(pads) // 2):
        axis = len(write.shape(x)) - 1 - place
        before, behind = pads[2 * place : 2 * place + 2]
        if min(before, behind) < 0:
            return None
        length = write.shape(x)[axis]
        wanted = range(-before, length + behind)
        if mode == "replicate":
            edges = [write(aten.slice.Tensor, x, axis, *one) for one in ((0, 1), (length - 1, length))]
            shape = write.shape(x)
            parts = [x]
            if before:
                shape[axis] = before
                parts.insert(0, write(aten.expand.default, edges[0], list(shape)))
            if behind:
                shape[axis] = behind
                parts.append(write(aten.expand.default, edges[1], list(shape)))
            x = joined(write, parts, axis)
        elif mode == "circular":
            x = taken(write, x, axis, [one % length for one in wanted])
        else:
            x = taken(write, x, axis, [length - 1 - abs(length - 1 - abs(one)) for one in wanted])
        if x is None:
            return None
    return x


def _filled(write: Writer) -> Any:
    """A number that is computed, everywhere."""
    value = write.arguments["value"]
    if value.meta["val"].dtype != write.result.dtype:
        value = write(aten.to.dtype, value, write.result.dtype)
    return write(aten.expand.default, value, list(write.result.shape))


def _copied(write: Writer) -> Any:
    """What is written over a tensor, repeated to its shape."""
    source = write.arguments["src"]
    if source.meta["val"].dtype != write.result.dtype:
        source = write(aten.to.dtype, source, write.result.dtype)
    shape = list(write.result.shape)
    return source if write.shape(source) == shape else write(aten.expand.default, source, shape)


def _gather(write: Writer) -> Any:
    """Of a constant that has one number everywhere: that number."""
    found = write.arguments
    table = found["self"]
    if table.op != "get_attr":
        return None
    numbers: Any = write.module
    for name in str(table.target).split("."):
        numbers = getattr(numbers, name)
    first = numbers.reshape(-1)[0].item() if numbers.numel() else None
    same = isinstance(first, (bool, int, float)) and bool((numbers == first).all())
    return write.filled(first, write.result.shape) if same else None  # type: ignore[arg-type]


def _names(operators: str, rule: Rule) -> dict[str, Rule]:
    return {f"aten.{name}": rule for name in operators.split()}


RULES: dict[str, Rule] = {
    **_names("roll.default", _roll),
    **_names("stack.default", _stack),
    **_names("repeat.default", _repeat),
    **_names("repeat_interleave.self_int", _repeat_interleave),
    **_names("slice_scatter.default", _slice_scatter),
    **_names("select_scatter.default", _select_scatter),
    **_names("index_select.default", lambda write: _by_number(
        write, write.arguments["self"], write.arguments["dim"], write.arguments["index"])),
    **_names("index.Tensor", _index),
    **_names("flip.default", _flip),
    **_names("pad.default", _pad),
    **_names("fill.Tensor", _filled),
    **_names("copy.default", _copied),
    **_names("gather.default", _gather),
}  # fmt: skip
