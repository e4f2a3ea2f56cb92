"""What follows from constants alone: masks in weights, half precision, transposed weights, shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from support.onnx_models import compare, model_of, node, pipeline_of

from tersely.core.errors import ArgumentError
from tersely.graph.pipeline import Pipeline
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.kernels


def f(*shape: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed + sum(shape)).standard_normal(shape) * 0.1).astype(np.float32)


def i(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def weights_of(made: Pipeline) -> list[np.ndarray]:
    return [one.decode() for one in made.constants.values() if isinstance(one, Tensor)]


@pytest.mark.parametrize("operator", ["Conv", "MatMul", "Gemm"])
def test_masks_of_pruning_are_multiplied_into_weights(tmp_path: Path, operator: str) -> None:
    shape = (64, 64, 3, 3) if operator == "Conv" else (96, 80)
    x, weight = f(1, 64, 5, 5) if operator == "Conv" else f(4, 96), f(*shape)
    mask = (np.random.default_rng(1).random(shape) < 0.1).astype(np.float32)
    nodes = [node("Mul", "w m", "k"), node(operator, "x k", "y")]
    made = compare(model_of(nodes, {"x": x}, {"w": weight, "m": mask}), {"x": x}, tmp_path, objective="size")
    (kept,) = weights_of(made)
    np.testing.assert_array_equal(kept, weight * mask)
    plain, held = made.weight_bytes
    assert held < plain / 2


def test_half_precision_becomes_float32_bit_for_bit(tmp_path: Path) -> None:
    weight = f(96, 80).astype(np.float16)
    nodes = [node("Cast", "w", "k", to=1), node("MatMul", "x k", "y")]
    made = compare(model_of(nodes, {"x": f(4, 96)}, {"w": weight}), {"x": f(4, 96)}, tmp_path)
    np.testing.assert_array_equal(weights_of(made)[0], weight.astype(np.float32))


def test_masks_are_multiplied_in_the_precision_of_the_model(tmp_path: Path) -> None:
    weight, factor = f(96, 80).astype(np.float16), np.full((1, 80), 1.7, np.float16)
    nodes = [node("Mul", "w m", "p"), node("Cast", "p", "k", to=1), node("MatMul", "x k", "y")]
    model = model_of(nodes, {"x": f(4, 96)}, {"w": weight, "m": factor})
    made = compare(model, {"x": f(4, 96)}, tmp_path)
    np.testing.assert_array_equal(weights_of(made)[0], (weight * factor).astype(np.float32))


@pytest.mark.parametrize("rows", [1, 40])
def test_a_transposed_weight_is_read_as_it_is_stored(tmp_path: Path, rows: int) -> None:
    weight, x = f(80, 96), f(rows, 96)
    nodes = [node("Transpose", "w", "k", perm=[1, 0]), node("MatMul", "x k", "y")]
    made = compare(model_of(nodes, {"x": x}, {"w": weight}), {"x": x}, tmp_path)
    assert list(made.constants) == ["w"]
    np.testing.assert_array_equal(weights_of(made)[0], weight)


def test_tied_weights_are_coded_once(tmp_path: Path) -> None:
    nodes = [node("Gather", "w n", "h"), node("Transpose", "w", "k", perm=[1, 0]), node("MatMul", "h k", "y")]
    numbers = np.array([[3, 0, 63]], np.int64)
    made = compare(model_of(nodes, {"n": numbers}, {"w": f(64, 48)}), {"n": numbers}, tmp_path)
    assert list(made.constants) == ["w"]


def test_a_weight_that_is_read_both_ways(tmp_path: Path) -> None:
    weight, x = f(64, 64), f(5, 64)
    nodes = [node("MatMul", "x w", "h"), node("Gemm", "h w", "y", transB=1)]
    made = compare(model_of(nodes, {"x": x}, {"w": weight}), {"x": x}, tmp_path)
    assert set(made.constants) == {"w", "w.transposed"}


def test_weights_that_are_reshaped(tmp_path: Path) -> None:
    weight, x = f(32, 64), f(2, 64, 6)
    nodes = [node("Unsqueeze", "w a", "k"), node("Conv", "x k", "h"), node("Reshape", "w s", "v"),
             node("Mul", "h t", "y"), node("ReduceSum", "v", "t", keepdims=0)]  # fmt: skip
    nodes = [nodes[0], nodes[1], nodes[2], nodes[4], nodes[3]]
    compare(model_of(nodes, {"x": x}, {"w": weight, "a": i(2), "s": i(64, 32)}), {"x": x}, tmp_path)


SHAPE_ARITHMETIC = [
    node("Shape", "x", "s"), node("Gather", "s zero", "n"), node("Gather", "s one", "c"), node("Mul", "c two", "d"),
    node("Div", "d two", "e"), node("Unsqueeze", "n axis", "n1"), node("Unsqueeze", "e axis", "e1"),
    node("Concat", "n1 e1 minus", "to", axis=0), node("Shape", "to", "ts"),
    node("ConstantOfShape", "ts", "ones", value=numpy_helper.from_array(i(1))), node("Mul", "ones m", "negative"),
    node("Equal", "to negative", "open"), node("Where", "open ones to", "asked"), node("Reshape", "x to", "y"),
    node("Expand", "cls asked", "repeated"), node("Concat", "repeated y", "z", axis=2),
]  # fmt: skip


def test_lengths_that_are_not_known(tmp_path: Path) -> None:
    """Shapes are computed with as exporters do; the graph serves any of them."""
    constants = {
        "zero": np.array(0), "one": np.array(1), "two": np.array(2), "axis": i(0), "minus": i(-1),
        "m": np.array(-1), "cls": f(1, 1, 1),
    }  # fmt: skip
    x = f(2, 5, 3, 4)
    model = model_of(SHAPE_ARITHMETIC, {"x": x}, constants, ("z",), dims={"x": ("n", "c", "h", "w")})
    made = pipeline_of(model, tmp_path)
    assert made.source.lengths == {"x": (None, None, None, None)}
    for shape in ((2, 5, 3, 4), (3, 7, 2, 2), (1, 1, 1, 1)):
        numbers = f(*shape)
        expected = onnx.reference.ReferenceEvaluator(model).run(None, {"x": numbers})
        np.testing.assert_array_equal(made.run(numbers)[0], expected[0])


def test_heads_and_images_in_one_axis(tmp_path: Path) -> None:
    nodes = [
        node("Shape", "x", "s"), node("Slice", "s a b", "n", ), node("Mul", "n heads", "nh"), node("Slice", "s b c", "t"),
        node("Concat", "nh t size", "to", axis=0), node("Concat", "n four t size", "back", axis=0),
        node("Transpose", "x", "p", perm=[0, 2, 1, 3]), node("Reshape", "p to", "q"), node("Softmax", "q", "r"),
        node("Reshape", "r back", "u"), node("Transpose", "u", "y", perm=[0, 2, 1, 3]),
    ]  # fmt: skip
    constants = {"a": i(0), "b": i(1), "c": i(2), "heads": i(4), "four": i(4), "size": i(16)}
    x = f(2, 7, 4, 16)
    model = model_of(nodes, {"x": x}, constants, dims={"x": ("n", "t", 4, 16)})
    made = pipeline_of(model, tmp_path)
    for shape in ((2, 7, 4, 16), (3, 5, 4, 16), (1, 1, 4, 16)):
        numbers = f(*shape)
        (expected,) = onnx.reference.ReferenceEvaluator(model).run(None, {"x": numbers})
        np.testing.assert_allclose(made.run(numbers)[0], expected, atol=1e-6)


def test_shapes_that_have_to_be_given(tmp_path: Path) -> None:
    nodes = [node("Shape", "x", "s"), node("Gather", "s one", "t"), node("Range", "zero t one", "r"),
             node("Cast", "r", "h", to=1), node("Add", "x h", "y")]  # fmt: skip
    constants = {"zero": np.array(0), "one": np.array(1)}
    model = model_of(nodes, {"x": f(3, 6)}, constants, dims={"x": ("n", "t")})
    with pytest.raises(ArgumentError, match=r"node 'the Cast' \(Cast\).*depends on length 't'.*input 'x'"):
        pipeline_of(model, tmp_path)
    made = compare(model, {"x": f(3, 6)}, tmp_path, shapes={"x": (3, 6)})
    assert made.source.lengths == {"x": (None, 6)}
    assert made.run(f(5, 6))[0].shape == (5, 6)
    with pytest.raises(ArgumentError, match=r"takes 'x' of shape \[any, 6\], not \[3, 7\]"):
        made.run(f(3, 7))


@pytest.mark.parametrize("name", ["value_float", "value_floats", "value_int", "value_ints"])
def test_constants_of_numbers(tmp_path: Path, name: str) -> None:
    value = {"value_float": 1.5, "value_floats": [0.5, 2.0, -1.0], "value_int": 3, "value_ints": [3, -1, 2]}[name]
    nodes = [
        helper.make_node("Constant", [], ["c"], **{name: value}),
        node("Cast", "c", "k", to=1),
        node("Mul", "x k", "y"),
    ]
    compare(model_of(nodes, {"x": f(2, 3)}, {}), {"x": f(2, 3)}, tmp_path)


def test_files_beside_the_model(tmp_path: Path) -> None:
    x = f(2, 96)
    model = model_of([node("MatMul", "x w", "y")], {"x": x}, {"w": f(96, 80)})
    expected = pipeline_of(model, tmp_path).run(x)[0]
    onnx.save(model, tmp_path / "e.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    import tersely.onnx

    np.testing.assert_array_equal(tersely.onnx.pipeline(tmp_path / "e.onnx").run(x)[0], expected)
