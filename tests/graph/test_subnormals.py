"""Numbers too small to be normal: activations count as zero, weights are what they are, whoever calls."""

from __future__ import annotations

import numpy as np
import pytest
from support.arrays import needs_native
from support.floating_environments import CONTROLS, control, environment, needs_mxcsr
from support.networks import convolution, pipeline_of, residual_network

import tersely
from tersely.graph import reference
from tersely.graph.graph import Graph, Node
from tersely.graph.pipeline import Pipeline

pytestmark = [needs_native, needs_mxcsr]
LEAST_NORMAL = 2.0**-126
SUBNORMAL_SCALE = np.float32(2.0**-128)
"""Of weights that are normal from four steps on."""


def one_convolution(weight: np.ndarray, side: int, **encoding: object) -> Pipeline:
    """Of `side` x `side` pixels: Winograd's method from 12 on, unless the taps are few."""
    node = convolution("x", "w", "y", padding=[weight.shape[2] // 2] * 2)
    return pipeline_of(Graph(("x",), ("y",), (node,), frozenset("w")), {"w": weight}, **encoding)


def is_flushed(array: np.ndarray) -> bool:
    return not ((array != 0) & (np.abs(array) < LEAST_NORMAL)).any()


@pytest.mark.parametrize(("taps", "side"), [(1, 7), (3, 7), (3, 16)])
def test_small_sums_are_zero_and_others_as_they_were(
    taps: int, side: int, each_isa: str, rng: np.random.Generator
) -> None:
    weight = rng.standard_normal((48, 32, taps, taps)).astype(np.float32)
    pipeline = one_convolution(weight, side, formulation="split")
    x = rng.standard_normal((1, 32, side, side)).astype(np.float32)
    for factor in (2.0**-126, 2.0**-130, 2.0**-149):
        small = (x * np.float32(factor)).astype(np.float32)
        found = pipeline.run(small)[0]
        assert is_flushed(found)
        exact = reference.run(pipeline.graph, {"x": small.astype(np.float64)}, {"w": weight})[0]
        # Each operand, product and sum of so many may have lost the least normal number.
        bound = 4 * LEAST_NORMAL * np.abs(weight).sum(axis=(1, 2, 3)).max()
        assert np.abs(found - exact).max() <= bound
    assert np.abs(pipeline.run(x)[0]).max() > 1


def test_results_do_not_depend_on_the_caller(rng: np.random.Generator) -> None:
    pipeline = pipeline_of(*residual_network(rng), formulation="split")
    x = rng.standard_normal((2, 3, 24, 24)).astype(np.float32)
    x[1] *= np.float32(2.0**-140)
    expected = pipeline.run(x)[0].tobytes()
    for name in CONTROLS:
        for threads in (1, 2):
            with environment(name):
                before = control()
                assert pipeline.run(x, threads=threads)[0].tobytes() == expected, name
                assert control() == before


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_subnormal_scales_make_exact_weights(rows: int, each_isa: str, rng: np.random.Generator) -> None:
    """Steps of a grid that is too fine for a normal number: the weights themselves are normal, and count."""
    steps = np.float32(rng.integers(4, 8, (48, 64)) * rng.choice([-1, 1], (48, 64)))
    weight = steps * SUBNORMAL_SCALE
    x = np.exp2(rng.integers(100, 120, (rows, 64))).astype(np.float32)
    expected = x.astype(np.float64) @ weight.T.astype(np.float64)
    linear = Graph(("x",), ("y",), (Node("linear", {"x": "x", "weight": "w"}, "y"),), frozenset("w"))
    found = pipeline_of(linear, {"w": weight}, formulation="palette", code="grid").run(x)[0]
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    convolved = one_convolution(weight[:, :, None, None], 6, formulation="palette", code="grid")
    images = np.ascontiguousarray(np.broadcast_to(x[:1, :, None, None], (1, 64, 6, 6)))
    again = convolved.run(images)[0]
    assert np.abs(again - expected[:1, :, None, None]).max() <= 1e-5 * np.abs(expected).max()


def test_rows_of_a_table_keep_every_bit(rng: np.random.Generator) -> None:
    table = (rng.integers(-7, 8, (50, 32)) * 2.0**-149).astype(np.float32)
    graph = Graph(("x",), ("y",), (Node("embedding", {"x": "x", "weight": "w"}, "y"),), frozenset("w"))
    for encoding in ({"formulation": "palette", "code": "grid"}, {"formulation": "split"}, {"formulation": "dense"}):
        pipeline = Pipeline(graph, {"w": tersely.encode(table, **encoding)})
        numbers = rng.integers(0, 50, (2, 9))
        assert pipeline.run(numbers)[0].tobytes() == table[numbers].tobytes()


def test_tokens_that_vanish(each_isa: str, rng: np.random.Generator) -> None:
    """A chain of products whose values shrink until nothing is left of them."""
    weight = rng.standard_normal((64, 64)).astype(np.float32) * np.float32(1e-9)
    nodes = [Node("linear", {"x": "x" if i == 0 else f"n{i - 1}", "weight": "w"}, f"n{i}") for i in range(6)]
    graph = Graph(("x",), tuple(node.output for node in nodes), tuple(nodes), frozenset("w"))
    pipeline = pipeline_of(graph, {"w": weight}, formulation="split")
    for rows in (1, 24):
        found = pipeline.run(rng.standard_normal((1, rows, 64)).astype(np.float32))
        assert all(is_flushed(one) for one in found)
        assert (found[-1] == 0).all()
        assert np.abs(found[3]).max() > 0
