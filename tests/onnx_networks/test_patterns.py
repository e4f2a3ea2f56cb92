"""What exporters take apart is put together again where it is the same, and left alone where it is only like it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from support.onnx_models import compare, model_of, node, pipeline_of

pytestmark = pytest.mark.kernels


def f(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(np.float32)


def n(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def operators(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], folder: Path, x: np.ndarray) -> list[str]:
    made = compare(model_of(nodes, {"x": x}, constants), {"x": x}, folder, 4e-6)
    return [one.operator for one in made.source.nodes]


X = f(2, 7, 48)
GELU = [node("Div", "x root", "a"), node("Erf", "a", "b"), node("Add", "b one", "c")]
TANH = [node("Pow", "x three", "a"), node("Mul", "a cubic", "b"), node("Add", "x b", "c"), node("Mul", "c scale", "d"),
        node("Tanh", "d", "e"), node("Add", "one e", "g")]  # fmt: skip
NUMBERS = {
    "root": n(np.sqrt(2)), "one": n(1), "half": n(0.5), "three": n(3), "six": n(6), "zero": n(0), "cubic": n(0.044715),
    "scale": n(np.sqrt(2 / np.pi)), "two": n(2), "sixth": n(1 / 6),
}  # fmt: skip
ACTIVATIONS: dict[str, tuple[list[onnx.NodeProto], list[str]]] = {
    "gelu": ([*GELU, node("Mul", "x c", "d"), node("Mul", "d half", "y")], ["gelu"]),
    "gelu, half first": ([*GELU, node("Mul", "x half", "d"), node("Mul", "d c", "y")], ["gelu"]),
    "gelu, tanh": ([*TANH, node("Mul", "x g", "h"), node("Mul", "half h", "y")], ["gelu_tanh"]),
    "silu": ([node("Sigmoid", "x", "a"), node("Mul", "a x", "y")], ["silu"]),
    "hard swish": ([node("Add", "x three", "a"), node("Clip", "a zero six", "b"), node("Mul", "x b", "c"),
                    node("Div", "c six", "y")], ["hard_swish"]),
    "hard sigmoid": ([node("Add", "x three", "a"), node("Clip", "a zero six", "b"), node("Mul", "b sixth", "y")],
                     ["hard_sigmoid"]),
    "not gelu: other factor": ([*GELU, node("Mul", "x c", "d"), node("Mul", "d two", "y")],
                               ["divide", "erf", "add", "multiply", "multiply"]),
    "not silu: other value": ([node("Relu", "x", "a"), node("Sigmoid", "x", "b"), node("Mul", "a b", "y")],
                              ["relu", "sigmoid", "multiply"]),
}  # fmt: skip


@pytest.mark.parametrize(("nodes", "expected"), ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_activations(tmp_path: Path, nodes: list[onnx.NodeProto], expected: list[str]) -> None:
    names = {name for one in nodes for name in one.input}
    constants = {name: value for name, value in NUMBERS.items() if name in names}
    assert operators(nodes, constants, tmp_path, X) == expected


def norm(axis: int = -1, power: str = "two") -> list[onnx.NodeProto]:
    return [
        node("ReduceMean", "x", "m", axes=[axis]), node("Sub", "x m", "d"), node("Pow", f"d {power}", "s"),
        node("ReduceMean", "s", "v", axes=[axis]), node("Add", "v eps", "e"), node("Sqrt", "e", "r"),
        node("Div", "d r", "k"), node("Mul", "k w", "l"), node("Add", "l b", "y"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("axis", "power", "fused"), [(-1, "two", True), (2, "two", True), (1, "two", False), (-1, "four", False)]
)
def test_layer_norm(tmp_path: Path, axis: int, power: str, fused: bool) -> None:
    constants = {"two": n(2), "four": n(4), "eps": n(1e-5), "w": f(48), "b": f(48, seed=3)}
    model = model_of(
        norm(axis, power),
        {"x": X},
        {key: one for key, one in constants.items() if key not in ("two", "four") or key == power},
        opset=17,
    )
    made = compare(model, {"x": X}, tmp_path, 4e-6)
    assert ([one.operator for one in made.source.nodes] == ["layer_norm"]) == fused


def attention(mask: bool, turned: bool = False, keys: str = "k") -> list[onnx.NodeProto]:
    """Heads of 16 channels; queries, keys and values are three products with x."""
    nodes = []
    for name in "qkv":
        order = [0, 2, 3, 1] if name == "k" and turned else [0, 2, 1, 3]
        nodes += [node("MatMul", f"x w{name}", f"{name}1"), node("Reshape", f"{name}1 heads", f"{name}2"),
                  node("Transpose", f"{name}2", name, perm=order)]  # fmt: skip
    if not turned:
        nodes.append(node("Transpose", "k", "t", perm=[0, 1, 3, 2]))
    nodes += [node("MatMul", f"q {'k' if turned else 't'}", "s1"), node("Div", "s1 scale", "s2")]
    if mask:
        nodes.append(node("Add", "s2 mask", "s3"))
    nodes += [node("Softmax", "s3" if mask else "s2", "p", axis=-1), node("MatMul", "p v", "o1"),
              node("Transpose", "o1", "o2", perm=[0, 2, 1, 3]), node("Reshape", "o2 joined", "y")]  # fmt: skip
    return nodes


@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("mask", [None, (7, 7), (2, 1, 1, 7), (2, 3, 7, 7)], ids=str)
def test_attention(tmp_path: Path, mask: tuple[int, ...] | None, turned: bool) -> None:
    constants = {f"w{name}": f(48, 48, seed=ord(name)) * np.float32(0.2) for name in "qkv"}
    constants |= {"heads": np.array([0, 0, 3, 16]), "joined": np.array([0, 0, 48]), "scale": n(4)}
    if mask is not None:
        constants["mask"] = np.where(f(*mask) > 1, np.float32(-3e38), np.float32(0))
    found = operators(attention(mask is not None, turned), constants, tmp_path, X)
    assert found.count("attention") == 1
    assert not {"softmax", "matrix_product", "divide"} & set(found)


def test_products_around_a_softmax_that_are_no_attention(tmp_path: Path) -> None:
    """Other heads: keys of one head, queries of three."""
    nodes = [node("MatMul", "x k", "s"), node("Softmax", "s", "p", axis=-1), node("MatMul", "p v", "y")]
    x = f(2, 3, 7, 16)
    found = operators(nodes, {"k": f(16, 9), "v": f(3, 9, 5)}, tmp_path, x)
    assert "attention" not in found


@pytest.mark.parametrize("same", [True, False])
def test_stacks_of_matrices_that_are_transposed(tmp_path: Path, same: bool) -> None:
    """As torch writes attention's keys; a stack of other matrices is not the same as those that it was made of."""
    stack, back = ([6, 7, 16], [2, 3, 16, 7]) if same else ([6, 16, 7], [2, 3, 7, 16])
    nodes = [node("Reshape", "x a", "h"), node("Transpose", "h", "t", perm=[0, 2, 1]), node("Reshape", "t b", "k"),
             node("Relu", "k", "y")]  # fmt: skip
    x = f(2, 3, 7, 16)
    made = compare(model_of(nodes, {"x": x}, {"a": np.array(stack), "b": np.array(back)}), {"x": x}, tmp_path)
    assert ("reshape" in [one.operator for one in made.source.nodes]) == (not same)


