"""Operators on constants, in NumPy, in the dtype that the model has them in: what follows from weights and shapes alone.

So masks are multiplied into weights, half-precision weights that are cast become float32, and what a model computes with
its shapes becomes numbers. Integers may be lengths that are not known yet (`lengths`): arrays of them are arrays of
objects.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tersely.core.errors import ArgumentError, UnsupportedError
from tersely.onnx.arrays import KINDS
from tersely.onnx.call import Call
from tersely.onnx.lengths import Length, Unknown, divided, equal, named, roots_of
from tersely.onnx.values import Value, constant

ELEMENTS = 1 << 24
"""Of a constant that is computed, where none that it is made of has more."""
JOINED = 1 << 28
"""Of a concatenation: weights of several layers may be one."""
LARGEST = 1 << 63
Fold = Callable[[Call, list[np.ndarray]], "np.ndarray | list[np.ndarray] | None"]
"""None where constants are not computed after all."""


def fold(call: Call) -> list[Value] | None:
    """The node's outputs where all its inputs are constants and NumPy has it; None where not."""
    values = [value for value in call.inputs if value is not None]
    row = FOLDS.get(call.node.operator)
    if row is None or any(value.numbers is None or value.repeated for value in values):
        return None
    arrays = [np.asarray(value.numbers) for value in values]
    if (
        call.node.operator == "Slice"
        and any(array.dtype == object for array in arrays[1:3])
        and arrays[0].dtype != object
    ):
        return None  # as many as there are along an axis of an input
    if call.node.operator == "Expand" and (arrays[-1].dtype == object or call.images is not None):
        return None  # it may be repeated along lengths that are not known
    if any(array.dtype == object for array in arrays) and call.node.operator not in ON_LENGTHS:
        raise Unknown(roots_of(one for array in arrays if array.dtype == object for one in array.reshape(-1)))
    try:
        with np.errstate(all="ignore"):
            found = row(call, arrays)
        if found is None:
            return None
    except (ValueError, IndexError, TypeError, OverflowError, MemoryError) as error:
        raise ArgumentError(f"constants that do not go together ({str(error)[:100]})") from None
    results = found if isinstance(found, list) else [found]
    for one in results:
        if one.dtype == object and any(isinstance(n, int) and abs(n) >= LARGEST for n in one.reshape(-1)):
            raise ArgumentError("integers of more than 64 bits")
    if call.node.operator == "Transpose" and arrays[0].ndim == 2 and results[0].shape == arrays[0].shape[::-1]:
        return [replace(constant(results[0]), transposed=values[0])]
    return [constant(np.asarray(one)) for one in results]


def _binary(operate: Callable[[Any, Any], Any]) -> Fold:
    def run(call: Call, arrays: list[np.ndarray]) -> np.ndarray:
        x, z = arrays
        _check_size(np.broadcast_shapes(x.shape, z.shape), x, z)
        if x.dtype != z.dtype and object not in (x.dtype, z.dtype):
            raise ArgumentError(f"{x.dtype} and {z.dtype}")
        if object in (x.dtype, z.dtype):
            x, z = _objects(x), _objects(z)
        return np.asarray(operate(x, z))

    return run


def _objects(array: np.ndarray) -> np.ndarray:
    """An array of Python's integers, which do not overflow, and lengths."""
    return array.astype(object)


