"""Products of bfloat16: any shape against x rounded and exact sums, on kernels that multiply pairs; and when they run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.convolution_cases import ConvolutionCase
from support.networks import convolution, residual_network

import tersely
from tersely.backends.cpu import isa, native
from tersely.graph import reference
from tersely.graph.graph import Graph, Node
from tersely.graph.pipeline import Pipeline
from tersely.tensors.encode import encode

PAIRS = [name for name in ("scalar", "avx512_bf16", "amx") if native.available() and name in isa.available()]
"""The plain kernels too, which nobody chooses."""
pytestmark = [pytest.mark.kernels, pytest.mark.skipif(not PAIRS, reason="there is no native module")]
BFLOAT16 = ml_dtypes.bfloat16


@pytest.fixture(params=PAIRS)
def pairs_isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(isa, "multiplies_pairs", lambda: True)
    with isa.using(request.param):
        yield request.param


@dataclass(frozen=True)
class Case(ConvolutionCase):
    coded: bool = True
    again: bool = False
    """A product of one tap follows, so that the result is written rounded."""
    threads: int = 1


def drawn(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(BFLOAT16)


def network(case: Case, rng: np.random.Generator) -> tuple[Graph, dict[str, np.ndarray], list[np.ndarray]]:
    inputs, outputs = case.groups * case.channels, case.groups * case.outputs
    constants = {"w": drawn(rng, outputs, case.channels, *case.taps), "b": rng.normal(size=outputs).astype(np.float32)}
    window = {name: list(getattr(case, name)) for name in ("stride", "padding", "dilation")}
    roles, names = {"bias": "b"}, ["x"]
    arrays = [rng.normal(size=(case.images, inputs, case.height, case.width)).astype(np.float32)]
    nodes = [convolution("x", "w", "y", groups=case.groups, **window, **roles)]
    result = "y"
    if case.residual:
        names.append("z")
        nodes.append(Node("add", {"x": "y", "z": "z"}, "sum"))
        result = "sum"
    if case.activation is not None:
        nodes.append(Node(case.activation, {"x": result}, "activated"))
        result = "activated"
    results = [result]
    if case.again:
        constants["v"] = drawn(rng, 24, outputs, 1, 1)
        nodes.append(convolution(result, "v", "last"))
        results = ["last"]
    graph = Graph(tuple(names), tuple(results), tuple(nodes), frozenset(constants))
    if case.residual:
        shape = reference.run(replace(graph, outputs=("y",), nodes=tuple(nodes[:1])), {"x": arrays[0]}, constants)[0]
        arrays.append(rng.normal(size=shape.shape).astype(np.float32))
    return graph, constants, arrays


def pipeline_of(case: Case, graph: Graph, constants: dict[str, np.ndarray]) -> Pipeline:
    held = {name: encode(one) if case.coded and one.ndim == 4 else one for name, one in constants.items()}
    return Pipeline(graph, held)


def methods(pipeline: Pipeline, *arrays: np.ndarray) -> list[str]:
    program = pipeline.program(*(one.shape for one in arrays))
    return [step.get("method", "") for step in program.steps if step["operator"] == "convolution"]


def check(case: Case) -> None:
    graph, constants, arrays = network(case, np.random.default_rng(7))
    pipeline = pipeline_of(case, graph, constants)
    assert set(methods(pipeline, *arrays)) == {"bfloat16"}
    found = pipeline.run(*arrays, threads=case.threads)[0]
    assert np.array_equal(found, pipeline.run(*arrays, threads=1)[0]), "threads change nothing"
    inputs = dict(zip(graph.inputs, arrays, strict=True))
    expected = reference.run(graph, inputs, constants, paired=("w", "v"))[0]
    sizes = {name: abs(one) for name, one in constants.items()}
    plain = replace(graph, nodes=tuple(node for node in graph.nodes if node.operator in ("convolution", "add")))
    if case.activation is not None and case.again:
        plain = replace(plain, nodes=tuple(replace(n, inputs={**n.inputs, "x": _before(case)}) if n.output == "last" else n
                                           for n in plain.nodes))  # fmt: skip
    outputs = plain.outputs if case.again or case.activation is None else (_before(case),)
    bound = reference.run(replace(plain, outputs=outputs), {n: abs(a) for n, a in inputs.items()}, sizes)[0] + 1
    terms = case.channels * case.taps[0] * case.taps[1]
    # Where a product follows, what it reads may be rounded to the neighbour; slopes of activations are at most 1.1.
    share = (terms + 8) * 2.0**-24 * 1.2 + (2.0**-8 if case.again else 0)
    wrong = ~(abs(found - expected) <= share * bound)
    assert not wrong.any(), f"{case}: {int(wrong.sum())} of {wrong.size} are off, at {np.argwhere(wrong)[:3].tolist()}"


def _before(case: Case) -> str:
    return "sum" if case.residual else "y"


counts = st.integers(1, 3)
CASES = st.builds(
    Case,
    images=st.integers(1, 3),
    groups=st.sampled_from([1, 1, 1, 2, 3, 5]),
    channels=st.integers(2, 70),
    outputs=st.integers(2, 70),
    height=st.integers(1, 19),
    width=st.integers(1, 19),
    taps=st.tuples(st.sampled_from([1, 2, 3, 5, 7]), st.sampled_from([1, 2, 3, 5, 7])),
    stride=st.tuples(counts, counts),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    coded=st.booleans(),
    activation=st.sampled_from([None, "relu", "relu6", "hard_swish", "sigmoid", "silu", "gelu"]),
    residual=st.booleans(),
    again=st.booleans(),
    threads=st.integers(1, 3),
).filter(lambda case: case.fits and case.groups * max(case.channels, case.outputs) <= 160)


@given(case=CASES)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_convolution(pairs_isa: str, case: Case) -> None:
    check(case)


@pytest.mark.parametrize(
    "case",
    [
        Case(channels=3, outputs=64, height=31, width=33, taps=(7, 7), padding=(3, 3), stride=(2, 2)),
        Case(channels=64, outputs=96, height=28, width=27, threads=2, activation="silu", again=True),
        Case(channels=17, outputs=19, height=9, width=9, again=True),
        Case(channels=18, outputs=34, height=9, width=9, again=True, residual=True, activation="relu"),
        Case(channels=2100, outputs=33, height=3, width=3, taps=(1, 1), padding=(0, 0), threads=2),
        Case(channels=2101, outputs=16, height=4, width=4, taps=(1, 1), padding=(0, 0)),
        Case(channels=701, outputs=16, height=4, width=4, taps=(1, 3), padding=(0, 1)),
        Case(channels=700, outputs=16, height=4, width=4, taps=(2, 2), padding=(1, 0)),
        Case(groups=2, channels=32, outputs=48, height=9, width=9, threads=2),
        Case(groups=8, channels=4, outputs=4, height=9, width=9),
        Case(groups=5, channels=24, outputs=24, height=7, width=7, stride=(2, 1)),
        Case(images=3, channels=32, outputs=32, height=14, width=14, threads=2, residual=True),
    ],
    ids=str,
)
def test_shapes_of_networks(pairs_isa: str, case: Case) -> None:
    check(case)


def one_product(weight: np.ndarray, **choices: Any) -> Pipeline:
    node = convolution("x", "w", "y", padding=[weight.shape[2] // 2] * 2)
    return Pipeline(Graph(("x",), ("y",), (node,), frozenset("w")), {"w": encode(weight)}, **choices)


def test_x_is_rounded_to_the_nearest_even(pairs_isa: str) -> None:
    weight = np.zeros((16, 16, 1, 1), BFLOAT16)
    weight[np.arange(16), np.arange(16)] = 1
    step = 2.0**-7
    numbers = [1 + step / 2, 1 + 3 * step / 2, 1 + step / 2 + 2.0**-20, -1 - step / 2, 3.4e38, -3.4e38, 0.0, -0.0, 2.5]
    x = np.zeros((1, 16, 1, 1), np.float32)
    x[0, : len(numbers), 0, 0] = numbers
    found = one_product(weight).run(x)[0][0, : len(numbers), 0, 0]
    infinite = np.float32(np.inf)
    # An infinity by zeros of other outputs is NaN, as in float32.
    assert np.isnan(found[:4]).all()
    x[0, 4:6] = 1
    found = one_product(weight).run(x)[0][0, : len(numbers), 0, 0]
    assert found.tolist() == [1.0, 1 + 2 * step, 1 + step, -1.0, 1.0, 1.0, 0.0, 0.0, 2.5]
    assert reference.to_bfloat16(np.array(numbers))[4] == infinite


@pytest.mark.parametrize("channels", [15, 16, 17, 40])
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_reaches_its_window_only(channels: int, special: float, pairs_isa: str) -> None:
    rng = np.random.default_rng(3)
    pipeline = one_product(np.abs(drawn(rng, 24, channels, 3, 3)) + BFLOAT16(1))
    x = rng.random((1, channels, 9, 9)).astype(np.float32)
    x[0, channels - 1, 4, 4] = special
    found = pipeline.run(x)[0]
    touched = np.zeros((9, 9), bool)
    touched[3:6, 3:6] = True
    assert np.isfinite(found[:, :, ~touched]).all()
    np.testing.assert_array_equal(found[:, :, touched], np.full((1, 24, 9), special, np.float32))


def test_infinite_results_do_not_reach_the_next_product_by_channels_that_fill_a_block(pairs_isa: str) -> None:
    """-inf becomes 0 by relu; in the channels that fill the block it is NaN by weights of zero."""
    first, second = np.ones((17, 16, 1, 1), BFLOAT16), np.ones((16, 17, 1, 1), BFLOAT16)
    nodes = (convolution("x", "v", "y", activation="relu"), convolution("y", "w", "z"))
    graph = Graph(("x",), ("z",), nodes, frozenset("vw"))
    x = np.full((1, 16, 2, 2), -np.inf, np.float32)
    found = Pipeline(graph, {"v": encode(first), "w": encode(second)}).run(x)[0]
    assert (found == 0).all()


def test_subnormal_numbers_count_as_zero(pairs_isa: str) -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(1, 32, 5, 5)).astype(np.float32)
    weight = drawn(rng, 16, 32, 1, 1)
    small = x * np.float32(2.0**-140)
    assert (one_product(weight).run(small)[0] == 0).all()
    tiny = (weight.astype(np.float32) * np.float32(2.0**-131)).astype(BFLOAT16)
    assert (one_product(tiny).run(x * np.float32(2.0**100))[0] == 0).all()
    least = np.full((16, 32, 1, 1), 2.0**-126, BFLOAT16)
    assert (one_product(least).run(np.ones_like(x))[0] == 2.0**-121).all()


def test_a_network_whose_values_are_rounded_beside_float32_ones(pairs_isa: str) -> None:
    """A residual block reads the same value both ways; what only products read is never float32."""
    rng = np.random.default_rng(5)
    graph, constants = residual_network(rng)
    weights = {node.inputs["weight"] for node in graph.nodes if node.operator in ("convolution", "linear")}
    constants = {name: one.astype(BFLOAT16) if name in weights else one for name, one in constants.items()}
    held = {name: encode(one) if name in weights else one for name, one in constants.items()}
    x = rng.standard_normal((2, 3, 24, 24)).astype(np.float32)
    pipeline = Pipeline(graph, held)
    steps = pipeline.program(x.shape).steps
    assert any("rounded" in step and "y" not in step for step in steps)
    found = pipeline.run(x, threads=1)[0]
    for threads in (2, 3):
        assert pipeline.run(x, threads=threads)[0].tobytes() == found.tobytes()
    expected = reference.run(graph, {"x": x}, constants, paired=weights)[0]
    assert abs(found - expected).max() <= 2.0**-7 * abs(expected).max()
    assert {one.method for one in pipeline.profile(x).nodes} == {"", "bfloat16"}


@pytest.mark.skipif("avx512_bf16" not in PAIRS, reason="no kernels multiply pairs of bfloat16 here")
def test_who_multiplies_pairs(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=(1, 32, 16, 16)).astype(np.float32)
    for dtype, expected in ((BFLOAT16, "bfloat16"), (np.float16, "winograd"), (np.float32, "winograd")):
        pipeline = one_product(rng.normal(size=(16, 32, 3, 3)).astype(dtype))
        for name in isa.available():
            with isa.using(name):
                pairs = name in ("avx512_bf16", "amx")
                assert methods(pipeline, x) == [expected if pairs else "winograd"], (dtype, name)
    pipeline = one_product(drawn(rng, 16, 32, 3, 3))
    pipeline.save(tmp_path / "net.safetensors")
    exact = reference.run(pipeline.graph, {"x": x}, {"w": pipeline.constants["w"].decode()})[0]  # type: ignore[union-attr]
    with isa.using("avx512_bf16"):
        wide = tersely.load_pipeline(tmp_path / "net.safetensors", bfloat16_products=False)
        assert methods(wide, x) == ["winograd"]
        assert abs(wide.run(x)[0] - exact).max() <= 1e-5 * abs(exact).max()
        rounded = tersely.load_pipeline(tmp_path / "net.safetensors")
        assert rounded.run(x)[0].tobytes() == pipeline.run(x)[0].tobytes() != wide.run(x)[0].tobytes()
