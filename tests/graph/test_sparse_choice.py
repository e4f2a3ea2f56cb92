"""Which convolutions are computed by lists of their weights, and how images lie between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.arrays import needs_native

from tersely.backends.cpu import isa
from tersely.graph.graph import Graph, Node
from tersely.graph.pipeline import Pipeline
from tersely.planner import choose
from tersely.tensors.tensor import Tensor

pytestmark = needs_native


def steps_of(weight: np.ndarray, groups: int = 1, **choice: Any) -> list[dict[str, Any]]:
    coded = Tensor(choose.encode(weight, profile="native", **choice))
    node = Node("convolution", {"x": "x", "weight": "w"}, "y",
                {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": groups})  # fmt: skip
    pipeline = Pipeline(Graph(("x",), ("y",), (node,), frozenset({"w"})), {"w": coded})
    return pipeline.program((1, weight.shape[1] * groups, 28, 28)).steps


@pytest.mark.parametrize("objective", ["size", "balanced", "speed"])
def test_pruned_weights_are_listed_and_others_are_not(objective: str) -> None:
    rng = np.random.default_rng(5)
    weight = rng.normal(size=(128, 128, 3, 3)).astype(np.float32)
    few = np.where(rng.random(weight.shape) < 0.1, weight, np.float32(0))
    half = np.where(rng.random(weight.shape) < 0.6, weight, np.float32(0))
    methods = [[step.get("method") for step in steps_of(one, pixels=784, objective=objective)]
               for one in (few, half, weight)]  # fmt: skip
    assert ["sparse" in found for found in methods] == [True, False, False]


@pytest.mark.parametrize("objective", ["balanced", "speed"])
@pytest.mark.parametrize("shape", [(256, 1024, 1, 1), (1024, 256, 1, 1), (512, 512, 3, 3)], ids=str)
@pytest.mark.parametrize(
    ("profile", "density", "lists"), [("avx512", 0.5, False), ("avx512", 0.1, True), ("avx2", 0.1, True)]
)
def test_half_of_the_weights_are_too_many_to_list(
    profile: str, density: float, lists: bool, shape: tuple[int, ...], objective: str
) -> None:
    """MEASURED (Zen 5): ResNet-50 with half of its weights took 1.4 times as long by lists as with dense weights."""
    rng = np.random.default_rng(5)
    weight = rng.normal(size=shape).astype(np.float32)
    pruned = np.where(rng.random(shape) < density, weight, np.float32(0))
    coded = Tensor(choose.encode(pruned, profile=profile, pixels=196, objective=objective))
    assert (coded.encoded.node.formulation == "sparse" and coded.parameters["positions"] == "gaps") == lists


def _chain(weights: dict[str, np.ndarray], width: int, coded: str, **choice: Any) -> Any:
    """The program of a 1 x 1 expansion, a depthwise convolution of 3 x 3 and a projection; `coded` of them are."""
    attributes: dict[str, Any] = {"stride": [1, 1], "dilation": [1, 1]}
    channels = len(weights["deep"])
    nodes = (
        Node("convolution", {"x": "x", "weight": "wide"}, "a", attributes | {"padding": [0, 0], "groups": 1}),
        Node("convolution", {"x": "a", "weight": "deep"}, "b", attributes | {"padding": [1, 1], "groups": channels}),
        Node("convolution", {"x": "b", "weight": "narrow"}, "c", attributes | {"padding": [0, 0], "groups": 1}),
    )
    constants: dict[str, Any] = dict(weights)
    for name in coded.split():
        constants[name] = Tensor(choose.encode(weights[name], **choice))
    pipeline = Pipeline(Graph(("x",), ("c",), nodes, frozenset(constants)), constants)
    return pipeline, pipeline.program((1, weights["wide"].shape[1], width, width))


def _chain_weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(6)
    shapes = {"wide": (192, 32, 1, 1), "deep": (192, 1, 3, 3), "narrow": (32, 192, 1, 1)}
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for name in ("wide", "narrow"):
        weights[name][rng.random(weights[name].shape) < 0.95] = 0
    return weights


def test_planes_have_zeros_around_them_only_for_lists() -> None:
    """What is moved to blocks for a depthwise convolution was cleared in planes, too, which took longer than its products."""
    weights = _chain_weights()
    pipeline, program = _chain(weights, 14, "wide narrow", formulation="sparse", positions="gaps")
    halos = {(layout.blocked, layout.halo) for layout in program.layouts if layout.height == 14}
    assert (True, 1) in halos
    assert (False, 1) not in halos
    cleared = [step["y"] for step in program.steps if step["operator"] == "clear"]
    assert all(program.layouts[y].blocked for y in cleared)
    x = np.random.default_rng(7).normal(size=(1, 32, 14, 14)).astype(np.float32)
    dense, _ = _chain(weights, 14, "")
    assert np.allclose(pipeline.run(x)[0], dense.run(x)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("objective", ["balanced", "speed"])
@pytest.mark.parametrize(
    ("shape", "pixels", "gaps"),
    [
        ((1024, 256, 1, 1), 3136, False),
        ((1024, 256, 1, 1), 196, True),  # few pixels are not worth joining
        ((256, 1024, 1, 1), 3136, True),  # what has fewer outputs than inputs expands nothing
    ],
)
def test_what_may_be_joined_is_coded_so_that_it_can_be(
    shape: tuple[int, ...], pixels: int, gaps: bool, objective: str
) -> None:
    rng = np.random.default_rng(5)
    weight = np.where(rng.random(shape) < 0.05, rng.normal(size=shape), 0).astype(np.float32)
    coded = Tensor(choose.encode(weight, profile="avx512", pixels=pixels, objective=objective))
    assert (coded.parameters["positions"] == "gaps") == gaps


@pytest.mark.parametrize(("width", "joined"), [(56, True), (14, False)])
def test_an_expansion_that_would_be_joined_is_not_listed(width: int, joined: bool) -> None:
    weights = _chain_weights()
    choice = {"profile": "avx512", "objective": "balanced", "pixels": width * width}
    pipeline, program = _chain(weights, width, "wide narrow", **choice)
    assert not joined or pipeline.constants["wide"].parameters["positions"] != "gaps"
    operators = [step["operator"] for step in program.steps]
    assert ("expanded_depthwise" in operators) == joined
    assert joined or any(step.get("method") == "sparse" for step in program.steps)


def test_masks_that_leave_negative_zeros_are_listed() -> None:
    rng = np.random.default_rng(5)
    weight = rng.normal(size=(128, 128, 3, 3)).astype(np.float32)
    weight *= rng.random(weight.shape) < 0.1
    assert any(step.get("method") == "sparse" for step in steps_of(weight, pixels=784))


def test_groups_that_share_panels_and_have_no_zeros_are_decoded() -> None:
    weight = np.random.default_rng(5).normal(size=(64, 8, 3, 3)).astype(np.float32)
    assert not any(step.get("method") for step in steps_of(weight, 8, pixels=784))


def test_a_depthwise_convolution_is_none() -> None:
    weight = np.zeros((64, 1, 3, 3), np.float32)
    weight[:, :, 1, 1] = 1
    assert not any(step.get("method") for step in steps_of(weight, 64, formulation="sparse", positions="bitmap"))


@pytest.mark.skipif("avx512" not in isa.available(), reason="the processor has no AVX-512")
def test_the_machine_that_runs_a_network_decides() -> None:
    """Dense products gain more by AVX-512 than those of lists: a network that was planned elsewhere is lowered anew."""
    rng = np.random.default_rng(5)
    weight = rng.normal(size=(256, 1024, 1, 1)).astype(np.float32)
    weight[rng.random(weight.shape) < 0.6] = 0
    coded = Tensor(choose.encode(weight, formulation="sparse", positions="bitmap"))
    node = Node("convolution", {"x": "x", "weight": "w"}, "y",
                {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1})  # fmt: skip
    pipeline = Pipeline(Graph(("x",), ("y",), (node,), frozenset({"w"})), {"w": coded})
    x = rng.normal(size=(1, 1024, 28, 28)).astype(np.float32)
    listed, answers = [], []
    for name in ("avx2", "avx512", "avx2"):
        with isa.using(name):  # type: ignore[arg-type]
            listed.append(any(step.get("method") == "sparse" for step in pipeline.program(x.shape).steps))
            answers.append(pipeline.run(x)[0])
    assert listed == [True, False, True]
    assert np.allclose(answers[0], answers[1], rtol=1e-4, atol=1e-3)
    assert np.array_equal(answers[0], answers[2])