def _divide(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Integers are cut off towards zero."""
    if object in (x.dtype, z.dtype):
        return np.asarray(np.frompyfunc(_quotient, 2, 1)(x, z))
    if x.dtype.kind not in "iu":
        return np.asarray(x / z)
    if not z.all():
        raise ArgumentError("a division of integers by zero")
    return np.asarray(np.sign(x) * np.sign(z) * (np.abs(x) // np.abs(z))).astype(x.dtype)


def _quotient(a: Any, b: Any) -> Any:
    if isinstance(b, int) and b == 0:
        raise ArgumentError("a division of integers by zero")
    if isinstance(a, int) and isinstance(b, int):
        return int(math.copysign(1, a) * math.copysign(1, b)) * (abs(a) // abs(b))
    found = divided(a, b)
    if found is not None:
        return found
    for one in (a, b):
        if (one.sign() if isinstance(one, Length) else one) < 0:
            raise Unknown(roots_of([a, b]), "a quotient of less than nothing")
    return named(f"({a})//({b})", a, b)


def _power(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    return np.asarray(np.power(x, z)).astype(x.dtype)


def _compare(operate: Callable[[Any, Any], Any]) -> Callable[[Any, Any], np.ndarray]:
    def run(x: np.ndarray, z: np.ndarray) -> np.ndarray:
        if object in (x.dtype, z.dtype):
            return np.asarray(np.frompyfunc(operate, 2, 1)(x, z)).astype(bool)
        return np.asarray(operate(x, z))

    return run


def _equal(x: Any, z: Any) -> Any:
    return equal(x, z) if isinstance(x, (int, Length)) and isinstance(z, (int, Length)) else x == z


def _cast(call: Call, arrays: list[np.ndarray]) -> np.ndarray:
    wanted = KINDS.get(call.attribute("to", 0))
    if wanted is None or (wanted.kind not in "fiub" and wanted.name != "bfloat16"):
        raise UnsupportedError(f"a cast to data type {call.attribute('to', 0)}")
    (x,) = arrays
    if x.dtype == object:
        if wanted.kind not in "iu":
            raise Unknown(roots_of(x.reshape(-1)), "a length as a number that is no integer")
        return x
    if x.dtype.kind == "f" and wanted.kind in "iu" and not np.isfinite(x).all():
        raise ArgumentError("NaN or infinity as an integer")
    return x.astype(wanted)


def _where(call: Call, arrays: list[np.ndarray]) -> np.ndarray:
    condition, x, z = arrays
    _check_size(np.broadcast_shapes(condition.shape, x.shape, z.shape), x, z)
    if object in (x.dtype, z.dtype):
        x, z = _objects(x), _objects(z)
    return np.where(condition, x, z)


def _reshape(call: Call, arrays: list[np.ndarray]) -> np.ndarray:
    x, shape = arrays[0], [int(one) for one in arrays[1].reshape(-1)]
    if not call.attribute("allowzero", 0):
        shape = [x.shape[axis] if length == 0 else length for axis, length in enumerate(shape)]
    return x.reshape(shape)


def _gather(call: Call, arrays: list[np.ndarray]) -> np.ndarray:
    x, indices = arrays
    axis = call.attribute("axis", 0)
    _check_size([*indices.shape, *x.shape[:axis], *x.shape[axis % x.ndim + 1 :]], x)
    length = x.shape[axis]
    if indices.size and not -length <= int(indices.min()) <= int(indices.max()) < length:
        raise ArgumentError(f"an index that axis {axis} of {list(x.shape)} does not have")
    return np.asarray(np.take(x, indices, axis))


def _gather_by_tuples(call: Call, arrays: list[np.ndarray]) -> np.ndarray:
    x, indices = arrays
    if call.attribute("batch_dims", 0):
        raise UnsupportedError("tuples of indices for each of a batch")
    _check_size([*indices.shape[:-1], *x.shape[indices.shape[-1] :]], x)
    return np.asarray(x[tuple(np.moveaxis(indices, -1, 0))])


def _slice(call: Call, arrays: list[np.ndarray]) -> np.ndarray:
    x, begins, ends, *rest = arrays
    axes = [int(one) for one in rest[0]] if call.has(3) else list(range(len(begins)))
    steps = [int(one) for one in rest[-1]] if call.has(4) else [1] * len(begins)
    places = [slice(None)] * x.ndim
    for axis, begin, end, step in zip(axes, begins.tolist(), ends.tolist(), steps, strict=True):
        length = x.shape[axis]
        stop: int | None = int(end)
        if step < 0:  # beyond the beginning is no place from the end
            stop = None if end < -length else stop
        places[axis % x.ndim] = slice(int(begin), stop, step)
    return x[tuple(places)]


def _concatenate(call: Call, arrays: list[np.ndarray]) -> np.ndarray:
    if any(one.dtype == object for one in arrays):
        arrays = [_objects(one) for one in arrays]
    if sum(one.size for one in arrays) > JOINED:
        raise ArgumentError(f"constants of more than {JOINED} numbers are joined")
    return np.concatenate(arrays, call.attribute("axis", 0))


def _transpose(call: Call, arrays: list[np.ndarray]) -> np.ndarray:
    return arrays[0].transpose(call.integers("perm") or None)


def _squeeze(call: Call, arrays: list[np.ndarray]) -> np.ndarray:
    axes = call.axes("axes", 1, 13, None)
    x = arrays[0]
    return x.squeeze(None if axes is None else tuple(axes))


def _unsqueeze(call: Call, arrays: list[np.ndarray]) -> np.ndarray:
    return np.expand_dims(arrays[0], tuple(call.axes("axes", 1, 13, [0]) or ()))


def _expand(call: Call, arrays: list[np.ndarray]) -> np.ndarray:
    x, wanted = arrays
    shape = np.broadcast_shapes(x.shape, tuple(int(one) for one in wanted))
    _check_size(shape, x)
    return np.broadcast_to(x, shape)


def _range(call: Call, arrays: list[np.ndarray]) -> np.ndarray:
    begin, end, step = (one.reshape(()).item() for one in arrays)
    if step == 0 or (end - begin) / step > ELEMENTS:
        raise ArgumentError("a range without an end")
    found: np.ndarray = np.arange(begin, end, step).astype(arrays[0].dtype)
    return found


def _reduce(operate: Callable[..., Any], since: int) -> Fold:
    def run(call: Call, arrays: list[np.ndarray]) -> np.ndarray:
        axes = call.axes("axes", 1, since, None)
        if not axes and call.attribute("noop_with_empty_axes", 0):
            return arrays[0]
        x = arrays[0]
        if x.dtype == object and operate is not np.prod and operate is not np.sum:
            raise Unknown(roots_of(x.reshape(-1)))
        keep = bool(call.attribute("keepdims", 1))
        exact = {"dtype": np.float64} if operate is np.sum and x.dtype.kind == "f" else {}
        found = operate(x, axis=tuple(axes) if axes else None, keepdims=keep, **exact)
        result = np.empty((), object) if x.dtype == object and not isinstance(found, np.ndarray) else np.asarray(found)
        if result.dtype == object and not isinstance(found, np.ndarray):
            result[()] = found
        return result if x.dtype == object else result.astype(x.dtype)

    return run


def _cumulate(call: Call, arrays: list[np.ndarray]) -> np.ndarray:
    if call.attribute("exclusive", 0) or call.attribute("reverse", 0):
        raise UnsupportedError("sums from behind, or without a number's own")
    return np.cumsum(arrays[0], int(arrays[1].reshape(())), dtype=arrays[0].dtype)


def _trilu(call: Call, arrays: list[np.ndarray]) -> np.ndarray:
    place = int(arrays[1].reshape(())) if len(arrays) > 1 else 0
    return np.asarray((np.triu if call.attribute("upper", 1) else np.tril)(arrays[0], place))


def _unary(operate: Callable[[np.ndarray], Any]) -> Fold:
    return lambda call, arrays: np.asarray(operate(arrays[0])).astype(arrays[0].dtype)


def _several(operate: Callable[[Any, Any], Any]) -> Fold:
    def run(call: Call, arrays: list[np.ndarray]) -> np.ndarray:
        found = arrays[0]
        for one in arrays[1:]:
            found = np.asarray(_binary(operate)(call, [found, one]))
        return found

    return run


def _check_size(shape: Sequence[int], *arrays: np.ndarray) -> None:
    """Raises ArgumentError for results that are larger than what they are made of, and large."""
    if math.prod(shape) > max(ELEMENTS, *(one.size for one in arrays)):
        raise ArgumentError(f"a constant of shape {list(shape)}")


FOLDS: dict[str, Fold] = {
    "Add": _binary(lambda x, z: x + z),
    "Sub": _binary(lambda x, z: x - z),
    "Mul": _binary(lambda x, z: x * z),
    "Div": _binary(_divide),
    "Mod": _binary(lambda x, z: x % z),
    "Pow": lambda call, arrays: _power(*arrays),
    "Min": _several(np.minimum),
    "Max": _several(np.maximum),
    "Equal": _binary(_compare(_equal)),
    "Less": _binary(_compare(lambda x, z: x < z)),
    "LessOrEqual": _binary(_compare(lambda x, z: x <= z)),
    "Greater": _binary(_compare(lambda x, z: x > z)),
    "GreaterOrEqual": _binary(_compare(lambda x, z: x >= z)),
    "And": _binary(np.logical_and),
    "Or": _binary(np.logical_or),
    "Xor": _binary(np.logical_xor),
    "Not": lambda call, arrays: ~arrays[0].astype(bool),
    "Neg": _unary(lambda x: -x),
    "Abs": _unary(np.abs),
    "Sqrt": _unary(np.sqrt),
    "Exp": _unary(np.exp),
    "Log": _unary(np.log),
    "Sin": _unary(np.sin),
    "Cos": _unary(np.cos),
    "Floor": _unary(np.floor),
    "Ceil": _unary(np.ceil),
    "Round": _unary(np.rint),
    "Reciprocal": _unary(lambda x: 1 / x),
    "Sign": _unary(np.sign),
    "Cast": _cast,
    "CastLike": lambda call, arrays: arrays[0].astype(arrays[1].dtype),
    "Where": _where,
    "Reshape": _reshape,
    "Gather": _gather,
    "Slice": _slice,
    "GatherND": _gather_by_tuples,
    "Concat": _concatenate,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Expand": _expand,
    "Range": _range,
    "ReduceProd": _reduce(np.prod, 18),
    "ReduceSum": _reduce(np.sum, 13),
    "ReduceMax": _reduce(np.max, 18),
    "ReduceMin": _reduce(np.min, 18),
    "CumSum": _cumulate,
    "Trilu": _trilu,
    "MatMul": lambda call, arrays: _outer(*arrays),
    "Tile": lambda call, arrays: _tile(*arrays),
}
"""Operators on constants. Not among them: what rounds in an order of its own, such as means and products of matrices but
for those of a column and a row, which have nothing to add."""
ON_LENGTHS = frozenset(
    {"Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual",
     "Neg", "Cast", "Where", "Reshape", "Gather", "Slice", "Concat", "Squeeze", "Unsqueeze", "Transpose", "Expand",
     "ReduceProd", "ReduceSum"}
)  # fmt: skip
"""Those that take lengths that are not known."""


def _outer(x: np.ndarray, z: np.ndarray) -> np.ndarray | None:
    if x.dtype != z.dtype or min(x.ndim, z.ndim) < 2 or (x.shape[-1], z.shape[-2]) != (1, 1):
        return None
    _check_size((*np.broadcast_shapes(x.shape[:-2], z.shape[:-2]), x.shape[-2], z.shape[-1]), x, z)
    return np.asarray(x * z)


def _tile(x: np.ndarray, times: np.ndarray) -> np.ndarray:
    if times.size != x.ndim or (times.size and int(times.min()) < 0):
        raise ArgumentError("a tensor is repeated along each of its axes")
    _check_size([n * int(k) for n, k in zip(x.shape, times, strict=True)], x)
    return np.tile(x, times)
