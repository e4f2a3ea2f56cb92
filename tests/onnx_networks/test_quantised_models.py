"""Quantised ONNX models against onnx's reference evaluator, and against the same in QDQ form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from support.onnx_models import model_of, node, pipeline_of

from tersely.core.errors import ArgumentError, UnsupportedError
from tersely.graph.pipeline import Pipeline

pytestmark = pytest.mark.kernels

KIND = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8}
IMAGE = np.random.default_rng(1).standard_normal((2, 20, 9, 11)).astype(np.float32)
ROWS = np.random.default_rng(2).standard_normal((5, 40)).astype(np.float32)


def numbers(shape: tuple[int, ...], dtype: str, seed: int = 3) -> np.ndarray:
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max + 1, shape).astype(dtype)


def scales(count: int) -> np.ndarray:
    return (0.001 + 0.01 * np.random.default_rng(count).random(count)).astype(np.float32)


def point(value: int, dtype: str) -> np.ndarray:
    return np.array(value, dtype)


def real(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def check(model: onnx.ModelProto, x: np.ndarray, folder: Path, steps: float = 1) -> tuple[Pipeline, np.ndarray]:
    """Within a step of the evaluator, whose sums are floats; in nearly all places the same."""
    pipeline = pipeline_of(model, folder)
    (expected,) = ReferenceEvaluator(model).run(None, {"x": x})
    (found,) = pipeline.run(x)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert np.abs(found.astype(np.float64) - expected).max() <= steps
    if found.dtype != np.float32:
        assert np.mean(found != expected) < 2e-3
    return pipeline, found


def operators(pipeline: Pipeline) -> list[str]:
    return [one.operator for one in pipeline.graph.nodes]


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_between_floats_and_bytes(dtype: str, tmp_path: Path) -> None:
    zero = 100 if dtype == "uint8" else -5
    constants = {"s": real(0.03), "z": point(zero, dtype)}
    there = node("QuantizeLinear", "x s z", "q")
    model = model_of([there], {"x": IMAGE}, constants, outputs=["q"], kind=KIND[dtype])
    (expected,) = ReferenceEvaluator(model).run(None, {"x": IMAGE})
    np.testing.assert_array_equal(pipeline_of(model, tmp_path).run(IMAGE)[0], expected)
    for x in (IMAGE, ROWS, ROWS[0], ROWS.reshape(5, 4, 10)):
        model = model_of([there, node("DequantizeLinear", "q s z", "y")], {"x": x}, constants)
        (expected,) = ReferenceEvaluator(model).run(None, {"x": x})
        np.testing.assert_array_equal(pipeline_of(model, tmp_path).run(x)[0], expected)


def qlinear_convolution(dtype: str, weight: str, **attributes: Any) -> onnx.ModelProto:
    groups = attributes.get("group", 1)
    constants = {
        "s": real(0.03),
        "z": point(3, dtype),
        "w": numbers((40, 20 // groups, 3, 3), weight),
        "ws": scales(40),
        "wz": numbers((40,), weight, 5) if weight == "uint8" else np.zeros(40, np.int8),
        "ys": real(0.9 / groups),
        "yz": point(20, dtype),
        "b": np.arange(40, dtype=np.int32) * 100,
    }
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("QLinearConv", "q s z w ws wz ys yz b", "y", **attributes),
    ]
    return model_of(nodes, {"x": IMAGE}, constants, kind=KIND[dtype])


@pytest.mark.parametrize("weight", ["int8", "uint8"])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_qlinear_convolutions(dtype: str, weight: str, tmp_path: Path) -> None:
    for attributes in ({"pads": [1, 1, 1, 1]}, {"strides": [2, 1]}, {"group": 20}, {"group": 4, "dilations": [2, 2]}):
        pipeline, _ = check(qlinear_convolution(dtype, weight, **attributes), IMAGE, tmp_path)
        assert operators(pipeline) == ["quantise", "quantised_convolution"]


def test_qlinear_and_integer_products(tmp_path: Path) -> None:
    constants = {
        "s": real(0.03), "z": point(3, "uint8"), "w": numbers((40, 17), "int8"), "ws": scales(17),
        "wz": np.zeros(17, np.int8), "ys": real(0.5), "yz": point(90, "uint8"), "wz0": point(4, "int8"),
    }  # fmt: skip
    there = node("QuantizeLinear", "x s z", "q")
    product = node("QLinearMatMul", "q s z w ws wz ys yz", "y")
    check(model_of([there, product], {"x": ROWS}, constants, kind=KIND["uint8"]), ROWS, tmp_path)
    nodes = [there, node("MatMulInteger", "q w z wz0", "i"), node("Cast", "i", "y", to=TensorProto.FLOAT)]
    check(model_of(nodes, {"x": ROWS}, constants), ROWS, tmp_path, 0)
    constants["w"] = numbers((6, 20, 3, 3), "int8")
    nodes[1] = node("ConvInteger", "q w z wz0", "i", pads=[1, 1, 1, 1])
    check(model_of(nodes, {"x": IMAGE}, constants), IMAGE, tmp_path, 0)


def qdq(
    dtype: str, name: str, x: str, scale: float, zero: int, constants: dict[str, np.ndarray]
) -> list[onnx.NodeProto]:
    constants[f"{name}s"], constants[f"{name}z"] = real(scale), point(zero, dtype)
    return [
        node("QuantizeLinear", f"{x} {name}s {name}z", f"{name}q"),
        node("DequantizeLinear", f"{name}q {name}s {name}z", name),
    ]


def small_network(dtype: str) -> onnx.ModelProto:
    """A residual block, pools, a product of rows, each between QuantizeLinear and DequantizeLinear."""
    zero = 0 if dtype == "uint8" else -128
    constants: dict[str, np.ndarray] = {}
    nodes = qdq(dtype, "a", "x", 0.03, zero + 120, constants)

    def weight(name: str, shape: tuple[int, ...], bias: str) -> str:
        constants[f"{name}i"], constants[f"{name}s"] = numbers(shape, "int8"), scales(shape[0])
        constants[f"{name}z"] = np.zeros(shape[0], np.int8)
        constants[f"{name}b"] = np.arange(shape[0], dtype=np.int32) * 50
        constants[f"{name}bs"] = constants[f"{bias}s"] * constants[f"{name}s"]
        nodes.append(node("DequantizeLinear", f"{name}i {name}s {name}z", name, axis=0))
        nodes.append(node("DequantizeLinear", f"{name}b {name}bs", f"{name}d", axis=0))
        return f"{name} {name}d"

    nodes.append(node("Conv", f"a {weight('v', (20, 20, 3, 3), 'a')}", "c", pads=[1, 1, 1, 1]))
    nodes.append(node("Relu", "c", "cr"))
    nodes += qdq(dtype, "e", "cr", 0.05, zero, constants)
    nodes.append(node("Conv", f"e {weight('w', (20, 1, 3, 3), 'e')}", "f", pads=[1, 1, 1, 1], group=20))
    nodes += qdq(dtype, "g", "f", 0.06, zero + 130, constants)
    nodes.append(node("Add", "g e", "h"))
    nodes += qdq(dtype, "i", "h", 0.07, zero + 90, constants)
    nodes.append(node("MaxPool", "i", "j", kernel_shape=[2, 2], strides=[2, 2]))
    nodes += qdq(dtype, "k", "j", 0.07, zero + 90, constants)
    nodes.append(node("GlobalAveragePool", "k", "l"))
    nodes += qdq(dtype, "m", "l", 0.05, zero + 60, constants)
    nodes.append(node("Flatten", "m", "n"))
    nodes.append(node("Gemm", f"n {weight('u', (10, 20), 'm')}", "o", transB=1))
    nodes += qdq(dtype, "y", "o", 0.03, zero + 128, constants)
    return model_of(nodes, {"x": IMAGE}, constants)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_a_network_in_qdq_form(dtype: str, each_isa: str, tmp_path: Path) -> None:
    model = small_network(dtype)
    pipeline, found = check(model, IMAGE, tmp_path, 0.061)
    assert operators(pipeline) == [
        "quantise", "quantised_convolution", "quantised_convolution", "quantised_add", "max_pool",
        "quantised_average_pool", "flatten", "quantised_linear", "dequantise",
    ]  # fmt: skip
    for threads in (1, 3):
        np.testing.assert_array_equal(pipeline.run(IMAGE, threads=threads)[0], found)


def in_microsofts(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], x: np.ndarray) -> onnx.ModelProto:
    model = model_of(nodes, {"x": x}, constants, kind=KIND["uint8"])
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    for one in model.graph.node:
        if one.op_type.startswith("Q") and one.op_type != "QuantizeLinear":
            one.domain = "com.microsoft"
    return model


def test_operators_of_microsoft_are_what_their_qdq_form_is(tmp_path: Path) -> None:
    base = {"s": real(0.03), "z": point(120, "uint8"), "t": real(0.02), "u": point(30, "uint8"),
            "ys": real(0.021), "yz": point(100, "uint8")}  # fmt: skip
    there = [node("QuantizeLinear", "x s z", "q"), node("QuantizeLinear", "x t u", "p")]
    back = [node("DequantizeLinear", "q s z", "a"), node("DequantizeLinear", "p t u", "b")]
    last = node("QuantizeLinear", "w ys yz", "y")
    for own, floats, x in (
        (node("QLinearAdd", "q s z p t u ys yz", "y"), [node("Add", "a b", "w")], IMAGE),
        (node("QLinearMul", "q s z p t u ys yz", "y"), [node("Mul", "a b", "w")], IMAGE),
        (node("QLinearSigmoid", "q s z ys yz", "y"), [node("Sigmoid", "a", "w")], IMAGE),
        (node("QLinearGlobalAveragePool", "q s z ys yz", "y"), [node("GlobalAveragePool", "a", "w")], IMAGE),
        (node("QLinearAveragePool", "q s z ys yz", "y", kernel_shape=[2, 3]),
         [node("AveragePool", "a", "w", kernel_shape=[2, 3])], IMAGE),
        (node("QLinearConcat", "ys yz q s z p t u", "y", axis=1), [node("Concat", "a b", "w", axis=1)], IMAGE),
    ):  # fmt: skip
        microsofts = pipeline_of(in_microsofts([*there, own], base, x), tmp_path)
        plain = pipeline_of(model_of([*there, *back, *floats, last], {"x": x}, base, kind=KIND["uint8"]), tmp_path)
        np.testing.assert_array_equal(microsofts.run(x)[0], plain.run(x)[0])


def test_qgemm(tmp_path: Path) -> None:
    constants = {
        "s": real(0.03), "z": point(3, "uint8"), "w": numbers((17, 40), "int8"), "ws": scales(17),
        "wz": np.zeros(17, np.int8), "c": np.arange(17, dtype=np.int32) * 99, "ys": real(0.5), "yz": point(90, "uint8"),
    }  # fmt: skip
    there = node("QuantizeLinear", "x s z", "q")
    model = in_microsofts([there, node("QGemm", "q s z w ws wz c ys yz", "y", transB=1)], constants, ROWS)
    (found,) = pipeline_of(model, tmp_path).run(ROWS)
    sums = (np.clip(np.rint(ROWS / np.float32(0.03)) + 3, 0, 255) - 3) @ constants["w"].T.astype(np.float64)
    wanted = (sums + constants["c"]) * (0.03 * constants["ws"].astype(np.float64) / 0.5)
    assert np.abs(found - np.clip(np.rint(wanted) + 90, 0, 255)).max() <= 1


def test_bytes_of_a_caller(tmp_path: Path) -> None:
    """A model whose input is uint8 already."""
    model = small_network("uint8")
    first = model.graph.node[0]
    model.graph.node.remove(first)
    model.graph.input[0].name = first.output[0]
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    x = numbers(IMAGE.shape, "uint8", 9)
    pipeline = pipeline_of(model, tmp_path)
    (expected,) = ReferenceEvaluator(model).run(None, {first.output[0]: x})
    assert np.abs(pipeline.run(x)[0] - expected).max() <= 0.061


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([node("QuantizeLinear", "x s z", "y")], "for one value"),
        ([node("QuantizeLinear", "x one wide", "y")], "uint16: int8 and uint8 are quantised"),
        ([node("QuantizeLinear", "x none z1", "y")], "scale 0.0 is no finite number above zero"),
        ([node("DynamicQuantizeLinear", "x", "y a b")], "'the DynamicQuantizeLinear'.*statically"),
        ([node("QuantizeLinear", "x one z1", "q"), node("QLinearMatMul", "q one z1 q one z1 one z1", "y")],
         "weight that depends on data"),
        ([node("QuantizeLinear", "x one z1", "q"), node("Relu", "q", "y")], "'the Relu'.*uint8"),
    ],
    ids=lambda one: "" if isinstance(one, str) else one[-1].op_type,
)  # fmt: skip
def test_refused_by_name(nodes: list[onnx.NodeProto], said: str, tmp_path: Path) -> None:
    constants = {"s": scales(40), "z": np.zeros(40, np.uint8), "one": real(1), "wide": np.array(0, np.uint16),
                 "z1": point(0, "uint8"), "none": real(0)}  # fmt: skip
    used = {name for one in nodes for name in one.input}
    model = model_of(
        nodes, {"x": ROWS}, {name: one for name, one in constants.items() if name in used}, kind=KIND["uint8"]
    )
    with pytest.raises((UnsupportedError, ArgumentError), match=said):
        pipeline_of(model, tmp_path)
