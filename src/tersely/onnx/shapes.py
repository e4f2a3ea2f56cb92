"""Operators that say in which shape and order numbers lie, and what shapes are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tersely.core.errors import ArgumentError, UnsupportedError
from tersely.onnx.call import IMAGES, Call, Translate
from tersely.onnx.lengths import Length, Number, Unknown, divided, equal, name_of, roots_of
from tersely.onnx.values import Shape, Value, constant

ELEMENTS = 1 << 24
"""Of a constant that is repeated, where it has not more already."""
RESHAPES = ("reshape", "flatten", "squeeze", "unsqueeze")
"""Operators that leave numbers in their order."""


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
    if math.prod(stored) > max(ELEMENTS, value.numbers.size):
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
    turned = _turned(call, x, tuple(target))
    if turned is not None:
        return turned
    if x.known:
        return constant(np.asarray(x.numbers).reshape([int(one) for one in target]))
    tried = x
    while True:
        said = _said(tried.shape, target)
        if said is not None:
            return call.shaped("reshape", tried, target, {"shape": said})
        try:
            return _aligned(call, tried, target)
        except Unknown:
            before = call.builder.before(tried.name, RESHAPES)
            if before is None:
                raise
            tried = Value(call.builder.shapes[before], x.dtype, before)  # it may have been in a shape that says more


def _turned(call: Call, x: Value, target: Shape) -> Value | None:
    """Matrices that were put into one stack, transposed, and take their places again: transposed where they were."""
    stack = call.builder.made(x.name)
    if stack is None or stack.operator != "permute" or stack.attributes["order"] != [0, 2, 1]:
        return None
    name: str | None = stack.inputs["x"]
    matrices = call.builder.shapes[stack.inputs["x"]][-2:]
    while name is not None:
        shape = call.builder.shapes[name]
        if shape[-2:] == matrices and target == (*shape[:-2], shape[-1], shape[-2]):
            order = list(range(len(shape)))
            order[-2:] = order[:-3:-1]
            return call.emit("permute", {"x": Value(shape, x.dtype, name)}, x.dtype, order=order)
        name = call.builder.before(name, RESHAPES)
    return None


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
        wanted = [name_of(IMAGES) if is_one(first) else wanted[0], *wanted[1:]]
    return expanded(call, x, wanted)


def expanded(call: Call, x: Value, wanted: Sequence[Number]) -> Value:
    """x repeated so that it and `wanted` go together. Along lengths that are not known it is only said."""
    rank = max(len(x.shape), len(wanted))
    own = (1,) * (rank - len(x.shape)) + x.shape
    wanted = [1] * (rank - len(wanted)) + list(wanted)
    full: list[Number] = []
    for a, b in zip(own, wanted, strict=True):
        full.append(a if is_one(b) or a == b else b)
        if not is_one(a) and not is_one(b) and not equal(a, b):
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


def is_one(length: Number) -> bool:
    return not isinstance(length, Length) and length == 1


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
}
