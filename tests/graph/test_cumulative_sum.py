"""Cumulative sums: against the reference along every axis, exact for integers, on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest

from tersely.core.errors import ArgumentError
from tersely.graph import reference
from tersely.graph.graph import Graph, Node
from tersely.graph.pipeline import Pipeline
from tersely.graph.reading import from_bytes, to_bytes

pytestmark = pytest.mark.kernels


def summed(axis: int, *before: Node) -> Graph:
    x = before[-1].output if before else "x"
    node = Node("cumulative_sum", {"x": x}, "y", {"axis": axis})
    return from_bytes(to_bytes(Graph(("x",), ("y",), (*before, node), frozenset())))


@pytest.mark.parametrize("shape", [(5,), (2, 1), (3, 17), (2, 40, 3, 5), (2, 3, 300)], ids=str)
def test_every_axis(each_isa: str, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    counts = (x > 0).astype(np.float32) + np.float32(4000)
    for axis in range(-len(shape), len(shape)):
        graph = summed(axis)
        made = Pipeline(graph, {})
        (expected,) = reference.run(graph, {"x": x}, {})
        np.testing.assert_allclose(made.run(x)[0], expected, rtol=0, atol=1e-6 * max(1, np.abs(expected).max()))
        np.testing.assert_array_equal(made.run(counts)[0], np.cumsum(counts, axis, np.float64))
        for threads in (2, 3):
            np.testing.assert_array_equal(made.run(x, threads=threads)[0], made.run(x, threads=1)[0])


def test_of_what_lies_otherwise(each_isa: str) -> None:
    x = np.random.default_rng(3).standard_normal((2, 7, 40)).astype(np.float32)
    graph = summed(1, Node("layer_norm", {"x": "x"}, "norm", {"eps": 1e-5}), Node("transpose", {"x": "norm"}, "turned", {"axes": [1, 2]}))  # fmt: skip
    (expected,) = reference.run(graph, {"x": x}, {})
    np.testing.assert_allclose(Pipeline(graph, {}).run(x)[0], expected, rtol=0, atol=3e-6 * np.abs(expected).max())


def test_no_such_axis() -> None:
    with pytest.raises(ArgumentError, match=r"cumulative_sum.*no axis 2"):
        Pipeline(summed(2), {}).run(np.zeros((2, 3), np.float32))
