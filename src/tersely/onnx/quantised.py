"""Operators on bytes that stand for other numbers: QDQ, QLinear and integer products, ONNX's own and com.microsoft's.

A constant that is dequantised stays the bytes that it is in the model: passes (`graph/passes/quantised.py`) multiply by
those where they can. Values between operators have one scale, which is a constant.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tersely.core.errors import ArgumentError, UnsupportedError
from tersely.graph.graph import Node
from tersely.graph.passes.quantised_constants import dequantised
from tersely.graph.quantised_operators import RANGES, Affine
from tersely.onnx.arrays import KINDS
from tersely.onnx.call import Call, Translate
from tersely.onnx.images import padding, spatial
from tersely.onnx.lengths import Unknown, roots_of
from tersely.onnx.pointwise import binary
from tersely.onnx.shapes import axis_of
from tersely.onnx.values import Value

MICROSOFT = "com.microsoft"
REFUSED = {
    "DynamicQuantizeLinear": "scales that are computed from data: quantise the model statically",
}
"""Operators that a quantised model has and the executor does not, with what to do."""


def _scalar(call: Call, index: int, what: str) -> float | int:
    """The one number of a constant input."""
    numbers = call.known(index, what)
    if numbers.size != 1:
        raise UnsupportedError(f"{numbers.size} {what} for one value: between operators one is for all numbers")
    return numbers.reshape(()).item()


def _affine(call: Call, scale: int, zero: int, dtype: Any) -> Affine:
    """What a value stands for, by the inputs that say so. dtype: of the value."""
    if str(dtype) not in RANGES:
        raise UnsupportedError(f"values of {dtype}: int8 and uint8 are quantised")
    point = 0
    if call.has(zero):
        if call[zero].dtype != dtype:
            raise ArgumentError(f"a zero point of {call[zero].dtype} for values of {dtype}")
        point = int(_scalar(call, zero, "zero points"))
    found = Affine(float(np.float32(_scalar(call, scale, "scales"))), point, str(dtype))
    if not (np.isfinite(found.scale) and found.scale > 0):
        raise ArgumentError(f"the scale {found.scale} is no finite number above zero")
    return found


def _attributes(role: str, found: Affine) -> dict[str, Any]:
    return {f"{role}_scale": found.scale, f"{role}_zero": found.zero}


def _written(found: Affine) -> dict[str, Any]:
    return {**_attributes("y", found), "dtype": found.dtype}


def _result_dtype(call: Call, zero: int) -> Any:
    """The dtype of a quantised result: that of its zero point."""
    return call[zero].dtype if call.has(zero) else np.dtype(np.uint8)


def _bytes(call: Call, value: Value) -> Value:
    """A value of bytes; numbers that a caller gives, or that were computed as floats, are made bytes."""
    if value.known:
        raise UnsupportedError("a constant in place of a quantised value")
    if value.name in call.builder.quantised:
        return value
    return quantise(call, value, Affine(1.0, 0, str(value.dtype)))


def _emit(call: Call, operator: str, values: dict[str, Value], target: Affine, **attributes: Any) -> Value:
    """A node whose results are bytes."""
    if any(value.repeated for value in values.values()):
        raise Unknown(
            roots_of(length for value in values.values() for length in value.shape), "an axis that is repeated"
        )
    own = call.node.outputs[0]
    inputs = {role: call.builder.read(value, f"{own}.{role}") for role, value in values.items()}
    node = Node(operator, inputs, call.next_name(), {**attributes, **_written(target)})
    return Value(call.builder.add(node), np.dtype(target.dtype), node.output)


def quantise(call: Call, value: Value, target: Affine) -> Value:
    return _emit(call, "quantise", {"x": value}, target)


def dequantise(call: Call, value: Value, source: Affine) -> Value:
    return call.emit("dequantise", {"x": _bytes(call, value)}, **_attributes("x", source))


def _constant(call: Call, value: Value, scale: int, zero: int, axis: int) -> Value:
    """A dequantised constant: numbers of floats, read from a node that has the bytes."""
    builder = call.builder
    inputs = {"x": builder.keep(value, f"{call.node.outputs[0]}.x")}
    for role, index in (("scale", scale), ("zero", zero)):
        if call.has(index):
            call.known(index, f"a {role}")
            inputs[role] = builder.keep(call[index], f"{call.node.outputs[0]}.{role}")
    if call[scale].dtype != np.float32:
        raise UnsupportedError(f"scales of {call[scale].dtype}: the executor computes in float32")
    node = Node("dequantise", inputs, call.next_name(), {"axis": axis})
    shape = builder.add(node)
    return Value(shape, np.dtype(np.float32), node.output, numbers=dequantised(node, builder.arrays))


def _quantise(call: Call) -> Value:
    call.floats(call[0])
    if call.attribute("block_size", 0):
        raise UnsupportedError("a scale for each group of numbers")
    dtype = _result_dtype(call, 2)
    if kind := call.attribute("output_dtype", 0):
        dtype = KINDS.get(kind, kind)
    return quantise(call, call[0], _affine(call, 1, 2, dtype))


def _dequantise(call: Call) -> Value:
    x = call[0]
    if call.attribute("block_size", 0):
        raise UnsupportedError("a scale for each group of numbers")
    if x.known:
        if x.dtype not in (np.int8, np.uint8, np.int32):
            raise UnsupportedError(f"constants of {x.dtype}: int8, uint8 and int32 are dequantised")
        rank = len(x.shape)
        return _constant(call, x, 1, 2, axis_of(call.attribute("axis", 1), rank) if rank > 1 else 0)
    return dequantise(call, x, _affine(call, 1, 2, x.dtype))


def _product(call: Call, operator: str, x: Value, weight: Value, roles: dict[str, Value], **attributes: Any) -> Value:
    """A product of bytes. roles: further constants, as they lie in the model."""
    for role, value in {"weight": weight, **roles}.items():
        if not value.known:
            raise UnsupportedError(f"a {role} that depends on data")
    if str(weight.dtype) not in RANGES:
        raise UnsupportedError(f"weights of {weight.dtype}: int8 and uint8 are multiplied as bytes")
    if "weight_zero" in roles and roles["weight_zero"].dtype != weight.dtype:
        raise ArgumentError(f"a zero point of {roles['weight_zero'].dtype} for weights of {weight.dtype}")
    builder, own = call.builder, call.node.outputs[0]
    inputs = {"x": builder.read(_bytes(call, x), f"{own}.x")}
    for role, value in {"weight": weight, **roles}.items():
        inputs[role] = builder.keep(value, f"{own}.{role}")
    node = Node(operator, inputs, call.next_name(), attributes)
    shape = builder.add(node)
    dtype = np.dtype(attributes.get("dtype", np.float32))
    return Value(shape, dtype, node.output)


def _roles(call: Call, scale: int, zero: int, bias: int) -> dict[str, Value]:
    roles = {"weight_scale": call[scale]}
    if call.has(zero):
        roles["weight_zero"] = call[zero]
    if call.has(bias):
        roles["bias"] = call[bias]
    return roles


def _window(call: Call, weight: Value) -> dict[str, Any]:
    if len(call[0].shape) != 4 or len(weight.shape) != 4:
        raise UnsupportedError(f"{call.node.operator} on {max(len(call[0].shape) - 2, 0)} dimensions: images have two")
    taps = [int(one) for one in weight.shape[2:]]  # type: ignore[arg-type]
    stride, dilation = spatial(call, "strides", 1), spatial(call, "dilations", 1)
    groups = call.attribute("group", 1)
    if groups < 1:
        raise ArgumentError(f"attribute group is {groups}")
    return {
        "stride": stride,
        "padding": padding(call, taps, stride, dilation),
        "dilation": dilation,
        "groups": groups,
    }


def _qlinear_convolution(call: Call) -> Value:
    source = _affine(call, 1, 2, call[0].dtype)
    target = _affine(call, 6, 7, _result_dtype(call, 7))
    return _product(
        call, "quantised_convolution", call[0], call[3], _roles(call, 4, 5, 8),
        **_window(call, call[3]), **_attributes("x", source), **_written(target),
    )  # fmt: skip


def _qlinear_product(call: Call) -> Value:
    """A product of a constant matrix."""
    if len(call[3].shape) != 2:
        raise UnsupportedError("products of two values of bytes, or of several matrices")
    source, target = _affine(call, 1, 2, call[0].dtype), _affine(call, 6, 7, _result_dtype(call, 7))
    return _product(
        call, "quantised_linear", call[0], call[3], _roles(call, 4, 5, 8),
        in_out=True, **_attributes("x", source), **_written(target),
    )  # fmt: skip


def _qgemm(call: Call) -> Value:
    if call.attribute("alpha", 1.0) != 1.0 or call.attribute("transA", 0):
        raise UnsupportedError("QGemm with alpha or with x transposed")
    source = _affine(call, 1, 2, call[0].dtype)
    written = _written(_affine(call, 7, 8, _result_dtype(call, 8))) if call.has(7) else {}
    in_out = {} if call.attribute("transB", 0) else {"in_out": True}
    return _product(
        call, "quantised_linear", call[0], call[3], _roles(call, 4, 5, 6),
        **in_out, **_attributes("x", source), **written,
    )  # fmt: skip


def _integer_product(operator: str) -> Translate:
    """Sums of integers, as float32 numbers: exact up to 2^24, and beyond what casting them to float32 makes of them."""

    def translate(call: Call) -> Value:
        weight = call[1]
        source = Affine(1.0, 0, str(call[0].dtype))
        if call.has(2):
            source = replace(source, zero=int(_scalar(call, 2, "zero points")))
        roles = {"weight_scale": call.number(1.0)}
        if call.has(3):
            roles["weight_zero"] = call[3]
        if operator == "quantised_linear" and len(weight.shape) != 2:
            raise UnsupportedError("products of two values of bytes, or of several matrices")
        extra = _window(call, weight) if operator == "quantised_convolution" else {"in_out": True}
        found = _product(call, operator, call[0], weight, roles, **extra, **_attributes("x", source))
        return replace(found, dtype=np.dtype(np.int32))

    return translate


def _qlinear_arithmetic(operator: str) -> Translate:
    def translate(call: Call) -> Value:
        x, z = call[0], call[3]
        sources = _affine(call, 1, 2, x.dtype), _affine(call, 4, 5, z.dtype)
        target = _affine(call, 6, 7, _result_dtype(call, 7))
        if operator == "add" and not x.known and not z.known and x.shape == z.shape:
            attributes = {**_attributes("x", sources[0]), **_attributes("z", sources[1])}
            return _emit(call, "quantised_add", {"x": _bytes(call, x), "z": _bytes(call, z)}, target, **attributes)
        floats = [
            _constant(call, value, index, index + 1, 0) if value.known else dequantise(call, value, source)
            for value, index, source in ((x, 1, sources[0]), (z, 4, sources[1]))
        ]
        return quantise(call, binary(call, operator, *floats), target)

    return translate


def _qlinear_activation(operator: str) -> Translate:
    def translate(call: Call) -> Value:
        source, target = _affine(call, 1, 2, call[0].dtype), _affine(call, 3, 4, _result_dtype(call, 4))
        return quantise(call, call.emit(operator, {"x": dequantise(call, call[0], source)}), target)

    return translate


def _qlinear_pool(call: Call) -> Value:
    """The mean of all pixels, or of windows."""
    if call.attribute("channels_last", 0) or len(call[0].shape) != 4:
        raise UnsupportedError(f"{call.node.operator} with channels last, or on other than images")
    source, target = _affine(call, 1, 2, call[0].dtype), _affine(call, 3, 4, _result_dtype(call, 4))
    window: dict[str, Any] = {"size": [1, 1]}
    if call.node.operator == "QLinearAveragePool":
        kernel, stride = spatial(call, "kernel_shape", 1), spatial(call, "strides", 1)
        window = {
            "kernel": kernel,
            "stride": stride,
            "padding": padding(call, kernel, stride, [1, 1]),
            "ceil": bool(call.attribute("ceil_mode", 0)),
            "count_padding": bool(call.attribute("count_include_pad", 0)),
        }
    attributes = {**window, **_attributes("x", source)}
    return _emit(call, "quantised_average_pool", {"x": _bytes(call, call[0])}, target, **attributes)


def _qlinear_concatenation(call: Call) -> Value:
    """Inputs: scale and zero point of the result, then a value, scale and zero point of each part."""
    target = _affine(call, 0, 1, call[1].dtype)
    parts = [
        dequantise(call, call[index], _affine(call, index + 1, index + 2, call[index].dtype))
        for index in range(2, len(call.inputs), 3)
    ]
    axis = axis_of(call.attribute("axis", 0), len(parts[0].shape))
    joined = call.emit("concatenate", {f"x{i}": one for i, one in enumerate(parts)}, axis=axis)
    return quantise(call, joined, target)


def _refused(call: Call) -> Value:
    raise UnsupportedError(REFUSED[call.node.operator])


FOR_MICROSOFT: dict[str, Translate] = {
    "QuantizeLinear": _quantise,
    "DequantizeLinear": _dequantise,
    "QLinearAdd": _qlinear_arithmetic("add"),
    "QLinearMul": _qlinear_arithmetic("multiply"),
    "QLinearSigmoid": _qlinear_activation("sigmoid"),
    "QLinearGlobalAveragePool": _qlinear_pool,
    "QLinearAveragePool": _qlinear_pool,
    "QLinearConcat": _qlinear_concatenation,
    "QGemm": _qgemm,
}
"""Those of the domain `MICROSOFT`, which ONNX Runtime's own tools write."""
TRANSLATIONS: dict[str, Translate] = {
    **FOR_MICROSOFT,
    "QLinearConv": _qlinear_convolution,
    "QLinearMatMul": _qlinear_product,
    "ConvInteger": _integer_product("quantised_convolution"),
    "MatMulInteger": _integer_product("quantised_linear"),
    **dict.fromkeys(REFUSED, _refused),
}
