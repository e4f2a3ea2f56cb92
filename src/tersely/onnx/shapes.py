"""Operators that say where numbers lie, join tensors or take them apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tersely.core.errors import ArgumentError, UnsupportedError
from tersely.onnx.call import IMAGES, Call, Translate
from tersely.onnx.lengths import Length, Number, Unknown, divided, equal, name_of, named, roots_of
from tersely.onnx.values import Shape, Value, constant

EVERYTHING = 2**31 - 1
"""Where a slice ends that has no end: ONNX says 2^63 - 1, more than a graph's numbers hold."""
PARTS = 256


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the first. Raises ArgumentError where there is none."""
    if not -rank <= axis < rank:
        raise ArgumentError(f"a tensor of {rank} dimensions has no axis {axis}")
    return axis % rank


def _shape(call: Call) -> Value:
    lengths = list(call[0].shape)
    rank = len(lengths)
    begin, end = (min(max(one + rank if one < 0 else one, 0), rank) for one in (
        call.attribute("start", 0), call.attribute("end", rank)))  # fmt: skip
    return _numbers(lengths[begin:end])


def _numbers(lengths: Sequence[Number]) -> Value:
    found = np.empty(len(lengths), object)
    found[:] = lengths
    return constant(found)


def _size(call: Call) -> Value:
    found = np.empty((), object)
    found[()] = math.prod(call[0].shape)
    return constant(found)


def _constant_of_shape(call: Call) -> Value:
    lengths = call.lengths(0, "shapes")
    filled = call.node.attributes.get("value")
    if filled is None:
        number = np.zeros(1, np.float32)
    elif isinstance(filled, np.ndarray) and filled.size == 1:
        number = filled
    else:
        raise ArgumentError("a constant of a shape is filled with one number")
    return repeated(constant(number.reshape(())), lengths)


def repeated(value: Value, lengths: Sequence[Number]) -> Value:
    """A constant repeated to a shape; along lengths that are not known it says so and is kept once."""
    if any(not isinstance(one, Length) and one < 1 for one in lengths):
        raise UnsupportedError(f"a tensor without elements, of shape {list(lengths)}")
    assert value.numbers is not None
    own = (1,) * (len(lengths) - len(value.shape)) + value.numbers.shape
    stored, axes = [], []
    for axis, (length, wanted) in enumerate(zip(own, lengths, strict=True)):
        stored.append(length if isinstance(wanted, Length) else wanted)
        if isinstance(wanted, Length):
            if length != 1:
                raise Unknown(wanted.roots, f"whether {length} is {wanted}")
            axes.append(axis)
    if math.prod(stored) > 1 << 28:
        raise ArgumentError(f"a constant of shape {stored}")
    return Value(tuple(lengths), value.dtype, numbers=np.broadcast_to(value.numbers.reshape(own), stored),
                 repeated=frozenset(axes))  # fmt: skip


def reshaped(call: Call, x: Value, target: Sequence[Number]) -> Value:
    """Lengths that an axis has already are said by its place: they may be others tomorrow. One may follow from the rest."""
    source = x.shape
    if any(not isinstance(one, Length) and one < 1 for one in target):
        raise UnsupportedError(f"a tensor without elements, of shape {list(target)}")
    if not equal(math.prod(source), math.prod(target)):
        raise ArgumentError(f"{list(source)} is not reshaped to {list(target)}")
    if tuple(source) == tuple(target):
        return x
    if x.repeated:
        raise Unknown(roots_of(source), "an axis that is repeated")
    if x.known:
        return constant(np.asarray(x.numbers).reshape([int(one) for one in target]))
    said = _said(source, target)
    if said is not None:
        return call.shaped("reshape", x, target, {"shape": said})
    return _aligned(call, x, target)


def _said(source: Sequence[Number], target: Sequence[Number]) -> list[int] | None:
    """The attribute of a reshape; None where more than one length is open."""
    found: list[int] = []
    for axis, length in enumerate(target):
        if axis < len(source) and source[axis] == length:
            found.append(0)
        elif isinstance(length, Length):
            found.append(-1)
        else:
            found.append(length)
    return found if found.count(-1) <= 1 else None


def _aligned(call: Call, x: Value, target: Sequence[Number]) -> Value:
    """Axes of length 1 are put where axes are joined or divided, so that all others keep their places."""
    before: list[Number] = []
    after: list[Number] = []
    sources, targets = list(x.shape), list(target)
    while sources or targets:
        own, wanted = sources[:1], targets[:1]
        sources, targets = sources[1:], targets[1:]
        while not _alike(own, wanted):
            if targets and (not sources or divided(math.prod(own), math.prod(wanted)) is not None):
                wanted.append(targets.pop(0))
            elif sources:
                own.append(sources.pop(0))
            else:
                raise Unknown(roots_of([*x.shape, *target]), "how axes are divided")
        room = max(len(own), len(wanted))
        before += [*own, *[1] * (room - len(own))]
        after += [*wanted, *[1] * (room - len(wanted))]
    said = _said(before, after)
    if said is None:
        raise Unknown(roots_of([*x.shape, *target]), "how axes are divided")
    value, at = x, 0
    for axis, length in enumerate(before):
        if at < len(x.shape) and x.shape[at] == length:
            at += 1
        else:
            value = call.emit("unsqueeze", {"x": value}, x.dtype, axis=axis)
    value = call.shaped("reshape", value, after, {"shape": said})
    axes, at = [], 0
    for axis, length in enumerate(after):
        if at < len(target) and target[at] == length:
            at += 1
        else:
            axes.append(axis)
    return call.shaped("squeeze", value, target, {"axes": axes}) if axes else value


def _alike(own: Sequence[Number], wanted: Sequence[Number]) -> bool:
    return bool(own) and bool(wanted) and math.prod(own) == math.prod(wanted)


def _reshape(call: Call) -> Value:
    x, asked = call[0], call.lengths(1, "shapes")
    source = x.shape
    copied = not call.attribute("allowzero", 0)
    target: list[Number] = []
    for axis, length in enumerate(asked):
        if not isinstance(length, Length) and length == 0 and copied:
            if axis >= len(source):
                raise ArgumentError(f"{list(source)} has no axis {axis}")
            length = source[axis]
        # An exporter that knew one image only repeats its number: it means that of the input.
        if axis == 0 and source and length == call.images and source[0] == name_of(IMAGES):
            length = source[0]
        target.append(length)
    open_axes = [axis for axis, one in enumerate(target) if not isinstance(one, Length) and one == -1]
    if len(open_axes) > 1:
        raise ArgumentError(f"two lengths of {list(target)} are left open")
    if open_axes:
        rest = math.prod(one for axis, one in enumerate(target) if axis != open_axes[0])
        if not isinstance(rest, Length) and rest < 1:
            raise UnsupportedError("a tensor without elements")
        found = divided(math.prod(source), rest)
        if found is None:
            if not roots_of([*source, rest]):
                raise ArgumentError(f"{list(source)} is not reshaped to {list(asked)}")
            raise Unknown(roots_of([*source, rest]), f"{math.prod(source)} numbers in {rest}")
        target[open_axes[0]] = found
    return reshaped(call, x, target)


def _flatten(call: Call) -> Value:
    x = call[0]
    axis = call.attribute("axis", 1)
    if not -len(x.shape) <= axis <= len(x.shape):
        raise ArgumentError(f"a tensor of {len(x.shape)} dimensions has no axis {axis}")
    axis += len(x.shape) if axis < 0 else 0
    if axis == 1 and len(x.shape) > 1 and not x.known and not x.repeated:
        return x if len(x.shape) == 2 else call.emit("flatten", {"x": x}, x.dtype, first=1, last=-1)
    return reshaped(call, x, [math.prod(x.shape[:axis]), math.prod(x.shape[axis:])])


def _transpose(call: Call) -> Value:
    x = call[0]
    order = call.integers("perm") or list(range(len(x.shape)))[::-1]
    if sorted(order) != list(range(len(x.shape))):
        raise ArgumentError(f"{order} is no order of the axes of {list(x.shape)}")
    return x if order == sorted(order) else call.emit("permute", {"x": x}, x.dtype, order=order)


def _squeeze(call: Call) -> Value:
    x, asked = call[0], call.axes("axes", 1, 13, None)
    if asked is None:
        if roots := roots_of(x.shape):
            raise Unknown(roots, "which axes have length 1")
        axes = [axis for axis, length in enumerate(x.shape) if length == 1]
    else:
        axes = [axis_of(axis, len(x.shape)) for axis in asked]
    for axis in axes:
        if not equal(x.shape[axis], 1):
            raise ArgumentError(f"axis {axis} of {list(x.shape)} is not of length 1")
    return call.emit("squeeze", {"x": x}, x.dtype, axes=axes) if axes else x


def _unsqueeze(call: Call) -> Value:
    value, axes = call[0], call.axes("axes", 1, 13, None) or []
    rank = len(value.shape) + len(axes)
    found = sorted(axis_of(axis, rank) for axis in axes)
    if len(set(found)) != len(found):
        raise ArgumentError(f"axes {axes}: one of them twice")
    for axis in found:
        value = call.emit("unsqueeze", {"x": value}, value.dtype, axis=axis)
    return value


def _expand(call: Call) -> Value:
    """An exporter that knew so many images only repeats a constant as often: it means as many as there are."""
    x, wanted = call[0], call.lengths(1, "shapes")
    if x.known and len(wanted) >= len(x.shape) and wanted[0] == call.images:
        first = x.shape[0] if len(x.shape) == len(wanted) else 1
        wanted = [name_of(IMAGES) if _is_one(first) else wanted[0], *wanted[1:]]
    return expanded(call, x, wanted)


def expanded(call: Call, x: Value, wanted: Sequence[Number]) -> Value:
    """x repeated so that it and `wanted` go together. Along lengths that are not known it is only said."""
    rank = max(len(x.shape), len(wanted))
    own = (1,) * (rank - len(x.shape)) + x.shape
    wanted = [1] * (rank - len(wanted)) + list(wanted)
    full: list[Number] = []
    for a, b in zip(own, wanted, strict=True):
        full.append(a if _is_one(b) or a == b else b)
        if not _is_one(a) and not _is_one(b) and not equal(a, b):
            raise ArgumentError(f"{list(x.shape)} is not repeated to {list(wanted)}")
    if tuple(full) == x.shape:
        return x
    if x.known and not x.repeated:
        return repeated(x, full)
    before = rank - len(x.shape)
    axes = frozenset(axis + before for axis in x.repeated)
    stored = [1 if axis in axes else length for axis, length in enumerate(own)]
    said = [-1 if isinstance(length, Length) or axis in axes or length == a else length
            for axis, (a, length) in enumerate(zip(stored, full, strict=True))]  # fmt: skip
    said = [1 if axis < before and length == -1 else length for axis, length in enumerate(said)]
    plain = replace(x, shape=x.stored, repeated=frozenset())
    value = call.emit("expand", {"x": plain}, x.dtype, shape=said)
    more = frozenset(axis for axis, (a, b) in enumerate(zip(value.shape, full, strict=True)) if a != b)
    return Value(tuple(full), x.dtype, value.name, repeated=more)


def _is_one(length: Number) -> bool:
    return not isinstance(length, Length) and length == 1


def _concatenate(call: Call) -> Value:
    values = [one for one in call.inputs if one is not None]
    if not 0 < len(values) <= PARTS:
        raise UnsupportedError(f"a concatenation of {len(values)} tensors")
    axis = axis_of(call.attribute("axis", 0), len(values[0].shape))
    if len(values) == 1:
        return values[0]
    shapes = [one.shape for one in values if not one.known]
    values = [call.for_images(one, shapes) if axis else one for one in values]
    for one in values[1:]:
        if len(one.shape) != len(values[0].shape) or one.dtype != values[0].dtype:
            raise ArgumentError("tensors of other dimensions or dtypes are concatenated")
        for place, (a, b) in enumerate(zip(values[0].shape, one.shape, strict=True)):
            if place != axis and not equal(a, b):
                raise ArgumentError(f"shapes {list(values[0].shape)} and {list(one.shape)} do not go together")
    return call.emit("concatenate", {f"x{i}": one for i, one in enumerate(values)}, values[0].dtype, axis=axis)


def _split(call: Call) -> list[Value]:
    x, axis = call[0], axis_of(call.attribute("axis", 0), len(call[0].shape))
    asked = call.axes("split", 1, 13, None)
    count = len(call.node.outputs)
    if asked is None:
        length = x.shape[axis]
        if isinstance(length, Length):
            part = divided(length, count)
            if part is None:
                raise Unknown(length.roots, "parts of a length")
        else:
            part = -(-length // count)
        sizes: list[Any] = [part] * (count - 1)
        sizes.append(length - part * (count - 1))
    else:
        sizes = list(asked)
    if len(sizes) != count or not equal(sum(sizes), x.shape[axis]):
        raise ArgumentError(f"parts of {sizes} of an axis of {x.shape[axis]}")
    if roots := roots_of(sizes):
        raise Unknown(roots, "parts of a length")
    if min(sizes) < 1:
        raise UnsupportedError("a part without elements")
    edges = np.cumsum([0, *sizes]).tolist()
    return [part_of(call, x, axis, a, b, 1) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def part_of(call: Call, x: Value, axis: int, begin: int, end: int, step: int) -> Value:
    if axis in x.repeated:
        raise Unknown(roots_of(x.shape), "an axis that is repeated")
    return call.emit("slice", {"x": x}, x.dtype, axis=axis, begin=begin, end=end, step=step)


def _slice(call: Call) -> Value:
    x = call[0]
    begins, ends = call.lengths(1, "bounds"), call.lengths(2, "bounds")
    axes = call.axes("axes", 3, 10, list(range(len(begins)))) or []
    steps = call.lengths(4, "steps") if call.has(4) else [1] * len(begins)
    value = x
    for asked, begin, end, step in zip(axes, begins, ends, steps, strict=True):
        axis = axis_of(asked, len(x.shape))
        length = value.shape[axis]
        if not isinstance(step, int) or step < 1:
            raise UnsupportedError(f"a slice with step {step}")
        end = EVERYTHING if isinstance(end, Length) and end == length else end
        if isinstance(begin, Length) or isinstance(end, Length):
            raise Unknown(roots_of([begin, end, length]), "where a slice begins or ends")
        begin, end = max(begin, -EVERYTHING), min(max(end, -EVERYTHING), EVERYTHING)
        if not isinstance(length, Length):
            places = range(*slice(begin, end, step).indices(length))
            if not len(places):
                raise UnsupportedError("a slice that takes nothing")
            if len(places) == length:
                continue
        elif begin == 0 and end == EVERYTHING and step == 1:
            continue
        value = _open_part(call, value, axis, begin, end, step) if isinstance(length, Length) else part_of(
            call, value, axis, begin, end, step
        )  # fmt: skip
    return value


def _open_part(call: Call, x: Value, axis: int, begin: int, end: int, step: int) -> Value:
    """A slice of an axis whose length is not known; the least that every length of at least 1 has is a number."""
    length: Any = x.shape[axis]
    found: Number
    if (begin, end) == (0, 1) or (begin, end) == (-1, EVERYTHING):
        found = 1
    elif step == 1 and end == EVERYTHING:
        found = length - begin if begin >= 0 else named(f"min({-begin},{length})", length)
    elif step == 1 and begin == 0 and end < 0:
        found = length + end
    else:
        found = named(f"({length})[{begin}:{end}:{step}]", length)
    if axis in x.repeated:
        raise Unknown(length.roots, "an axis that is repeated")
    shape = (*x.shape[:axis], found, *x.shape[axis + 1 :])
    return call.shaped("slice", x, shape, {"axis": axis, "begin": begin, "end": end, "step": step})


def _gather(call: Call) -> Value:
    table, indices = call[0], call[1]
    axis = axis_of(call.attribute("axis", 0), len(table.shape))
    if indices.numbers is None or indices.repeated or (table.known and len(table.shape) == 2 and indices.known and axis == 0):
        if axis != 0 or len(table.shape) != 2:
            raise UnsupportedError("rows by number of what is no matrix")
        if indices.dtype.kind not in "iu":
            raise ArgumentError(f"indices of {indices.dtype}")
        if table.known:
            return call.emit("embedding", {"x": indices, "weight": table}, table.dtype)
        raise UnsupportedError("rows, by number, of a table that is computed")
    places = call.known(1, "indices")
    length = table.shape[axis]
    if places.ndim == 0:
        return call.emit("select", {"x": table}, table.dtype, axis=axis, index=int(places))
    found = [int(one) for one in places.reshape(-1)]
    if places.ndim != 1 or not found:
        raise UnsupportedError(f"indices of shape {list(places.shape)}")
    if min(found) < 0:
        if isinstance(length, Length):
            raise Unknown(length.roots, "indices from the end")
        found = [one % length for one in found]
    steps = set(np.diff(found).tolist())
    if len(steps) <= 1 and min(steps, default=1) > 0:
        return part_of(call, table, axis, found[0], found[-1] + 1, min(steps, default=1))
    if len(found) > PARTS:
        raise UnsupportedError(f"{len(found)} indices that are no range")
    parts = {f"x{i}": part_of(call, table, axis, one, one + 1, 1) for i, one in enumerate(found)}
    return call.emit("concatenate", parts, table.dtype, axis=axis)


def _gather_elements(call: Call) -> Value:
    """Of constants only, which exporters read their tables of positions by; lengths may be said to be repeated."""
    x, indices = call[0], call[1]
    axis = axis_of(call.attribute("axis", 0), len(x.shape))
    if not x.known or not indices.known or len(x.shape) != len(indices.shape):
        raise UnsupportedError("elements by number of what is no constant")
    if axis in x.repeated | indices.repeated or x.repeated != indices.repeated:
        raise Unknown(roots_of([*x.shape, *indices.shape]), "an axis that is repeated")
    numbers, places = np.asarray(x.numbers), np.asarray(indices.numbers)
    if places.size and not -numbers.shape[axis] <= int(places.min()) <= int(places.max()) < numbers.shape[axis]:
        raise ArgumentError(f"an index that axis {axis} of {list(numbers.shape)} does not have")
    cut = tuple(slice(None) if i == axis else slice(0, n) for i, n in enumerate(places.shape))
    found = np.take_along_axis(numbers[cut], places, axis)
    return Value(indices.shape, x.dtype, numbers=found, repeated=indices.repeated)


def _pad(call: Call) -> Value:
    x = call[0]
    if call.attribute("mode", "constant") != "constant":
        raise UnsupportedError(f"padding of mode {call.attribute('mode')!r}")
    pads = [int(one) for one in call.known(1, "pads").reshape(-1)]
    value = float(call.known(2, "a pad").reshape(())) if call.has(2) else 0.0
    axes = [axis_of(axis, len(x.shape)) for axis in call.axes("axes", 3, 18, range(len(x.shape))) or []]
    if len(pads) != 2 * len(axes) or not math.isfinite(value):
        raise ArgumentError(f"{len(pads)} pads for {len(axes)} axes, with {value}")
    before, behind = [0] * len(x.shape), [0] * len(x.shape)
    for place, axis in enumerate(axes):
        before[axis], behind[axis] = pads[place], pads[len(axes) + place]
    if not any(pads):
        return x
    shape = tuple(length + a + b for length, a, b in zip(x.shape, before, behind, strict=True))
    if any(not isinstance(length, Length) and length < 1 for length in shape):
        raise UnsupportedError("padding that leaves nothing")
    return call.shaped("pad", x, shape, {"before": before, "behind": behind, "value": value})


def _unchanged(call: Call) -> Value:
    return call[0]


TRANSLATIONS: dict[str, Translate] = {
    "Identity": _unchanged,
    "Shape": _shape,
    "Size": _size,
    "ConstantOfShape": _constant_of_shape,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Expand": _expand,
    "Concat": _concatenate,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Pad": _pad,
}

__all__ = ["EVERYTHING", "IMAGES", "TRANSLATIONS", "Shape", "axis_of", "expanded", "repeated", "reshaped"]
