"""Operators that join tensors or take parts of them."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from tersely.core.errors import ArgumentError, UnsupportedError
from tersely.onnx.call import Call, Translate
from tersely.onnx.lengths import Length, Number, Unknown, divided, equal, named, roots_of
from tersely.onnx.shapes import axis_of, repeated, reshaped
from tersely.onnx.values import Value, constant

EVERYTHING = 2**31 - 1
"""Where a slice ends that has no end: ONNX says 2^63 - 1, more than a graph's numbers hold."""
PARTS = 256
"""Of one concatenation."""


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
    return [part_of(call, x, axis, a, b, 1) for a, b in pairwise(edges)]


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
        if isinstance(end, Length) and begin == 0 and step == 1 and axis not in value.repeated:
            value = call.leading(value, axis, end)
            continue
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
    if (
        indices.numbers is None
        or indices.repeated
        or (table.known and len(table.shape) == 2 and indices.known and axis == 0)
    ):
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
    if places.ndim != 1 and axis == 0 and found == list(range(len(found))) and equal(length, len(found)):
        return reshaped(call, table, [*places.shape, *table.shape[1:]])
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


def _gather_by_tuples(call: Call) -> Value:
    """All elements in their order are another shape of the same tensor."""
    x, places = call[0], call.known(1, "indices")
    count = places.shape[-1] if places.ndim else 0
    if call.attribute("batch_dims", 0) or not 0 < count <= len(x.shape):
        raise UnsupportedError("tuples of indices for each of a batch")
    if roots := roots_of(x.shape[:count]):
        raise Unknown(roots, "which elements there are")
    lengths = tuple(int(one) for one in x.shape[:count])
    every = np.indices(lengths).reshape(count, -1).T
    if not np.array_equal(places.reshape(-1, count), every):
        raise UnsupportedError("tuples of indices that are not all elements in their order")
    return reshaped(call, x, [*places.shape[:-1], *x.shape[count:]])


def _gather_elements(call: Call) -> Value:
    """Of constants only, which exporters read their tables of positions by; lengths may be said to be repeated."""
    x, indices = call[0], call[1]
    axis = axis_of(call.attribute("axis", 0), len(x.shape))
    if x.known and not indices.known and np.all(np.asarray(x.numbers) == np.asarray(x.numbers).reshape(-1)[0]):
        return repeated(constant(np.asarray(x.numbers).reshape(-1)[0]), indices.shape)
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


TRANSLATIONS: dict[str, Translate] = {
    "Concat": _concatenate,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_by_tuples,
    "Pad": _pad,
}
