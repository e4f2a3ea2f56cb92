"""What is not run is refused by the node's name, with what helps; what is damaged, by file and byte."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from support.onnx_models import model_of, node, pipeline_of

import tersely
import tersely.onnx
from tersely.core.errors import ArgumentError, CorruptError, TerselyError, UnsupportedError

X = np.zeros((2, 8, 5, 5), np.float32)
W = np.ones((8, 8, 3, 3), np.float32)


def i(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


REFUSED: list[tuple[str, list[onnx.NodeProto], dict[str, np.ndarray], str]] = [
    ("unknown", [node("Det", "x", "y")], {}, r"node 'the Det' \(Det\).*no such operator"),
    ("domain", [node("FusedMatMul", "x x", "y", domain="com.microsoft")], {}, r"com.microsoft.FusedMatMul.*com.microsoft"),
    ("quantised", [node("DequantizeLinear", "x s", "y")], {"s": np.float32(1)}, "'the DequantizeLinear'.*quantised"),
    ("training", [node("BatchNormalization", "x a a a a", "y", training_mode=1)], {"a": np.ones(8, np.float32)}, "eval"),
    ("dropout", [node("Dropout", "x - t", "y")], {"t": np.array(True)}, "eval"),
    ("mask", [node("Dropout", "x", "y m")], {}, "mask"),
    ("indices", [node("MaxPool", "x", "y z", kernel_shape=[2, 2])], {}, "second output"),
    ("window", [node("MaxPool", "x", "y", kernel_shape=[9, 9])], {}, "'the MaxPool'.*window"),
    ("pad", [node("Pad", "x p", "y", mode="reflect")], {"p": i(0, 0, 1, 1, 0, 0, 1, 1)}, "'reflect'"),
    ("step", [node("Slice", "x b e a s", "y")], {"b": i(4), "e": i(0), "a": i(2), "s": i(-1)}, "step -1"),
    ("nothing", [node("Slice", "x b e", "y")], {"b": i(2), "e": i(2)}, "takes nothing"),
    ("reshape", [node("Reshape", "x s", "y")], {"s": i(7, -1)}, r"the Reshape.*not reshaped"),
    ("two open", [node("Reshape", "x s", "y")], {"s": i(-1, -1)}, "left open"),
    ("channels", [node("Conv", "x w", "y")], {"w": np.ones((4, 3, 3, 3), np.float32)}, "the Conv.*does not fit 8 channels"),
    ("groups", [node("Conv", "x w", "y", group=0)], {"w": W}, "group is 0"),
    ("strides", [node("Conv", "x w", "y", strides=[0, 1])], {"w": W}, "strides"),
    ("negative", [node("Conv", "x w", "y", pads=[-1, 0, 0, 0])], {"w": W}, "pads"),
    ("cubic", [node("Resize", "x - s", "y", mode="cubic")], {"s": np.array([1, 1, 2, 2], np.float32)}, "cubic"),
    ("double", [node("Cast", "x", "h", to=11), node("Cast", "h", "y", to=1)], {}, "float64"),
    ("double weight", [node("Cast", "w", "k", to=11), node("Add", "x k", "y")], {"w": W}, "float32 and float64"),
    ("axis", [node("Softmax", "x", "y", axis=7)], {}, "no axis 7"),
    ("broadcast", [node("Add", "x w", "y")], {"w": np.ones(7, np.float32)}, "the Add.*do not go together"),
    ("missing", [node("Add", "x q", "y")], {}, "'q' is not computed before it"),
    ("cycle", [node("Add", "x z", "y"), node("Relu", "y", "z")], {}, "'z' is not computed before it"),
    ("twice", [node("Relu", "x", "y"), node("Relu", "x", "y")], {}, "'y' is computed twice"),
    ("data", [node("Cast", "x", "s", to=7), node("Reshape", "x s", "y")], {}, "float32 to int64|depend on data"),
    ("shape", [node("Expand", "x s", "y")], {"s": i(0)}, "without elements|not repeated"),
    ("giant", [node("ConstantOfShape", "s", "k"), node("Add", "x k", "y")], {"s": i(2**40, 2**20)}, "constant of shape"),
    ("input", [node("Identity", "x", "y")], {}, "'y' is a constant or an input"),
    ("truths", [node("And", "x x", "y")], {}, "And of float32"),
]  # fmt: skip


@pytest.mark.parametrize(("nodes", "constants", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refusals_name_the_node(
    tmp_path: Path, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], said: str
) -> None:
    with pytest.raises((UnsupportedError, ArgumentError), match=said):
        pipeline_of(model_of(nodes, {"x": X}, constants), tmp_path)


def test_control_flow(tmp_path: Path) -> None:
    branch = helper.make_graph([node("Relu", "x", "b")], "b", [], [helper.make_tensor_value_info("b", 1, None)])
    nodes = [helper.make_node("If", ["c"], ["y"], "branches", then_branch=branch, else_branch=branch)]
    with pytest.raises(UnsupportedError, match=r"node 'branches' \(If\): control flow"):
        pipeline_of(model_of(nodes, {"x": X}, {"c": np.array(True)}), tmp_path)


@pytest.mark.parametrize("opset", [9, 10, 24])
def test_opsets(tmp_path: Path, opset: int) -> None:
    with pytest.raises(UnsupportedError, match=rf"opset {opset}: 11 to 23"):
        pipeline_of(model_of([node("Relu", "x", "y")], {"x": X}, {}, opset=opset), tmp_path)


@pytest.mark.parametrize("kind", [TensorProto.DOUBLE, TensorProto.STRING, TensorProto.COMPLEX64])
def test_inputs_of_other_types(tmp_path: Path, kind: int) -> None:
    model = model_of([node("Relu", "x", "y")], {"x": X}, {})
    model.graph.input[0].type.tensor_type.elem_type = kind
    with pytest.raises(UnsupportedError, match="input 'x' is of"):
        pipeline_of(model, tmp_path)


def without_shape(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.ClearField("shape")


def of_nothing(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 0


def negative(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -3


def a_sequence(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type = 1


def same_weights(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def sparse_weight(model: onnx.ModelProto) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "s")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, numpy_helper.from_array(i(0)), [4]))


def without_outputs(model: onnx.ModelProto) -> None:
    model.graph.ClearField("output")


def negative_dims(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = -8


def short_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]


def outside(model: onnx.ModelProto) -> None:
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../secret")


ODD: list[tuple[Callable[[onnx.ModelProto], None], str]] = [
    (without_shape, "has no shape"), (of_nothing, "length of 0"), (negative, "length of -3"), (a_sequence, "no tensor"),
    (same_weights, "two initialisers"), (sparse_weight, "sparse"), (without_outputs, "no outputs"),
    (negative_dims, "a dimension of -8"), (short_weight, "bytes of elements"), (outside, "leaves the folder"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), ODD, ids=[change.__name__ for change, _ in ODD])
def test_models_that_make_no_sense(tmp_path: Path, change: Callable[[onnx.ModelProto], None], said: str) -> None:
    model = model_of([node("Conv", "x w", "y")], {"x": X}, {"w": W})
    change(model)
    with pytest.raises(TerselyError, match=said):
        pipeline_of(model, tmp_path)


def test_shapes_that_do_not_fit_the_model(tmp_path: Path) -> None:
    model = model_of([node("Relu", "x", "y")], {"x": X}, {}, dims={"x": ("n", 8, "h", "h")})
    for shapes, said in (
        ({"z": (1,)}, "no input 'z'"),
        ({"x": (1, 8)}, "'x' is of shape"),
        ({"x": (1, 8, 2, 3)}, "'x' is"),
    ):
        with pytest.raises(ArgumentError, match=said):
            pipeline_of(model, tmp_path, shapes=shapes)


def test_load_pipeline_says_what_opens_models(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"tersely\.onnx\.pipeline"):
        tersely.load_pipeline(tmp_path / "m.onnx")


def small() -> bytes:
    nodes = [
        node("Conv", "x w b", "h", pads=[1, 1, 1, 1]), node("Relu", "h", "k"), node("Shape", "k", "s"),
        node("Slice", "s zero one", "n"), node("Concat", "n open", "to", axis=0), node("Reshape", "k to", "r"),
        node("MatMul", "r v", "y"),
    ]  # fmt: skip
    constants = {
        "w": np.ones((4, 2, 3, 3), np.float32), "b": np.ones(4, np.float32), "zero": i(0), "one": i(1),
        "open": i(-1), "v": np.ones((36, 3), np.float32),
    }  # fmt: skip
    return model_of(
        nodes, {"x": np.zeros((1, 2, 3, 3), np.float32)}, constants, dims={"x": ("n", 2, 3, 3)}
    ).SerializeToString()


SMALL = small()


def tried(data: bytes, folder: Path) -> None:
    """Imported and run, or refused with an error of ours."""
    path = folder / "m.onnx"
    path.write_bytes(data)
    try:
        made = tersely.onnx.pipeline(path, shapes=None)
        if max(math.prod(shape) for shape in made.source.examples.values()) < 1 << 16:
            made.run(*(np.zeros(made.source.examples[name], np.float32) for name in made.source.inputs))
    except TerselyError:
        pass


@given(st.data())
@pytest.mark.kernels
def test_bytes_that_change(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    damaged = bytearray(SMALL)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(SMALL) - 1))] = data.draw(st.integers(0, 255))
    tried(bytes(damaged), tmp_path_factory.mktemp("m"))


@pytest.mark.exhaustive
@pytest.mark.kernels
@pytest.mark.parametrize("part", range(16))
def test_every_byte_that_changes(tmp_path: Path, part: int) -> None:
    header = len(SMALL) - 1
    for at in range(part, header, 16):
        for value in (0, 0x7F, 0xFF, SMALL[at] ^ 1, SMALL[at] ^ 8):
            tried(SMALL[:at] + bytes([value]) + SMALL[at + 1 :], tmp_path)


@pytest.mark.parametrize("step", [7])
def test_models_that_are_cut_short(tmp_path: Path, step: int) -> None:
    for end in range(0, len(SMALL), step):
        path = tmp_path / "m.onnx"
        path.write_bytes(SMALL[:end])
        with pytest.raises(TerselyError):
            tersely.onnx.pipeline(path)


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\x89PNG\r\n\x1a\n" * 10)
    with pytest.raises((CorruptError, TerselyError)):
        tersely.onnx.pipeline(tmp_path / "m.onnx")
    with pytest.raises(TerselyError, match="does not exist"):
        tersely.onnx.pipeline(tmp_path / "n.onnx")
