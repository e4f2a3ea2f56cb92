"""Every operator that is translated, against onnx's reference evaluator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator
from support.onnx_models import check_close, compare, model_of, node, pipeline_of

pytestmark = pytest.mark.kernels


def f(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(np.float32)


def i(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def number(value: float) -> np.ndarray:
    return np.array(value, np.float32)


IMAGE = f(2, 20, 9, 11)
TOKENS = f(2, 7, 48)

UNARY: list[tuple[str, dict[str, Any]]] = [
    ("Relu", {}), ("Sigmoid", {}), ("Tanh", {}), ("Erf", {}), ("Exp", {}), ("HardSwish", {}), ("HardSigmoid", {}),
    ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}), ("Gelu", {}), ("Gelu", {"approximate": "tanh"}),
    ("LeakyRelu", {"alpha": 0.2}), ("Elu", {"alpha": 0.7}), ("Neg", {}), ("Abs", {}), ("Reciprocal", {}),
    ("GlobalAveragePool", {}), ("GlobalMaxPool", {}), ("ReduceMean", {"keepdims": 0}), ("ReduceMax", {}),
    ("Softmax", {"axis": 1}), ("Softmax", {}), ("Transpose", {"perm": [0, 2, 3, 1]}), ("Transpose", {}),
    ("Flatten", {}), ("Flatten", {"axis": 2}), ("Flatten", {"axis": 0}), ("Flatten", {"axis": -1}),
    ("MaxPool", {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}),
    ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("MaxPool", {"kernel_shape": [2, 2], "dilations": [2, 3]}),
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    ("AveragePool", {"kernel_shape": [2, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    ("Identity", {}), ("Dropout", {}),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "attributes"), UNARY, ids=lambda one: str(one))
def test_operators_of_one_image(tmp_path: Path, operator: str, attributes: dict[str, Any]) -> None:
    nodes = [node(operator, "x", "h", **attributes), node("Mul", "h two", "y")]
    compare(model_of(nodes, {"x": IMAGE}, {"two": number(2)}), {"x": IMAGE}, tmp_path)


@pytest.mark.parametrize("opset", [11, 12, 13, 17, 18, 21, 23])
@pytest.mark.parametrize("axis", [-1, 1])
def test_softmax_of_every_opset(tmp_path: Path, opset: int, axis: int) -> None:
    model = model_of([node("Softmax", "x", "y", axis=axis)], {"x": TOKENS}, {}, opset=opset)
    if opset < 13 and axis == 1:  # the reference evaluator has the softmax of opset 13 only
        flat = model_of([node("Reshape", "x s", "h"), node("Softmax", "h", "k", axis=1), node("Reshape", "k t", "y")],
                        {"x": TOKENS}, {"s": i(2, -1), "t": i(2, 7, 48)})  # fmt: skip
        check_close(pipeline_of(model, tmp_path).run(TOKENS), ReferenceEvaluator(flat).run(None, {"x": TOKENS}))
        return
    compare(model, {"x": TOKENS}, tmp_path)


@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "PRelu"])
@pytest.mark.parametrize("other", [(2, 20, 9, 11), (20, 1, 1), (1,), (), (2, 1, 1, 1)], ids=str)
def test_operators_of_two(tmp_path: Path, operator: str, other: tuple[int, ...]) -> None:
    x, z = IMAGE, f(*other)
    if operator == "Pow":
        x, z = np.abs(x), np.abs(z)
    compare(model_of([node(operator, "x z", "y")], {"x": x}, {"z": z}), {"x": x}, tmp_path)
    if operator != "PRelu":
        compare(model_of([node(operator, "x z", "y")], {"x": x, "z": z}, {}), {"x": x, "z": z}, tmp_path)
        compare(model_of([node(operator, "z x", "y")], {"x": x}, {"z": z}), {"x": x}, tmp_path)


@pytest.mark.parametrize("operator", ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"])
@pytest.mark.parametrize("then", ["Where", "Not", "And", "Or", "Xor", "Cast"])
def test_truths(tmp_path: Path, operator: str, then: str) -> None:
    x = np.round(f(3, 5, 7) * 2)
    x[0, 0, :2] = np.nan, np.inf
    nodes = [node(operator, "x z", "t"), node("Less", "x zero", "u")]
    nodes += {
        "Where": [node("Where", "t big low", "y")],
        "Cast": [node("Cast", "t", "y", to=1)],
        "Not": [node("Not", "t", "n"), node("Cast", "n", "y", to=1)],
    }.get(then, [node(then, "t u", "n"), node("Cast", "n", "y", to=1)])
    constants = {"z": number(1), "zero": number(0), "big": f(5, 1), "low": number(-np.inf)}
    compare(model_of(nodes, {"x": x}, constants), {"x": x}, tmp_path)


def test_what_is_not_chosen_counts_for_nothing(tmp_path: Path) -> None:
    x, mask = f(2, 3, 16), np.array([[1, 0, 1], [0, 0, 1]], np.int64)
    x[0, 1] = np.nan
    nodes = [node("Cast", "mask", "t", to=9), node("Unsqueeze", "t axes", "u"), node("Where", "u x fill", "y")]
    constants = {"axes": i(2), "fill": f(16)}
    compare(model_of(nodes, {"x": x, "mask": mask}, constants), {"x": x, "mask": mask}, tmp_path)


@pytest.mark.parametrize("bounds", [(0, 6), (0, None), (None, 1), (-0.5, 0.75), (None, None)])
def test_clip(tmp_path: Path, bounds: tuple[float | None, float | None]) -> None:
    names = "x " + " ".join("-" if one is None else role for role, one in zip(("a", "b"), bounds, strict=True))
    constants = {role: number(one) for role, one in zip(("a", "b"), bounds, strict=True) if one is not None}
    nodes = [node("Clip", names.removesuffix(" -"), "h"), node("Relu", "h", "y")]
    compare(model_of(nodes, {"x": IMAGE}, constants), {"x": IMAGE}, tmp_path)


@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize(
    "attributes",
    [
        {}, {"pads": [1, 1, 1, 1]}, {"pads": [0, 1, 2, 3]}, {"strides": [2, 3]}, {"dilations": [2, 1]}, {"group": 4},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, {"auto_pad": "SAME_LOWER"}, {"auto_pad": "VALID"},
    ],
    ids=str,
)  # fmt: skip
def test_convolutions(tmp_path: Path, attributes: dict[str, Any], images: bool) -> None:
    x = IMAGE if images else IMAGE[:, :, 0]
    if not images:
        attributes = {name: [one[0]] if name in ("strides", "dilations") else one[::2] if name == "pads" else one
                      for name, one in attributes.items()}  # fmt: skip
        attributes = {name: one[:1] if name == "strides" else one for name, one in attributes.items()}
    weight = f(32, 20 // attributes.get("group", 1), *([3] * (x.ndim - 2)))
    nodes = [node("Conv", "x w b", "y", **attributes)]
    compare(model_of(nodes, {"x": x}, {"w": weight, "b": f(32)}), {"x": x}, tmp_path)


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_batch_norm(tmp_path: Path, rank: int) -> None:
    x = IMAGE[(slice(None), slice(None), *[0] * (4 - rank))]
    constants = {"w": f(20), "b": f(20, seed=1), "m": f(20, seed=2), "v": np.abs(f(20, seed=3)) + 0.1}
    compare(
        model_of([node("BatchNormalization", "x w b m v", "y", epsilon=1e-3)], {"x": x}, constants), {"x": x}, tmp_path
    )


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("features", [24, 200])
@pytest.mark.parametrize("bias", [None, (32,), (1, 32), (1,), (1, 1), (40, 1)], ids=str)
def test_gemm(tmp_path: Path, transposed: int, features: int, bias: tuple[int, ...] | None) -> None:
    for count, scale in ((3, {}), (40, {"alpha": 0.5, "beta": 2.0})):
        if bias == (40, 1) and count == 3:
            continue
        x, weight = f(count, features), f(32, features) if transposed else f(features, 32)
        constants = {"w": weight} if bias is None else {"w": weight, "c": f(*bias)}
        nodes = [node("Gemm", "x w" if bias is None else "x w c", "y", transB=transposed, **scale)]
        compare(model_of(nodes, {"x": x}, constants), {"x": x}, tmp_path)


def test_gemm_of_two_values(tmp_path: Path) -> None:
    inputs = {"x": f(24, 8), "z": f(10, 24)}
    nodes = [node("Gemm", "x z c", "y", transA=1, transB=1, alpha=0.3)]
    compare(model_of(nodes, inputs, {"c": f(10)}), inputs, tmp_path)


@pytest.mark.parametrize(
    ("x", "z", "constant"),
    [
        ((2, 7, 48), (48, 64), True), ((2, 3, 7, 48), (48, 20), True), ((2, 7, 48), (2, 48, 9), False),
        ((2, 3, 7, 16), (3, 16, 5), True), ((48,), (48, 9), True), ((3, 48), (48,), False), ((30, 48), (48, 64), True),
        ((1, 48), (48, 64), True),
    ],
    ids=str,
)  # fmt: skip
def test_products(tmp_path: Path, x: tuple[int, ...], z: tuple[int, ...], constant: bool) -> None:
    a, b = f(*x), f(*z)
    inputs, constants = ({"x": a}, {"z": b}) if constant else ({"x": a, "z": b}, {})
    compare(model_of([node("MatMul", "x z", "y")], inputs, constants), inputs, tmp_path)


def test_constants_on_the_left(tmp_path: Path) -> None:
    compare(model_of([node("MatMul", "w x", "y")], {"x": f(2, 24, 9)}, {"w": f(10, 24)}), {"x": f(2, 24, 9)}, tmp_path)


SHAPED: list[tuple[str, str, dict[str, np.ndarray], dict[str, Any]]] = [
    ("Reshape", "x s", {"s": i(2, -1)}, {}), ("Reshape", "x s", {"s": i(0, 5, -1, 11)}, {}),
    ("Reshape", "x s", {"s": i(-1)}, {}), ("Reshape", "x s", {"s": i(2, 20, 99)}, {"allowzero": 1}),
    ("Unsqueeze", "x a", {"a": i(0, -1)}, {}), ("Expand", "x s", {"s": i(3, 1, 1, 1, 1)}, {}),
    ("Slice", "x b e", {"b": i(0, 3), "e": i(1, 2**62)}, {}),
    ("Slice", "x b e a s", {"b": i(1, -5), "e": i(-1, 99), "a": i(2, -1), "s": i(2, 3)}, {}),
    ("Gather", "x n", {"n": np.array(-1, np.int64)}, {"axis": 1}), ("Gather", "x n", {"n": i(3, 0, -2)}, {"axis": 1}),
    ("Gather", "x n", {"n": i(1, 3, 5)}, {"axis": 3}), ("Gather", "x n", {"n": i(4)}, {"axis": 2}),
    ("Pad", "x p", {"p": i(0, 0, 1, 2, 0, 0, 3, 0)}, {}),
    ("Pad", "x p v", {"p": i(1, 0, 0, 0, 0, 2, 0, 0), "v": number(1.5)}, {}),
    ("Pad", "x p - a", {"p": i(1, 2), "a": i(3)}, {}),
    ("Concat", "x c", {"c": f(2, 3, 9, 11)}, {"axis": 1}), ("Concat", "x x", {}, {"axis": -2}),
    ("ReduceMean", "x a", {"a": i(-1)}, {}), ("ReduceSum", "x a", {"a": i(1, 2)}, {"keepdims": 0}),
    ("ReduceMax", "x a", {"a": i(3, 1)}, {}), ("ReduceSum", "x", {}, {"noop_with_empty_axes": 1}),
    ("ReduceL2", "x a", {"a": i(1)}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "names", "constants", "attributes"), SHAPED, ids=lambda one: str(one)[:40])
def test_shapes(
    tmp_path: Path, operator: str, names: str, constants: dict[str, np.ndarray], attributes: dict[str, Any]
) -> None:
    nodes = [node(operator, names, "h", **attributes), node("Mul", "h two", "y")]
    compare(model_of(nodes, {"x": IMAGE}, {**constants, "two": number(2)}), {"x": IMAGE}, tmp_path)


def test_padding_that_cuts_off(tmp_path: Path) -> None:
    made = pipeline_of(model_of([node("Pad", "x p", "y")], {"x": IMAGE}, {"p": i(0, 0, -1, 2, 0, 0, 0, -3)}), tmp_path)
    (found,) = made.run(IMAGE)
    np.testing.assert_array_equal(found, np.pad(IMAGE[:, :, 1:, :-3], [(0, 0), (0, 0), (0, 0), (2, 0)]))


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_squeezing_and_splitting(tmp_path: Path, opset: int) -> None:
    x = f(2, 1, 12, 1)
    attributes: dict[str, Any] = {"axes": [1]} if opset < 13 else {}
    nodes = [node("Squeeze", "x" if opset < 13 else "x a", "h", **attributes)]
    parts: dict[str, Any] = {"split": [2, 10]} if opset < 13 else {}
    nodes.append(node("Split", "h" if opset < 13 else "h s", "y z", axis=1, **parts))
    even: dict[str, Any] = {"num_outputs": 3} if opset >= 18 else {}
    nodes += [node("Split", "z", "p q" if opset < 18 else "p q r", axis=1, **even), node("Squeeze", "p", "u")]
    outputs = ("y", "u", "q") if opset < 18 else ("y", "u", "q", "r")
    constants = {} if opset < 13 else {"a": i(1), "s": i(2, 10)}
    compare(model_of(nodes, {"x": x}, constants, outputs, opset), {"x": x}, tmp_path)


@pytest.mark.parametrize(
    ("given", "attributes"),
    [
        ({"s": np.array([1, 1, 2, 3], np.float32)}, {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}),
        ({"s": np.array([1, 1, 2, 2], np.float32)}, {"mode": "nearest"}),
        ({"s": np.array([1, 1, 1.5, 0.7], np.float32)}, {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}),
        ({"s": np.array([1, 1, 2, 2], np.float32)}, {"mode": "linear"}),
        ({"z": i(2, 20, 13, 5)}, {"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
        ({"z": i(2, 20, 4, 17)}, {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}),
        ({"z": i(2, 20, 18, 33)}, {"mode": "nearest"}),
    ],
    ids=str,
)  # fmt: skip
def test_resizing(tmp_path: Path, given: dict[str, np.ndarray], attributes: dict[str, Any]) -> None:
    nodes = [node("Resize", "x - s" if "s" in given else "x - - z", "y", **attributes)]
    compare(model_of(nodes, {"x": IMAGE}, given), {"x": IMAGE}, tmp_path, 1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_layer_norm(tmp_path: Path, bias: bool) -> None:
    nodes = [node("LayerNormalization", "x w b" if bias else "x w", "y", epsilon=1e-3)]
    constants = {"w": f(48), "b": f(48, seed=2)} if bias else {"w": f(48)}
    compare(model_of(nodes, {"x": TOKENS}, constants), {"x": TOKENS}, tmp_path)


def test_embeddings(tmp_path: Path) -> None:
    numbers = np.array([[0, 5, 49], [7, 7, 1]], np.int64)
    model = model_of([node("Gather", "w x", "h"), node("Relu", "h", "y")], {"x": numbers}, {"w": f(50, 32)})
    compare(model, {"x": numbers}, tmp_path)


@pytest.mark.parametrize("dtype", ["int64", "int32", "bool"])
def test_inputs_that_are_integers(tmp_path: Path, dtype: str) -> None:
    x = (np.arange(12).reshape(3, 4) % 2).astype(dtype)
    nodes = [node("Cast", "x", "h", to=1), node("Sub", "one h", "k"), node("Mul", "k low", "y")]
    compare(model_of(nodes, {"x": x}, {"one": number(1), "low": number(-3.4e38)}), {"x": x}, tmp_path)
