"""Convolutions by the weights that are not zero, against torch in float64, on every instruction set."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.convolution_cases import ConvolutionCase

from tersely.backends.cpu import isa, native
from tersely.graph.graph import Graph, Node
from tersely.graph.lowering import sparse
from tersely.graph.pipeline import Pipeline
from tersely.planner import choose
from tersely.tensors.tensor import Tensor

torch = pytest.importorskip("torch")

ISAS = [name for name in ("scalar", "avx2", "avx512") if native.available() and name in isa.available()]
pytestmark = [pytest.mark.kernels, pytest.mark.skipif(not ISAS, reason="there is no native module")]

ACTIVATIONS = {
    None: lambda y: y,
    "relu": torch.relu,
    "relu6": torch.nn.functional.relu6,
    "silu": torch.nn.functional.silu,
}


@dataclass(frozen=True)
class Case(ConvolutionCase):
    channels: int = 32
    outputs: int = 48
    density: float = 0.1
    positions: str = "gaps"
    values: str = "dense"
    n_of_m: tuple[int, int] = (0, 0)
    empty: bool = False
    """Every third channel and every fifth output have no weight."""
    negative: bool = False
    """Half of the zeros are -0.0, as masks leave them."""
    behind: int = -1
    """A dense convolution of so much padding reads the result, too; -1 for none."""


def weight_of(case: Case, rng: np.random.Generator) -> tuple[np.ndarray, Tensor]:
    weight = rng.normal(size=(case.groups * case.outputs, case.channels, *case.taps)).astype(np.float32)
    if case.values == "palette":
        weight = np.round(weight * 3 + 0.25) + np.float32(0.125)
    if case.positions == "n_of_m":
        n, m = case.n_of_m
        kept = np.arange(case.channels)[:, None, None] % m < n  # of every m columns, whatever their order
        weight[:, ~np.broadcast_to(kept, weight.shape[1:])] = 0
    else:
        weight[rng.random(weight.shape) >= case.density] = 0
    if case.empty:
        weight[:, ::3] = weight[::5] = 0
    parameters: dict[str, Any] = {"positions": case.positions}
    if case.positions == "n_of_m":
        parameters |= {"n": case.n_of_m[0], "m": case.n_of_m[1]}
    if case.values != "dense":
        parameters["values"] = case.values
    form = "sparse"
    if case.negative:
        weight[(weight == 0) & (rng.random(weight.shape) < 0.5)] = -0.0
        form = "signed_zeros"
    return weight, Tensor(choose.encode(weight, formulation=form, **parameters))


def network(case: Case, x: np.ndarray | None = None) -> tuple[Pipeline, list[np.ndarray], Any, Any]:
    """A pipeline of one convolution, its inputs, what torch makes of them in float64 and how far off a sum may be."""
    rng = np.random.default_rng(7)
    weight, coded = weight_of(case, rng)
    if x is None:
        x = rng.normal(size=(case.images, case.groups * case.channels, case.height, case.width)).astype(np.float32)
    bias = rng.normal(size=len(weight)).astype(np.float32)
    attributes = {"stride": list(case.stride), "padding": list(case.padding),
                  "dilation": list(case.dilation), "groups": case.groups}  # fmt: skip

    def reference(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> Any:
        tensors = [torch.from_numpy(one).double() for one in (x, weight, bias)]
        return torch.nn.functional.conv2d(*tensors, case.stride, case.padding, case.dilation, case.groups)

    y, bound = reference(x, weight, bias), reference(abs(x), abs(weight), abs(bias)) + 1
    constants: dict[str, Any] = {"weight": coded, "bias": bias}
    nodes = [Node("convolution", {"x": "x", "weight": "weight", "bias": "bias"}, "y", attributes)]
    names, arrays, result = ["x"], [x], "y"
    if case.residual:
        z = rng.normal(size=y.shape).astype(np.float32)
        names.append("z")
        arrays.append(z)
        y, bound = y + torch.from_numpy(z), bound + abs(torch.from_numpy(z))
        nodes.append(Node("add", {"x": "y", "z": "z"}, "sum", {}))
        result = "sum"
    if case.activation is not None:
        nodes.append(Node(case.activation, {"x": result}, "activated", {}))
        y, result = ACTIVATIONS[case.activation](y), "activated"
    results = [result]
    if case.behind >= 0:
        constants["other"] = rng.normal(size=(16, len(weight), 1, 1)).astype(np.float32)
        more = {"stride": [1, 1], "padding": [case.behind] * 2, "dilation": [1, 1], "groups": 1}
        nodes.append(Node("convolution", {"x": result, "weight": "other"}, "behind", more))
        results.append("behind")
    graph = Graph(tuple(names), tuple(results), tuple(nodes), frozenset(constants))
    return Pipeline(graph, constants), arrays, y, bound


def check(case: Case, instruction_set: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse, "pays", lambda *_: True)
        pipeline, arrays, y, bound = network(case)
        steps = pipeline.program(*(one.shape for one in arrays)).steps
    listed = pipeline.constants["weight"].geometry.view == "matrix" or any(s.get("method") == "sparse" for s in steps)
    assert listed == any(step.get("method") == "sparse" for step in steps)
    with isa.using(instruction_set):
        found = pipeline.run(*arrays, threads=1)[0]
        for threads in (2, 3):
            assert np.array_equal(found, pipeline.run(*arrays, threads=threads)[0]), "threads change nothing"
    share = (case.channels * case.taps[0] * case.taps[1] + 8) * 2.0**-24 * 1.2
    wrong = ~(abs(torch.from_numpy(found).double() - y) <= share * bound)  # NaN is wrong too
    assert not wrong.any(), f"{case}: {int(wrong.sum())} of {wrong.numel()} sums are off"


pairs = st.integers(1, 3)
CASES = st.builds(
    Case,
    images=st.integers(1, 2),
    groups=st.sampled_from([1, 1, 1, 2, 3]),
    channels=st.one_of(st.integers(2, 40), st.sampled_from([16, 32])),
    outputs=st.sampled_from([16, 32, 46, 64]),
    height=st.integers(1, 19),
    width=st.integers(1, 40),
    taps=st.tuples(st.sampled_from([1, 2, 3, 5]), st.sampled_from([1, 2, 3, 5])),
    stride=st.one_of(st.just((1, 1)), st.tuples(pairs, pairs)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    density=st.sampled_from([0.0, 0.01, 0.1, 0.3, 1.0]),
    positions=st.sampled_from(["gaps", "bitmap", "elias_fano"]),
    values=st.sampled_from(["dense", "split"]),
    negative=st.booleans(),
    activation=st.sampled_from(list(ACTIVATIONS)),
    empty=st.booleans(),
    residual=st.booleans(),
    behind=st.integers(-1, 2),
).filter(lambda case: case.fits and (case.values == "dense" or case.density >= 0.1))


@pytest.mark.parametrize("instruction_set", ISAS)
@given(case=CASES)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_sparse_convolution(instruction_set: str, case: Case) -> None:
    check(case, instruction_set)


@pytest.mark.parametrize("instruction_set", ISAS)
@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("values", ["dense", "split", "palette"])
@pytest.mark.parametrize("positions", ["gaps", "bitmap", "elias_fano", "1:4", "2:4", "4:8"])
def test_positions_and_values(instruction_set: str, positions: str, values: str, negative: bool) -> None:
    n, _, m = positions.partition(":")
    pattern = {"positions": "n_of_m", "n_of_m": (int(n), int(m))} if m else {"positions": positions}
    check(Case(**pattern, values=values, negative=negative, activation="relu"), instruction_set)


@pytest.mark.parametrize("instruction_set", ISAS)
@pytest.mark.parametrize(
    "case",
    [
        Case(channels=64, outputs=64, height=28, width=28, residual=True, activation="relu"),
        Case(channels=256, outputs=64, height=56, width=56, taps=(1, 1), padding=(0, 0), density=0.05),
        Case(channels=64, outputs=128, height=28, width=28, stride=(2, 2)),
        Case(channels=512, outputs=48, height=7, width=7, values="split"),
        Case(channels=512, outputs=48, height=7, width=7, positions="bitmap", values="split"),
        Case(channels=700, outputs=300, height=4, width=3, taps=(1, 1), padding=(0, 0), density=0.02),
        Case(channels=16, outputs=32, height=56, width=56, residual=True, activation="silu", behind=1),
        Case(channels=128, outputs=32, height=14, width=14, images=2, empty=True, positions="bitmap"),
        Case(channels=16, outputs=32, height=15, width=15, taps=(5, 3), padding=(2, 1)),
        Case(channels=16, outputs=32, height=30, width=28, taps=(3, 2), padding=(2, 2), dilation=(2, 2), groups=2),
        Case(channels=16, outputs=16, height=40, width=8, taps=(7, 1), padding=(0, 0)),
        Case(channels=16, outputs=16, height=210, width=40, taps=(200, 1), padding=(0, 0), density=0.05),
        Case(channels=48, outputs=32, height=9, width=120, taps=(3, 3), density=0.02),
        Case(channels=64, outputs=48, height=27, width=29, stride=(1, 2)),
        Case(channels=2, outputs=32, height=1, width=301, taps=(1, 5), padding=(0, 2), density=0.5),
    ],
    ids=str,
)
def test_shapes_of_networks(instruction_set: str, case: Case) -> None:
    check(case, instruction_set)


@pytest.mark.parametrize("instruction_set", ISAS)
@pytest.mark.parametrize("positions", ["gaps", "bitmap"])
def test_numbers_that_no_weight_reads_do_not_matter_and_others_do(
    monkeypatch: pytest.MonkeyPatch, instruction_set: str, positions: str
) -> None:
    monkeypatch.setattr(sparse, "pays", lambda *_: True)
    x = np.ones((1, 32, 24, 24), np.float32)
    rng = np.random.default_rng(3)
    weight = rng.normal(size=(32, 32, 1, 1)).astype(np.float32)
    weight[:, 5] = weight[3] = 0
    weight[rng.random(weight.shape) < 0.8] = 0
    weight[0, 0] = 1
    x[0, 5] = np.inf
    x[0, 0, 2, 3] = np.nan
    node = Node("convolution", {"x": "x", "weight": "w"}, "y",
                {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1})  # fmt: skip
    coded = Tensor(choose.encode(weight, formulation="sparse", positions=positions))
    pipeline = Pipeline(Graph(("x",), ("y",), (node,), frozenset({"w"})), {"w": coded})
    with isa.using(instruction_set):
        y = pipeline.run(x)[0]
    assert any(step.get("method") == "sparse" for step in pipeline.program(x.shape).steps)
    assert np.isnan(y[0, 0, 2, 3])
    assert np.isfinite(y[0, :, 0]).all()
    assert not y[0, 3].any()


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("max_pool", {"kernel": [3, 2], "stride": [2, 2], "padding": [1, 0]}),
        ("max_pool", {"kernel": [3, 3], "stride": [2, 2], "padding": [1, 1]}),
        ("average_pool", {"kernel": [2, 2], "stride": [2, 2], "padding": [0, 0]}),
        ("max_pool", {"kernel": [2, 2], "stride": [1, 2], "padding": [0, 0], "dilation": [2, 3]}),
        ("average_pool", {"kernel": [3, 3], "stride": [2, 1], "padding": [1, 1], "count_padding": True}),
        ("average_pool", {"kernel": [3, 3], "stride": [2, 1], "padding": [1, 1], "count_padding": False}),
        ("mean", {"axes": [2, 3], "keep": True}),
        ("mean", {"axes": [2, 3], "keep": False}),
    ],
)
def test_pools_of_planes_are_those_of_blocks(kind: str, attributes: dict[str, Any]) -> None:
    rng = np.random.default_rng(5)
    weight = rng.normal(size=(48, 32, 1, 1)).astype(np.float32)
    weight[rng.random(weight.shape) < 0.9] = 0
    nodes = (Node("convolution", {"x": "x", "weight": "w"}, "y",
                  {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}),
             Node(kind, {"x": "y"}, "z", attributes))  # fmt: skip
    x = rng.normal(size=(2, 32, 9, 11)).astype(np.float32)
    x[1, :, 2, 3] = np.nan
    found = []
    for constant in (weight, Tensor(choose.encode(weight, formulation="sparse", positions="gaps"))):
        pipeline = Pipeline(Graph(("x",), ("z",), nodes, frozenset({"w"})), {"w": constant})
        found.append(pipeline.run(x, threads=2)[0])
    assert [step["operator"] for step in pipeline.program(x.shape).steps].count("move") <= 3
    assert np.isnan(found[0]).any()
    assert np.allclose(*found, rtol=1e-5, atol=1e-5, equal_nan=True)


def opened(step: dict[str, Any], blocked: bool = False, halo: int = 1, dense: bool = False) -> Any:
    weight = np.zeros((32, 32, 3, 3), np.float32)
    weight[:, ::5] = 1
    coded = Tensor(choose.encode(weight, formulation="sparse", positions="gaps"))
    layouts = [(32, 6, halo), (32, 6, 0), (16, 6, 0)]
    values, at = [], 0
    for channels, side, border in layouts:
        values.append({"at": at, "images": 1, "channels": channels, "height": side, "width": side, "halo": border,
                       "blocked": blocked})  # fmt: skip
        at += -(-channels // 16 * (side + 2 * border) ** 2) * 16
    text = {"version": 1, "arena": at, "values": values, "steps": [step]}
    constants = {"w": weight.reshape(-1) if dense else native.open_matrix(coded.encoded), "s": np.zeros(32, np.float32)}
    return native.module.open_program(json.dumps(text), constants)


STEP = {"operator": "convolution", "method": "sparse", "x": 0, "y": 1, "weight": "w", "height": 3, "width": 3,
        "stride_y": 1, "stride_x": 1, "pad_y": 1, "pad_x": 1}  # fmt: skip


def test_this_step_is_sound() -> None:
    assert opened(STEP).steps == 1


@pytest.mark.parametrize(
    ("step", "how", "said"),
    [
        (STEP, {"dense": True}, "coded weight"),
        (STEP, {"blocked": True}, "planes of channels"),
        (STEP, {"halo": 0}, "halo"),
        ({**STEP, "pad_x": 2}, {}, "halo"),
        ({**STEP, "groups": 32}, {}, "depthwise"),
        ({**STEP, "groups": 2}, {}, "listed"),
        ({**STEP, "y": 2}, {}, "listed"),
        ({**STEP, "x": 2, "y": 1}, {"halo": 1}, "listed"),
        ({**STEP, "height": 2**20, "width": 2**20}, {}, "listed|overflow|large"),
        ({**STEP, "stride_y": 2**20}, {}, "larger than its input"),
        ({**STEP, "residual": 2}, {}, "another shape"),
        ({**STEP, "activation": "swoosh"}, {}, "swoosh"),
        ({**STEP, "method": "sparser"}, {}, "method|matrix of words"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(step: dict[str, Any], how: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        opened(step, **how)
