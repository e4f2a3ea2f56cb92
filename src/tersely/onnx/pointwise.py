"""Operators on every number of one value or several."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tersely.core.errors import ArgumentError, UnsupportedError
from tersely.onnx.arrays import KINDS
from tersely.onnx.call import Call, Translate
from tersely.onnx.values import HALVES, Value, constant

TRUTH = np.dtype(np.bool_)
SQUARE, ROOT = 2.0, 0.5


def _activation(operator: str) -> Translate:
    def translate(call: Call) -> Value:
        call.floats(call[0])
        return call.emit(operator, {"x": call[0]})

    return translate


def binary(call: Call, operator: str, x: Value, z: Value, dtype: Any = None) -> Value:
    return call.emit(operator, {"x": x, "z": z}, x.dtype if dtype is None else dtype)


def _arithmetic(operator: str) -> Translate:
    """Of floats, and of integers where float32 holds every result that a network comes to: not of their quotients."""

    def translate(call: Call) -> Value:
        x, z = call[0], call[1]
        _alike(x, z)
        if x.dtype.kind == "b" or (operator == "divide" and x.dtype.kind != "f"):
            raise UnsupportedError(f"{call.node.operator} of {x.dtype}")
        return binary(call, operator, x, z)

    return translate


def _alike(x: Value, z: Value) -> None:
    if x.dtype != z.dtype:
        raise ArgumentError(f"operands of {x.dtype} and {z.dtype}")
    if x.dtype.kind == "f" and x.dtype != np.float32:
        raise UnsupportedError(f"operands of {x.dtype}: the executor computes in float32")


def _power(call: Call) -> Value:
    x, z = call[0], call[1]
    call.floats(x)
    if z.dtype.kind not in "fiu":
        raise ArgumentError(f"an exponent of {z.dtype}")
    if z.known and np.all(np.asarray(z.numbers) == ROOT):
        return call.emit("sqrt", {"x": x})
    if z.known:
        z = constant(np.asarray(z.numbers, np.float32))
    return binary(call, "power", x, z)


def _several(operator: str) -> Translate:
    def translate(call: Call) -> Value:
        found = call[0]
        for index in range(1, len(call.inputs)):
            _alike(found, call[index])
            found = binary(call, operator, found, call[index])
        return found

    return translate


def bounded(call: Call, x: Value, least: Value | None, greatest: Value | None) -> Value:
    """x, but not less than one value nor more than another."""
    low, high = (
        float(np.asarray(one.numbers)) if one is not None and one.known and one.shape == () else None
        for one in (least, greatest)
    )
    if (least is not None and low == -math.inf) or (low is not None and low <= np.finfo(np.float32).min):
        least = None
    if greatest is not None and (high == math.inf or (high is not None and high >= np.finfo(np.float32).max)):
        greatest = None
    if x.dtype == np.float32 and low == 0 and least is not None:
        if high == 6:
            return call.emit("relu6", {"x": x})
        if greatest is None:
            return call.emit("relu", {"x": x})
    if least is not None:
        x = binary(call, "maximum", x, least)
    return binary(call, "minimum", x, greatest) if greatest is not None else x


def _clip(call: Call) -> Value:
    if call[0].dtype.kind == "f":
        call.floats(call[0])
    bounds = [call[index] if call.has(index) else None for index in (1, 2)]
    return bounded(call, call[0], bounds[0], bounds[1])


def _hard_sigmoid(call: Call) -> Value:
    call.floats(call[0])
    alpha, beta = call.attribute("alpha", 0.2), call.attribute("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-7 and beta == ROOT:
        return call.emit("hard_sigmoid", {"x": call[0]})
    x = binary(call, "multiply", call[0], call.number(alpha))
    x = binary(call, "add", x, call.number(beta))
    return bounded(call, x, call.number(0.0), call.number(1.0))


def _gelu(call: Call) -> Value:
    call.floats(call[0])
    approximate = call.attribute("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise UnsupportedError(f"Gelu with approximate={approximate!r}")
    return call.emit("gelu_tanh" if approximate == "tanh" else "gelu", {"x": call[0]})


def _leaky(call: Call) -> Value:
    return _two_slopes(call, call.number(call.attribute("alpha", 0.01)))


def _two_slopes(call: Call, slope: Value) -> Value:
    """x above zero, slope x below."""
    call.floats(call[0], slope)
    above = call.emit("relu", {"x": call[0]})
    below = binary(call, "multiply", binary(call, "minimum", call[0], call.number(0.0)), slope)
    return binary(call, "add", above, below)


def _elu(call: Call) -> Value:
    call.floats(call[0])
    below = call.emit("exp", {"x": binary(call, "minimum", call[0], call.number(0.0))})
    below = binary(call, "subtract", below, call.number(1.0))
    below = binary(call, "multiply", below, call.number(call.attribute("alpha", 1.0)))
    return binary(call, "add", call.emit("relu", {"x": call[0]}), below)


def _absolute(call: Call) -> Value:
    return binary(call, "maximum", call[0], call.emit("negative", {"x": call[0]}, call[0].dtype))


def _reciprocal(call: Call) -> Value:
    call.floats(call[0])
    return binary(call, "divide", call.number(1.0), call[0])


def _negative(call: Call) -> Value:
    if call[0].dtype.kind != "i":
        call.floats(call[0])
    return call.emit("negative", {"x": call[0]}, call[0].dtype)


def _cast(call: Call) -> Value:
    """Numbers of every dtype are float32 in the graph, truths 1 and 0."""
    x, wanted = call[0], KINDS.get(call.attribute("to", 0))
    if wanted is None:
        raise UnsupportedError(f"a cast to data type {call.attribute('to', 0)}")
    return cast(call, x, np.dtype(np.float32) if wanted in HALVES else wanted)


def cast(call: Call, x: Value, wanted: np.dtype[Any]) -> Value:
    if wanted == x.dtype:
        return x
    if wanted == TRUTH:
        return binary(call, "not_equal", x, call.number(0.0), TRUTH)
    if wanted.kind == "f" and wanted != np.float32:
        raise UnsupportedError(f"a cast of data to {wanted}: the executor computes in float32")
    if x.dtype.kind not in "biu" or (wanted.kind in "iu" and wanted.itemsize < min(x.dtype.itemsize, 4)):
        raise UnsupportedError(f"a cast of data from {x.dtype} to {wanted}")
    return Value(x.shape, wanted, x.name, x.numbers, x.repeated, x.source)


def _truths(call: Call, *values: Value) -> None:
    for value in values:
        if value.dtype != TRUTH:
            raise ArgumentError(f"{call.node.operator} of {value.dtype}")


def negated(call: Call, x: Value) -> Value:
    return binary(call, "equal", x, call.number(0.0), TRUTH)


def _not(call: Call) -> Value:
    _truths(call, call[0])
    return negated(call, call[0])


def _and(call: Call) -> Value:
    _truths(call, call[0], call[1])
    return binary(call, "both", call[0], call[1], TRUTH)


def _or(call: Call) -> Value:
    _truths(call, call[0], call[1])
    return binary(call, "not_equal", binary(call, "add", call[0], call[1]), call.number(0.0), TRUTH)


def _xor(call: Call) -> Value:
    _truths(call, call[0], call[1])
    return binary(call, "not_equal", call[0], call[1], TRUTH)


def _compare(operator: str, turned: bool = False, strict: bool = False) -> Translate:
    """turned: z is compared with x. strict: where they are not equal."""

    def translate(call: Call) -> Value:
        x, z = call[0], call[1]
        _alike(x, z)
        first, second = (z, x) if turned else (x, z)
        found = binary(call, operator, first, second, TRUTH)
        if not strict:
            return found
        return binary(call, "both", found, binary(call, "not_equal", x, z, TRUTH), TRUTH)

    return translate


def _shaped_where(call: Call, chosen: Value, zero: Value) -> Value:
    """Zeros that are more than what is chosen repeat it."""
    rank = max(len(chosen.shape), len(zero.shape))
    own, other = ((1,) * (rank - len(one.shape)) + one.shape for one in (chosen, zero))
    repeats = any(isinstance(a, int) and a == 1 and a != b for a, b in zip(own, other, strict=True))
    return binary(call, "add", chosen, zero) if repeats or len(zero.shape) > len(chosen.shape) else chosen


def _where(call: Call) -> Value:
    """What is not chosen counts for nothing, even where it is infinite."""
    condition, x, z = call[0], call[1], call[2]
    _truths(call, condition)
    _alike(x, z)
    if x.known and not np.asarray(x.numbers).any():
        return _shaped_where(call, binary(call, "masked", z, negated(call, condition)), x)
    chosen = binary(call, "masked", x, condition)
    if z.known and not np.asarray(z.numbers).any():
        return _shaped_where(call, chosen, z)
    return binary(call, "add", chosen, binary(call, "masked", z, negated(call, condition)))


def _is_nan(call: Call) -> Value:
    call.floats(call[0])
    return binary(call, "not_equal", call[0], call[0], TRUTH)


TRANSLATIONS: dict[str, Translate] = {
    "Relu": _activation("relu"),
    "Sigmoid": _activation("sigmoid"),
    "Tanh": _activation("tanh"),
    "Erf": _activation("erf"),
    "Exp": _activation("exp"),
    "Sqrt": _activation("sqrt"),
    "HardSwish": _activation("hard_swish"),
    "Swish": _activation("silu"),
    "HardSigmoid": _hard_sigmoid,
    "Gelu": _gelu,
    "LeakyRelu": _leaky,
    "PRelu": lambda call: _two_slopes(call, call[1]),
    "Elu": _elu,
    "Clip": _clip,
    "Neg": _negative,
    "Abs": _absolute,
    "Reciprocal": _reciprocal,
    "Add": _arithmetic("add"),
    "Sub": _arithmetic("subtract"),
    "Mul": _arithmetic("multiply"),
    "Div": _arithmetic("divide"),
    "Pow": _power,
    "Sum": _several("add"),
    "Min": _several("minimum"),
    "Max": _several("maximum"),
    "Cast": _cast,
    "CastLike": lambda call: cast(call, call[0], call[1].dtype),
    "IsNaN": _is_nan,
    "Not": _not,
    "And": _and,
    "Or": _or,
    "Xor": _xor,
    "Equal": _compare("equal"),
    "GreaterOrEqual": _compare("greater_equal"),
    "LessOrEqual": _compare("greater_equal", turned=True),
    "Greater": _compare("greater_equal", strict=True),
    "Less": _compare("greater_equal", turned=True, strict=True),
    "Where": _where,
}
