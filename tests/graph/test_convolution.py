"""Convolutions of any shape, window, group and surrounding against torch in float64, on every instruction set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.convolution_cases import ConvolutionCase

from tersely.backends.cpu import isa, native
from tersely.graph.graph import Graph, Node
from tersely.graph.pipeline import Pipeline
from tersely.tensors.encode import encode

torch = pytest.importorskip("torch")

ISAS = [name for name in ("scalar", "avx2", "avx512") if native.available() and name in isa.available()]
pytestmark = [pytest.mark.kernels, pytest.mark.skipif(not ISAS, reason="there is no native module")]


@dataclass(frozen=True)
class Case(ConvolutionCase):
    coded: bool = True
    residual_halo: int = 0
    """The residual is read by another convolution of so much padding."""
    threads: int = 1


ACTIVATIONS = {
    None: lambda y: y,
    "relu": torch.relu,
    "relu6": torch.nn.functional.relu6,
    "hard_swish": torch.nn.functional.hardswish,
    "hard_sigmoid": torch.nn.functional.hardsigmoid,
    "sigmoid": torch.sigmoid,
    "silu": torch.nn.functional.silu,
}


def network(case: Case, rng: np.random.Generator) -> tuple[Pipeline, list[np.ndarray], Any, Any]:
    """A pipeline of one convolution, its inputs, what torch makes of them in float64 and how far off a sum may be."""
    inputs, outputs = case.groups * case.channels, case.groups * case.outputs
    x = rng.normal(size=(case.images, inputs, case.height, case.width)).astype(np.float32)
    weight = rng.normal(size=(outputs, case.channels, *case.taps)).astype(np.float32)
    bias = rng.normal(size=outputs).astype(np.float32)
    attributes = {
        "stride": list(case.stride), "padding": list(case.padding),
        "dilation": list(case.dilation), "groups": case.groups,
    }  # fmt: skip
    window = (case.stride, case.padding, case.dilation, case.groups)

    def reference(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> Any:
        tensors = [None if one is None else torch.from_numpy(one).double() for one in (x, weight, bias)]
        return torch.nn.functional.conv2d(*tensors, *window)

    y = reference(x, weight, bias)
    bound = reference(abs(x), abs(weight), abs(bias)) + 1
    constants: dict[str, Any] = {"weight": encode(weight) if case.coded else weight, "bias": bias}
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
    if case.residual and case.residual_halo:
        constants["other"] = encode(np.ones((16, outputs, 1, 1), np.float32))
        halo = {"stride": [1, 1], "padding": [case.residual_halo] * 2, "dilation": [1, 1], "groups": 1}
        nodes.append(Node("convolution", {"x": "z", "weight": "other"}, "beside", halo))
        results.append("beside")
    graph = Graph(tuple(names), tuple(results), tuple(nodes), frozenset(constants))
    return Pipeline(graph, constants), arrays, y, bound


def check(case: Case, instruction_set: str) -> None:
    pipeline, arrays, y, bound = network(case, np.random.default_rng(7))
    steps = pipeline.program(*(one.shape for one in arrays)).steps
    assert sum(step["operator"] in ("combine", "activate", "pointwise") for step in steps) == 0, "all is one step"
    winograd = any(step.get("method") == "winograd" for step in steps)
    with isa.using(instruction_set):
        found = pipeline.run(*arrays, threads=case.threads)[0]
        assert np.array_equal(found, pipeline.run(*arrays, threads=1)[0]), "threads change nothing"
    terms = case.channels * case.taps[0] * case.taps[1]
    # Sums of so many terms, one after another; activations have slopes of at most 1.1. Winograd's transforms add
    # and subtract up to sixteen numbers first.
    share = (terms + 8) * 2.0**-24 * 1.2 * (16 if winograd else 1)
    wrong = ~(abs(torch.from_numpy(found).double() - y) <= share * bound)  # NaN is wrong too
    assert found.shape == tuple(y.shape)
    assert not wrong.any(), (
        f"{case}: {int(wrong.sum())} of {wrong.numel()} sums are off, at {wrong.nonzero()[:3].tolist()}"
    )


pairs = st.integers(1, 3)
CASES = st.builds(
    Case,
    images=st.integers(1, 3),
    groups=st.sampled_from([1, 1, 1, 2, 3, 5]),
    channels=st.integers(1, 70),
    outputs=st.integers(1, 70),
    height=st.integers(1, 19),
    width=st.integers(1, 19),
    taps=st.tuples(st.sampled_from([1, 2, 3, 5, 7]), st.sampled_from([1, 2, 3, 5, 7])),
    stride=st.tuples(pairs, pairs),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    coded=st.booleans(),
    activation=st.sampled_from(list(ACTIVATIONS)),
    residual=st.booleans(),
    residual_halo=st.integers(0, 2),
    threads=st.integers(1, 3),
).filter(lambda case: case.fits and case.groups * max(case.channels, case.outputs) <= 160)

DEPTHWISE = st.builds(
    Case,
    images=st.integers(1, 2),
    groups=st.integers(2, 70),
    channels=st.just(1),
    outputs=st.just(1),
    height=st.integers(1, 19),
    width=st.integers(1, 27),
    taps=st.sampled_from([(3, 3), (5, 5), (7, 7), (1, 3), (3, 1), (2, 4), (1, 1)]),
    stride=st.tuples(pairs, pairs),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 3)]),
    coded=st.booleans(),
    activation=st.sampled_from(list(ACTIVATIONS)),
    residual=st.booleans(),
    residual_halo=st.integers(0, 2),
    threads=st.integers(1, 3),
).filter(lambda case: case.fits)

WINOGRAD = st.builds(
    Case,
    images=st.integers(1, 2),
    channels=st.sampled_from([16, 32, 48]),
    outputs=st.integers(1, 70),
    height=st.integers(1, 30),
    width=st.integers(1, 200),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    coded=st.booleans(),
    activation=st.sampled_from(list(ACTIVATIONS)),
    residual=st.booleans(),
    residual_halo=st.integers(0, 2),
    threads=st.integers(1, 3),
).filter(lambda case: case.fits and 100 <= case.height * case.width <= 1500)
"""3 x 3 taps, stride 1, many pixels: also one row of them, and a column."""

several = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("instruction_set", ISAS)
@given(case=CASES)
@several
def test_any_convolution(instruction_set: str, case: Case) -> None:
    check(case, instruction_set)


@pytest.mark.parametrize("instruction_set", ISAS)
@given(case=DEPTHWISE)
@several
def test_any_depthwise_convolution(instruction_set: str, case: Case) -> None:
    check(case, instruction_set)


@pytest.mark.parametrize("instruction_set", ISAS)
@given(case=WINOGRAD)
@several
def test_any_convolution_of_many_pixels(instruction_set: str, case: Case) -> None:
    check(case, instruction_set)


@pytest.mark.parametrize("instruction_set", ISAS)
@pytest.mark.parametrize(
    "case",
    [
        Case(channels=3, outputs=24, height=31, width=33, stride=(2, 2)),
        Case(
            images=3, channels=3, outputs=64, height=31, width=33, taps=(7, 7), stride=(2, 2), padding=(3, 3), threads=2
        ),
        Case(channels=3, outputs=64, height=31, width=33, taps=(7, 7), stride=(2, 2), padding=(3, 3), coded=False),
        Case(channels=128, outputs=64, height=28, width=28, padding=(1, 1), threads=2),
        Case(channels=128, outputs=64, height=28, width=28, padding=(1, 1), threads=3),
        Case(channels=48, outputs=40, height=15, width=17, threads=3),
        Case(channels=64, outputs=96, height=28, width=27, threads=2, activation="silu"),
        Case(channels=32, outputs=32, height=12, width=12, residual=True, residual_halo=2, activation="hard_swish"),
        Case(channels=240, outputs=17, height=5, width=3, threads=2),
        Case(channels=2100, outputs=33, height=3, width=3, taps=(1, 1), padding=(0, 0), threads=2),
        Case(channels=701, outputs=16, height=4, width=4, taps=(1, 3), padding=(0, 1)),
        Case(channels=700, outputs=16, height=4, width=4, taps=(2, 2), padding=(1, 0)),
        Case(groups=2, channels=32, outputs=48, height=9, width=9, threads=2),
        Case(groups=8, channels=4, outputs=4, height=9, width=9),
        Case(groups=8, channels=4, outputs=4, height=9, width=9, coded=False),
        Case(groups=12, channels=1, outputs=3, height=9, width=9),
        Case(groups=5, channels=24, outputs=24, height=7, width=7, stride=(2, 1)),
        Case(groups=3, channels=24, outputs=5, images=2),
        Case(groups=96, channels=1, outputs=1, height=112, width=13, stride=(2, 2), threads=2),
        Case(images=3, channels=32, outputs=32, height=14, width=14, threads=2, residual=True),
        Case(channels=16, outputs=16, height=1, width=200, taps=(1, 5), padding=(0, 2)),
    ],
    ids=str,
)
def test_shapes_of_networks(instruction_set: str, case: Case) -> None:
    check(case, instruction_set)