@pytest.mark.parametrize("operator", ["Gather", "GatherND"])
def test_masks_that_are_read_by_the_indices_of_all_elements(tmp_path: Path, operator: str) -> None:
    """As exporters of masks do, whatever batch and length."""
    nodes = [
        node("Shape", "x", "s"), node("Gather", "s zero", "n"), node("Gather", "s one", "t"),
        node("Range", "zero n one", "r"), node("Range", "zero t one", "c"), node("Unsqueeze", "r behind", "r1"),
        node("Unsqueeze", "c before", "c1"),
    ]  # fmt: skip
    if operator == "Gather":
        nodes += [node("Mul", "r1 t", "r2"), node("Add", "r2 c1", "i"), node("Flatten", "x", "h", axis=2),
                  node("Gather", "h i", "g"), node("Reshape", "g minus", "g1"), node("Shape", "i", "is"),
                  node("Reshape", "g1 is", "k")]  # fmt: skip
    else:
        nodes += [node("Max", "r1 c1", "m"), node("Shape", "m", "ms"), node("Expand", "r1 ms", "r2"),
                  node("Expand", "c1 ms", "c2"), node("Unsqueeze", "r2 minus", "r3"), node("Unsqueeze", "c2 minus", "c3"),
                  node("Concat", "r3 c3", "i", axis=-1), node("GatherND", "x i", "k")]  # fmt: skip
    nodes.append(node("Relu", "k", "y"))
    constants = {
        "zero": np.array(0), "one": np.array(1), "behind": np.array([1, 2, 3]), "before": np.array([0, 1, 2]),
        "minus": np.array([-1]),
    }  # fmt: skip
    used = {name for one in nodes for name in one.input}
    model = model_of(
        nodes, {"x": f(2, 5)}, {key: one for key, one in constants.items() if key in used}, dims={"x": ("n", "t")}
    )
    made = pipeline_of(model, tmp_path)
    for shape in ((2, 5), (1, 9), (4, 1)):
        x = f(*shape)
        np.testing.assert_array_equal(made.run(x)[0], np.maximum(x, 0)[:, None, None])
