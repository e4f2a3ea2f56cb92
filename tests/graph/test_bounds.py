"""Operators that bound, choose and take the first: against NumPy, and what they do with NaN and infinities."""

from __future__ import annotations

import numpy as np
import pytest
from support.networks import pipeline_of

from tersely.core.errors import ArgumentError
from tersely.graph import reading, reference
from tersely.graph.graph import Graph, Node

pytestmark = pytest.mark.kernels
ODD = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -2.5]


@pytest.mark.parametrize("operator", ["minimum", "maximum", "masked"])
def test_pairs_of_odd_numbers(each_isa: str, operator: str) -> None:
    x, z = (one.reshape(7, 7).astype(np.float32) for one in np.meshgrid(ODD, ODD))
    graph = Graph(("x", "z"), ("y",), (Node(operator, {"x": "x", "z": "z"}, "y"),), frozenset())
    (expected,) = reference.run(graph, {"x": x, "z": z}, {})
    np.testing.assert_array_equal(pipeline_of(graph, {}).run(x, z)[0], expected.astype(np.float32))


@pytest.mark.parametrize("shape", [(2, 20, 5, 7), (3, 5, 33), (4, 130)])
@pytest.mark.parametrize("keep", [True, False])
def test_the_greatest_along_axes(each_isa: str, shape: tuple[int, ...], keep: bool) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    x[0, 1], x[1, 2] = -np.inf, np.nan
    for axes in ([len(shape) - 1], list(range(1, len(shape))), [0]):
        graph = Graph(("x",), ("y",), (Node("max", {"x": "x"}, "y", {"axes": axes, "keep": keep}),), frozenset())
        (expected,) = reference.run(graph, {"x": x}, {})
        (found,) = pipeline_of(graph, {}).run(x)
        np.testing.assert_array_equal(found, expected.astype(np.float32))


@pytest.mark.parametrize("constant", [True, False])
def test_as_many_as_another_value_has(each_isa: str, constant: bool) -> None:
    table = np.arange(40, dtype=np.float32).reshape(2, 20)
    node = Node("leading", {"x": "t", "like": "x"}, "y", {"axis": 1, "like_axis": 0})
    inputs = ("x",) if constant else ("x", "t")
    graph = Graph(inputs, ("z",), (node, Node("relu", {"x": "y"}, "z")), frozenset({"t"} if constant else ()))
    made = pipeline_of(graph, {"t": table} if constant else {})
    for count in (1, 7, 20):
        x = np.zeros((count, 3), np.float32)
        (found,) = made.run(x) if constant else made.run(x, table)
        np.testing.assert_array_equal(found, table[:, :count])
    with pytest.raises(ArgumentError, match="takes 21 of the 20"):
        made.run(np.zeros((21, 3), np.float32), *([] if constant else [table]))


@pytest.mark.parametrize("rows", [1, 9, 40])
def test_weights_that_are_stored_in_out(each_isa: str, rows: int) -> None:
    """Coded as they lie, or dense, they are read the other way round."""
    rng = np.random.default_rng(1)
    weight, x = (rng.standard_normal(shape).astype(np.float32) * 0.1 for shape in ((96, 80), (rows, 96)))
    graph = Graph(("x",), ("y",), (Node("linear", {"x": "x", "weight": "w"}, "y", {"in_out": True}),), frozenset({"w"}))
    for encoding in (
        {"orientation": "in_out"},
        {"orientation": "out_in"},
        {"view": "folded"},
        {"formulation": "dense"},
    ):
        (found,) = pipeline_of(graph, {"w": weight}, **encoding).run(x)
        np.testing.assert_allclose(found, x.astype(np.float64) @ weight, atol=1e-5)


def test_a_weight_that_is_read_both_ways_is_refused() -> None:
    weight = np.zeros((64, 64), np.float32)
    nodes = (
        Node("linear", {"x": "x", "weight": "w"}, "h", {"in_out": True}),
        Node("linear", {"x": "h", "weight": "w"}, "y"),
    )
    with pytest.raises(ArgumentError, match=r"'w' is read \[inputs, outputs\] by one node"):
        pipeline_of(Graph(("x",), ("y",), nodes, frozenset({"w"})), {"w": weight})


def test_lengths_are_kept_and_obeyed() -> None:
    nodes = (Node("add", {"x": "x", "z": "z"}, "y"),)
    lengths = {"x": (None, "n", 4), "z": ("n", 4)}
    graph = reading.from_bytes(reading.to_bytes(Graph(("x", "z"), ("y",), nodes, frozenset(), {}, lengths)))
    assert graph.lengths == lengths
    made = pipeline_of(graph, {})

    def run(*shapes: tuple[int, ...]) -> None:
        made.run(*(np.zeros(shape, np.float32) for shape in shapes))

    run((2, 3, 4), (3, 4))
    run((5, 1, 4), (1, 4))
    for shapes in (((2, 3, 4), (1, 4)), ((2, 3, 5), (3, 5)), ((3, 4), (3, 4))):
        with pytest.raises(ArgumentError, match="the network takes '[xz]' of shape"):
            run(*shapes)
