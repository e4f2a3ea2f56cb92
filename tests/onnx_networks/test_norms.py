"""Norms of groups and instances, cumulative sums, blocks of pixels, against onnx's reference evaluator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.onnx_models import compare, model_of, node, pipeline_of

from tersely.core.errors import TerselyError, UnsupportedError

pytestmark = pytest.mark.kernels


def f(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(np.float32)


def i(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@pytest.mark.parametrize("shape", [(2, 20, 9, 11), (3, 16, 7), (1, 1, 5, 4)], ids=str)
def test_norms_of_instances(tmp_path: Path, shape: tuple[int, ...]) -> None:
    weights = {"s": f(shape[1]), "b": f(shape[1], seed=1)}
    nodes = [node("InstanceNormalization", "x s b", "y", epsilon=1e-4)]
    compare(model_of(nodes, {"x": f(*shape)}, weights), {"x": f(*shape)}, tmp_path)


@pytest.mark.parametrize(("opset", "count"), [(18, 5), (21, 20), (23, 20)])
def test_norms_of_groups(tmp_path: Path, opset: int, count: int) -> None:
    """Before opset 21 there is a scale for each group."""
    x, scale, bias = f(2, 20, 9, 11), f(count), f(count, seed=1)
    groups = x.astype(np.float64).reshape(2, 5, -1)
    inside = groups - groups.mean(-1, keepdims=True)
    norm = (inside / np.sqrt((inside**2).mean(-1, keepdims=True) + 1e-5)).reshape(x.shape)
    scale_, bias_ = (np.repeat(one, 20 // count).reshape(20, 1, 1) for one in (scale, bias))
    nodes = [node("GroupNormalization", "x s b", "y", num_groups=5)]
    made = pipeline_of(model_of(nodes, {"x": x}, {"s": scale, "b": bias}, opset=opset), tmp_path)
    np.testing.assert_allclose(made.run(x)[0], norm * scale_ + bias_, rtol=0, atol=5e-6)


@pytest.mark.parametrize("axis", [-1, 1])
def test_root_mean_squares(tmp_path: Path, axis: int) -> None:
    x = f(2, 7, 48)
    scale = f(*x.shape[axis:])
    mean = (x.astype(np.float64) ** 2).mean(tuple(range(axis % 3, 3)), keepdims=True)
    nodes = [node("RMSNormalization", "x s", "y", axis=axis, epsilon=1e-3)]
    made = pipeline_of(model_of(nodes, {"x": x}, {"s": scale}, opset=23), tmp_path)
    np.testing.assert_allclose(made.run(x)[0], x / np.sqrt(mean + 1e-3) * scale, rtol=0, atol=5e-6)


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_cumulative_sums(tmp_path: Path, axis: int) -> None:
    x = f(2, 7, 48)
    compare(model_of([node("CumSum", "x a", "y")], {"x": x}, {"a": np.array(axis, np.int64)}), {"x": x}, tmp_path)


def test_positions_counted_from_a_mask_of_any_length(tmp_path: Path) -> None:
    nodes = [
        node("Equal", "x one", "padded"), node("Not", "padded", "known"), node("Cast", "known", "counted", to=7),
        node("CumSum", "counted a", "sums"), node("Mul", "sums counted", "places"), node("Add", "places one", "y"),
    ]  # fmt: skip
    x = np.random.default_rng(0).integers(0, 3, (2, 300))
    model = model_of(nodes, {"x": x}, {"one": i(1), "a": np.array(1, np.int64)}, dims={"x": ["n", "t"]})
    made = pipeline_of(model, tmp_path)
    for length in (300, 1, 17):
        known = (x[:, :length] != 1).astype(np.int64)
        np.testing.assert_array_equal(made.run(x[:, :length])[0], np.cumsum(known, 1) * known + 1)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_pixels_of_channels(tmp_path: Path, mode: str) -> None:
    x = f(2, 36, 4, 5)
    compare(model_of([node("DepthToSpace", "x", "y", blocksize=3, mode=mode)], {"x": x}, {}), {"x": x}, tmp_path)


def test_channels_of_pixels(tmp_path: Path) -> None:
    x = f(2, 5, 6, 8)
    compare(model_of([node("SpaceToDepth", "x", "y", blocksize=2)], {"x": x}, {}), {"x": x}, tmp_path)


def test_angles_of_positions_are_computed_once(tmp_path: Path) -> None:
    """As exports have rotary embeddings: a column times a row of constants, its cosine."""
    nodes = [node("MatMul", "rates places", "angles"), node("Cos", "angles", "c"), node("Mul", "x c", "y")]
    x = f(2, 8, 9)
    weights = {"rates": f(1, 8, 1), "places": np.arange(9, dtype=np.float32).reshape(1, 1, 9)}
    compare(model_of(nodes, {"x": x}, weights), {"x": x}, tmp_path)
    made = pipeline_of(model_of(nodes, {"x": x}, weights), tmp_path)
    assert [one.operator for one in made.source.nodes] == ["multiply"]


REFUSED = {
    "sums from behind": ([node("CumSum", "x a", "y", reverse=1)], {"a": np.array(1, np.int64)}),
    "no axis": ([node("CumSum", "x a", "y")], {"a": np.array(7, np.int64)}),
    "weights": ([node("InstanceNormalization", "x s s", "y")], {"s": f(3)}),
    "groups": ([node("GroupNormalization", "x s s", "y", num_groups=3)], {"s": f(20)}),
    "blocks": ([node("DepthToSpace", "x", "y", blocksize=3)], {}),
    "cosines of data": ([node("Cos", "x", "y")], {}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_sense_is_refused(tmp_path: Path, what: str) -> None:
    nodes, weights = REFUSED[what]
    with pytest.raises((TerselyError, UnsupportedError), match="node "):
        pipeline_of(model_of(nodes, {"x": f(2, 20, 4, 5)}, weights, opset=21), tmp_path)
