"""Products, sums along axes, norms, softmax: operators on the last axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tersely.core.errors import ArgumentError, UnsupportedError
from tersely.onnx.call import Call, Translate
from tersely.onnx.lengths import Length, Unknown, roots_of
from tersely.onnx.pointwise import binary
from tersely.onnx.shapes import axis_of, reshaped
from tersely.onnx.values import Value, constant


def _matrix_product(call: Call) -> Value:
    """A constant matrix is the weight of a linear layer, stored [inputs, outputs], as it lies in the model."""
    x, z = call[0], call[1]
    call.floats(x, z)
    if len(x.shape) < 2 or len(z.shape) < 2:
        return _with_vectors(call, x, z)
    if z.known and not z.repeated and len(z.shape) == 2:
        return linear(call, x, z, None, in_out=True)
    return call.emit("matrix_product", {"x": x, "z": z})


def _with_vectors(call: Call, x: Value, z: Value) -> Value:
    if not x.shape or not z.shape:
        raise ArgumentError("a product of a number")
    left, right = len(x.shape) == 1, len(z.shape) == 1
    if left:
        x = call.emit("unsqueeze", {"x": x}, axis=0)
    if right:
        z = call.emit("unsqueeze", {"x": z}, axis=1)
    found = call.emit("matrix_product", {"x": x, "z": z})
    rank = len(found.shape)
    axes = [*([rank - 2] if left else []), *([rank - 1] if right else [])]
    return call.emit("squeeze", {"x": found}, axes=axes)


def linear(call: Call, x: Value, weight: Value, bias: Value | None, in_out: bool) -> Value:
    """Weights that a Transpose made are read as they were before it."""
    assert weight.numbers is not None
    if weight.transposed is not None:
        weight, in_out = weight.transposed, not in_out
    attributes = {"in_out": True} if in_out else {}
    inputs = {"x": x, "weight": weight} if bias is None else {"x": x, "weight": weight, "bias": bias}
    return call.emit("linear", inputs, **attributes)


def _gemm(call: Call) -> Value:
    """alpha x z + beta c."""
    x, z = call[0], call[1]
    call.floats(x, z)
    if len(x.shape) != 2 or len(z.shape) != 2:
        raise ArgumentError(f"Gemm of shapes {list(x.shape)} and {list(z.shape)}")
    alpha, beta = call.attribute("alpha", 1.0), call.attribute("beta", 1.0)
    if call.attribute("transA", 0):
        x = call.emit("permute", {"x": x}, order=[1, 0])
    transposed = bool(call.attribute("transB", 0))
    added = call[2] if call.has(2) and beta else None
    if added is not None:
        call.floats(added)
    if added is not None and beta != 1.0:
        added = _scaled(call, added, beta)
    if not z.known:
        z = call.emit("permute", {"x": z}, order=[1, 0]) if transposed else z
        found = call.emit("matrix_product", {"x": x, "z": z})
    else:
        outputs = z.shape[0 if transposed else 1]
        bias = None
        if alpha == 1.0 and added is not None and added.known and _is_vector(added, outputs):
            bias = added if len(added.shape) == 1 else constant(np.asarray(added.numbers).reshape(-1))
            added = None
        found = linear(call, x, z, bias, in_out=not transposed)
    if alpha != 1.0:
        found = binary(call, "multiply", found, call.number(alpha))
    return found if added is None else binary(call, "add", found, added)


def _is_vector(value: Value, length: Any) -> bool:
    return bool(value.shape) and value.shape[-1] == length and math.prod(value.shape) == length


def _scaled(call: Call, value: Value, factor: float) -> Value:
    if value.known:
        return constant(np.asarray(value.numbers) * np.float32(factor))
    return binary(call, "multiply", value, call.number(factor))


def _reduce(operator: str, since: int = 18) -> Translate:
    def translate(call: Call) -> Value:
        x = call[0]
        call.floats(x)
        axes = call.axes("axes", 1, since, None)
        if not axes:
            if call.attribute("noop_with_empty_axes", 0):
                return x
            axes = list(range(len(x.shape)))
        found = sorted({axis_of(axis, len(x.shape)) for axis in axes})
        return call.emit(operator, {"x": x}, axes=found, keep=bool(call.attribute("keepdims", 1))) if found else x

    return translate


def _root_of_squares(call: Call) -> Value:
    x = call[0]
    call.floats(x)
    axes = [axis_of(axis, len(x.shape)) for axis in call.axes("axes", 1, 18, range(len(x.shape))) or []]
    sums = call.emit("sum", {"x": binary(call, "multiply", x, x)}, axes=axes, keep=bool(call.attribute("keepdims", 1)))
    return call.emit("sqrt", {"x": sums})


def _softmax(call: Call) -> Value:
    """Until opset 12 all axes from the one that is named on are one."""
    x = call[0]
    call.floats(x)
    rank = len(x.shape)
    axis = axis_of(call.attribute("axis", 1 if call.opset < 13 else -1), rank)
    if call.opset >= 13 or axis == rank - 1:
        return call.emit("softmax", {"x": x}, axis=axis)
    flat = reshaped(call, x, [*x.shape[:axis], math.prod(x.shape[axis:])])
    return reshaped(call, call.emit("softmax", {"x": flat}, axis=axis), x.shape)


def _layer_norm(call: Call) -> list[Value]:
    x = call[0]
    call.floats(x, call[1])
    if any(call.node.outputs[1:]):
        raise UnsupportedError("layer norm with its mean as an output")
    if axis_of(call.attribute("axis", -1), len(x.shape)) != len(x.shape) - 1:
        raise UnsupportedError("layer norm over more than the last axis")
    channels = x.shape[-1]
    if isinstance(channels, Length):
        raise Unknown(roots_of(x.shape), "how many channels there are")
    inputs = {"x": x}
    for index, role in ((1, "weight"), (2, "bias")):
        if call.has(index):
            value = call[index]
            if not value.known:
                raise UnsupportedError(f"layer norm whose {role} depends on data")
            numbers = np.asarray(value.numbers)
            if numbers.size == 1 and channels != 1:
                numbers = np.broadcast_to(numbers.reshape(-1), (channels,))
            if numbers.size != channels:
                raise ArgumentError(f"a {role} of shape {list(numbers.shape)} for {channels} channels")
            inputs[role] = constant(numbers.reshape(-1), value.source if numbers.shape == (channels,) else "")
    return [call.emit("layer_norm", inputs, eps=call.attribute("epsilon", 1e-5))]


TRANSLATIONS: dict[str, Translate] = {
    "MatMul": _matrix_product,
    "Gemm": _gemm,
    "ReduceMean": _reduce("mean"),
    "ReduceSum": _reduce("sum", 13),
    "ReduceMax": _reduce("max"),
    "ReduceL2": _root_of_squares,
    "Softmax": _softmax,
    "LayerNormalization": _layer_norm,
}
