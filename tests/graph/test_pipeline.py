"""Whole networks on the executor: the reference's numbers, on every instruction set and for any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from support.arrays import needs_native
from support.networks import convolution, pipeline_of, residual_network

from tersely.core.errors import ArgumentError
from tersely.graph import reference
from tersely.graph.graph import Graph, Node
from tersely.graph.pipeline import Pipeline
from tersely.graph.profile import merged

pytestmark = needs_native


@pytest.fixture
def network(rng: np.random.Generator) -> tuple[Graph, dict[str, np.ndarray]]:
    return residual_network(rng)


def close(found: np.ndarray, expected: np.ndarray) -> bool:
    """Within 1e-5 of the largest number: sums of some hundreds of float32 products, in another order."""
    return bool(np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (3, 3, 29, 43), (2, 3, 64, 7)])
def test_numbers_of_the_reference(
    shape: tuple[int, ...], network: tuple[Graph, dict[str, np.ndarray]], each_isa: str, rng: np.random.Generator
) -> None:
    graph, constants = network
    pipeline = pipeline_of(graph, constants, formulation="split")
    x = rng.standard_normal(shape).astype(np.float32)
    (expected,) = reference.run(graph, {"x": x}, constants)
    once = pipeline.run(x, threads=1)[0]
    assert close(once, expected)
    for threads in (2, 3):
        assert pipeline.run(x, threads=threads)[0].tobytes() == once.tobytes()


def test_what_passes_make_computes_the_same(
    network: tuple[Graph, dict[str, np.ndarray]], rng: np.random.Generator
) -> None:
    graph, constants = network
    pipeline = pipeline_of(graph, constants, formulation="split")
    operators = [node.operator for node in pipeline.graph.nodes]
    assert operators.count("batch_norm") == operators.count("relu") == operators.count("add") == 0
    x = {"x": rng.standard_normal((2, 3, 20, 20))}
    kept = {**constants, **{name: one for name, one in pipeline.constants.items() if isinstance(one, np.ndarray)}}
    np.testing.assert_allclose(
        reference.run(pipeline.graph, x, kept)[0], reference.run(graph, x, constants)[0], rtol=1e-5, atol=1e-6
    )


def test_nan_and_infinities_go_through(each_isa: str, rng: np.random.Generator) -> None:
    weight = rng.standard_normal((32, 16, 3, 3)).astype(np.float32)
    for method in ([1, 1], [2, 2]):  # Winograd's and the direct one
        node = convolution("x", "w", "y", padding=[1, 1], stride=method, activation="relu")
        pipeline = pipeline_of(Graph(("x",), ("y",), (node,), frozenset("w")), {"w": weight}, formulation="split")
        x = rng.standard_normal((1, 16, 28, 28)).astype(np.float32)
        x[0, 3, 10, 10] = np.nan
        found = pipeline.run(x)[0]
        at = 10 // method[0]
        assert np.isnan(found[0, :, at, at]).all()
        assert np.isfinite(found[0, :, :3]).all()


def test_subjects_of_profiles_are_nodes(network: tuple[Graph, dict[str, np.ndarray]], rng: np.random.Generator) -> None:
    pipeline = pipeline_of(*network, formulation="split")
    found = pipeline.profile(rng.standard_normal((1, 3, 32, 32)).astype(np.float32), threads=1)
    rows = {one.node: one for one in found.nodes}
    assert {"a", "e", "y"} <= set(rows)
    assert rows["a"].operator == "convolution"
    assert rows["a"].shape == (1, 32, 16, 16)
    assert rows["e"].form.startswith("split")
    assert found.nanoseconds == sum(one.nanoseconds for one in found.nodes) > 0
    assert found.threads == 1
    assert found.arena_bytes > 0
    assert len(str(found).splitlines()) == len(found.nodes) + 2


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((1, 4, 32, 32), "does not fit 4 channels"),
        ((3, 32, 32), "takes images of four dimensions"),
    ],
)
def test_wrong_inputs_are_refused_with_the_node(
    shape: tuple[int, ...], sentence: str, network: tuple[Graph, dict[str, np.ndarray]]
) -> None:
    pipeline = pipeline_of(*network, formulation="split")
    with pytest.raises(ArgumentError, match=sentence) as caught:
        pipeline.run(np.zeros(shape, np.float32))
    assert "a = convolution" in str(caught.value)


def test_another_number_of_inputs_is_refused(network: tuple[Graph, dict[str, np.ndarray]]) -> None:
    with pytest.raises(ArgumentError, match="takes 1 inputs, not 2"):
        pipeline_of(*network, formulation="split").run(np.zeros((1, 3, 8, 8)), np.zeros((1, 3, 8, 8)))


def test_two_runs_at_once_do_not_meet(network: tuple[Graph, dict[str, np.ndarray]], rng: np.random.Generator) -> None:
    from concurrent.futures import ThreadPoolExecutor

    pipeline: Pipeline = pipeline_of(*network, formulation="split")
    images = [rng.standard_normal((1, 3, 32, 32)).astype(np.float32) for _ in range(4)]
    alone = [pipeline.run(image, threads=1)[0].tobytes() for image in images]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            together = list(pool.map(lambda image: pipeline.run(image, threads=1)[0].tobytes(), images))
            assert together == alone


def test_a_constant_output_or_unknown_operator_is_refused() -> None:
    graph = Graph(("x",), ("y",), (Node("cumsum", {"x": "x"}, "y"),), frozenset())
    with pytest.raises(ArgumentError, match="cumsum"):
        Pipeline(graph, {}).run(np.zeros((1, 16, 4, 4), np.float32))


def test_a_profile_names_the_operator_that_has_the_weight() -> None:
    steps = [
        ("a", {"operator": "round"}, 1),
        ("a", {"operator": "convolution", "weight": "w", "method": "bfloat16"}, 2),
        ("a", {"operator": "move"}, 3),
        ("b", {"operator": "move"}, 4),
        ("b", {"operator": "pool"}, 5),
        ("b", {"operator": "output"}, 6),
    ]
    found = [("a", "convolution", "bfloat16", 6), ("b", "pool", "", 9), ("b", "output", "", 6)]
    assert merged(steps) == found
