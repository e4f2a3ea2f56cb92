"""Integers from 0 to a length that is not known, and what exporters do with them: read a whole tensor by its indices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tersely.core.errors import ArgumentError
from tersely.onnx.arrays import KINDS
from tersely.onnx.call import Call
from tersely.onnx.lengths import Length, Number, Unknown, equal, roots_of
from tersely.onnx.shapes import axis_of, is_one, repeated, reshaped
from tersely.onnx.values import Ramp, Shape, Value, constant

SAME = ("Identity", "Cast")
TRUE = ("GreaterOrEqual", "Greater")
SHAPE_ONLY = ("Max", "Min")
"""Operators of which exporters read the shape alone."""


def fold(call: Call) -> Value | None:
    """What a node makes of ramps; None where it has none. Raises Unknown where that depends on lengths."""
    if call.node.operator == "Range":
        return _range(call)
    if not any(value is not None and value.ramps for value in call.inputs) or call.node.operator in ("Shape", "Size"):
        return None
    row = ROWS.get(call.node.operator)
    if row is None:
        raise _unknown(call)
    return row(call)


def _unknown(call: Call) -> Unknown:
    lengths = [length for value in call.inputs if value is not None for length in value.shape]
    ramps = [ramp for value in call.inputs if value is not None for ramp in value.ramps]
    return Unknown(roots_of([*lengths, *(one for ramp in ramps for one in (ramp.offset, *ramp.strides))]), "a range")


def _range(call: Call) -> Value | None:
    begin, end, step = (_number(call[index]) for index in range(3))
    if begin is None or end is None or not (isinstance(begin, Length) or isinstance(end, Length)):
        return None
    if step != 1 or not end - begin > 0:
        raise Unknown(roots_of([begin, end]), "a range")
    return Value((end - begin,), np.dtype(np.int64), ramps=(Ramp(begin, (1,)),))


def _number(value: Value) -> Number | None:
    """A single integer, or length."""
    if value.numbers is None or value.numbers.size != 1 or value.dtype.kind not in "iu":
        return None
    one = value.numbers.reshape(-1)[0]
    return one if isinstance(one, Length) else int(one)


def _same(call: Call) -> Value:
    if call.node.operator == "Cast":
        wanted = KINDS.get(call.attribute("to", 0))
        if wanted is None or wanted.kind not in "iu":
            raise _unknown(call)
        return replace(call[0], dtype=wanted)
    return call[0]


def _unsqueeze(call: Call) -> Value:
    value, axes = call[0], call.axes("axes", 1, 13, None) or []
    rank = len(value.shape) + len(axes)
    for axis in sorted(axis_of(one, rank) for one in axes):
        ramps = tuple(replace(one, strides=(*one.strides[:axis], 0, *one.strides[axis:])) for one in value.ramps)
        value = replace(value, shape=(*value.shape[:axis], 1, *value.shape[axis:]), ramps=ramps)
    return value


def _expand(call: Call) -> Value:
    value, wanted = call[0], call.lengths(1, "shapes")
    shape = _together(value.shape, tuple(wanted))
    return _spread(value, shape)


def _together(a: Shape, b: Shape) -> Shape:
    """The shape of two that go together. Raises ArgumentError, Unknown."""
    rank = max(len(a), len(b))
    a, b = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    for one, other in zip(a, b, strict=True):
        if not is_one(one) and not is_one(other) and not equal(one, other):
            raise ArgumentError(f"shapes {list(a)} and {list(b)} do not go together")
    return tuple(other if is_one(one) else one for one, other in zip(a, b, strict=True))


def _spread(value: Value, shape: Shape) -> Value:
    """A ramp repeated to a shape: along axes of length 1 it does not grow."""
    before = (0,) * (len(shape) - len(value.shape))
    own = (*((1,) * len(before)), *value.shape)
    ramps = []
    for one in value.ramps:
        strides = zip(own, (*before, *one.strides), strict=True)
        ramps.append(replace(one, strides=tuple(0 if is_one(length) else stride for length, stride in strides)))
    return replace(value, shape=shape, ramps=tuple(ramps))


def _add(call: Call) -> Value:
    values = [call[0], call[1]]
    if not all(len(one.ramps) == 1 for one in values):
        value = values[0] if values[0].ramps else values[1]
        number = _number(values[1] if values[0].ramps else values[0])
        if number is None or len(value.ramps) != 1:
            raise _unknown(call)
        (ramp,) = value.ramps
        return replace(value, ramps=(replace(ramp, offset=ramp.offset + number),))
    shape = _together(values[0].shape, values[1].shape)
    a, b = (_spread(one, shape).ramps[0] for one in values)
    strides = tuple(x + z for x, z in zip(a.strides, b.strides, strict=True))
    return Value(shape, values[0].dtype, ramps=(Ramp(a.offset + b.offset, strides),))


def _multiply(call: Call) -> Value:
    value, other = (call[0], call[1]) if call[0].ramps else (call[1], call[0])
    number = _number(other)
    if number is None or len(value.ramps) != 1 or len(other.shape) > len(value.shape):
        raise _unknown(call)
    (ramp,) = value.ramps
    return replace(value, ramps=(Ramp(ramp.offset * number, tuple(one * number for one in ramp.strides)),))


def _compared(call: Call) -> Value:
    """What is at least so much everywhere is true."""
    value, number = call[0], _number(call[1])
    if len(value.ramps) != 1 or number is None or isinstance(number, Length):
        raise _unknown(call)
    (ramp,) = value.ramps
    grows = all(isinstance(one, Length) or one >= 0 for one in ramp.strides)
    least = ramp.offset - number - (call.node.operator == "Greater")
    if not grows or not least >= 0:
        raise _unknown(call)
    return repeated(constant(np.array(True)), value.shape)


def _shape_only(call: Call) -> Value:
    shape: Shape = ()
    for value in call.inputs:
        if value is not None:
            shape = _together(shape, value.shape)
    return Value(shape, call[0].dtype, ramps=(Ramp(0, (0,) * len(shape)), Ramp(0, ())))


def _concatenate(call: Call) -> Value:
    """Tuples of indices."""
    values = [one for one in call.inputs if one is not None]
    axis = axis_of(call.attribute("axis", 0), len(values[0].shape))
    fits = all(len(one.ramps) == 1 and one.shape == values[0].shape and is_one(one.shape[-1]) for one in values)
    if axis != len(values[0].shape) - 1 or not fits:
        raise _unknown(call)
    return replace(values[0], shape=(*values[0].shape[:-1], len(values)), ramps=tuple(one.ramps[0] for one in values))


def _gather(call: Call) -> Value:
    """Rows from the first to the last are another shape of the same tensor."""
    x, places = call[0], call[1]
    if len(places.ramps) != 1 or call.attribute("axis", 0) != 0 or x.ramps or not x.shape:
        raise _unknown(call)
    if not _counts(places.ramps[0], places.shape, x.shape[0]):
        raise _unknown(call)
    return reshaped(call, x, [*places.shape, *x.shape[1:]])


def _counts(ramp: Ramp, shape: Shape, length: Number) -> bool:
    """Whether indices are those from 0 to a length, in their order."""
    step: Number = 1
    for own, stride in reversed(list(zip(shape, ramp.strides, strict=True))):
        if is_one(own):
            continue
        if stride != step:
            return False
        step = step * own
    return ramp.offset == 0 and step == length


def _gather_by_tuples(call: Call) -> Value:
    """All tuples in their order: each index grows along axes of its own, behind those of the one before it."""
    x, places = call[0], call[1]
    count = len(places.ramps)
    if x.ramps or call.attribute("batch_dims", 0) or count > len(x.shape) or places.shape[-1] != count:
        raise _unknown(call)
    shape = places.shape[:-1]
    last = -1
    for ramp, length in zip(places.ramps, x.shape, strict=False):
        axes = [axis for axis, stride in enumerate(ramp.strides[:-1]) if stride != 0 and not is_one(shape[axis])]
        kept = tuple(stride if axis in axes else 0 for axis, stride in enumerate(ramp.strides[:-1]))
        own = tuple(one if axis in axes else 1 for axis, one in enumerate(shape))
        if not _counts(Ramp(ramp.offset, kept), own, length) or (axes and axes[0] <= last):
            raise _unknown(call)
        last = axes[-1] if axes else last
    return reshaped(call, x, [*shape, *x.shape[count:]])


ROWS = {
    **dict.fromkeys(SAME, _same),
    **dict.fromkeys(TRUE, _compared),
    **dict.fromkeys(SHAPE_ONLY, _shape_only),
    "Unsqueeze": _unsqueeze,
    "Expand": _expand,
    "Add": _add,
    "Mul": _multiply,
    "Concat": _concatenate,
    "Gather": _gather,
    "GatherND": _gather_by_tuples,
}
