"""The picture of a network: every node is in it where it belongs, and nothing that a file says is more than text."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arrays import needs_native
from support.networks import pipeline_of, residual_network

from tersely.core.errors import ArgumentError, DestinationError
from tersely.graph.graph import Graph, Node
from tersely.graph.picture import colours
from tersely.graph.picture.columns import cuts
from tersely.graph.picture.layered import LARGEST, placed
from tersely.graph.picture.subject import subject
from tersely.graph.picture.svg import shortened, svg
from tersely.graph.profile import Profile, median_of

SVG = "{http://www.w3.org/2000/svg}"


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    count = draw(st.integers(1, 14))
    pairs = [(a, b) for b in range(count) for a in range(b)]
    return count, draw(st.lists(st.sampled_from(pairs), unique=True, max_size=24)) if pairs else []


@given(graphs())
def test_nodes_lie_below_what_they_read_and_apart(graph: tuple[int, list[tuple[int, int]]]) -> None:
    count, edges = graph
    widths = [40.0 + 10 * (node % 3) for node in range(count)]
    found = placed(widths, edges, gap=8.0, point=4.0)
    assert all(found.layers[start] < found.layers[end] for start, end in edges)
    for (start, end), route in zip(edges, found.routes, strict=True):
        assert len(route) == found.layers[end] - found.layers[start] + 1
        assert route[0] == found.centres[start]
        assert route[-1] == found.centres[end]
    for a in range(count):
        for b in range(a):
            if found.layers[a] == found.layers[b]:
                assert abs(found.centres[a] - found.centres[b]) >= (widths[a] + widths[b]) / 2 + 8 - 1e-6
    assert placed(widths, edges, gap=8.0, point=4.0) == found


def test_a_chain_is_straight_and_a_ladder_does_not_cross() -> None:
    chain = placed([10.0] * 5, [(i, i + 1) for i in range(4)], 5.0, 2.0)
    assert len({round(one, 6) for one in chain.centres}) == 1
    # Two chains side by side, read in the wrong order.
    ladder = placed([10.0] * 6, [(0, 3), (1, 2), (3, 4), (2, 5)], 5.0, 2.0)
    for upper, lower in (((0, 1), (3, 2)), ((3, 2), (4, 5))):
        sides = [ladder.centres[row[0]] < ladder.centres[row[1]] for row in (upper, lower)]
        assert sides[0] == sides[1]


def test_columns_are_cut_where_one_value_goes_on() -> None:
    edges = [(i, i + 1) for i in range(59)] + [(20, 31)]
    layers = list(range(60))
    found = cuts(layers, edges, [50.0] * 60, 200.0)
    assert found[0] == 0
    assert len(found) > 2
    assert not any(21 < layer <= 31 for layer in found)


def test_a_graph_too_large_to_look_at_is_refused() -> None:
    with pytest.raises(ArgumentError, match="too large to be drawn"):
        placed([1.0] * (LARGEST + 1), [], 1.0, 1.0)


def test_views_are_left_out_and_values_read_far_below_are_named() -> None:
    nodes = [Node("reshape", {"x": "x"}, "seen", {"shape": [-1]})]
    nodes += [Node("add", {"x": "seen" if i == 0 else f"n{i - 1}", "z": "mask"}, f"n{i}") for i in range(9)]
    graph = Graph(("x", "mask"), ("n8",), tuple(nodes), frozenset())
    boxes, edges = subject(graph, {}, {f"n{i}": 1 for i in range(9)}, {})
    names = [box.name for box in boxes]
    assert "seen" not in names
    assert (names.index("x"), names.index("n0")) in edges
    assert "mask" in boxes[names.index("n6")].reads
    assert (names.index("mask"), names.index("n6")) not in edges


def test_names_are_text_whatever_they_are() -> None:
    hostile = '</text><script>alert("1")</script>&amp;]]>\x00\ud800'
    node = Node("relu", {"x": hostile}, hostile + "y")
    graph = Graph((hostile,), (hostile + "y",), (node,), frozenset())
    document = svg(graph, {}, {hostile + "y": 5}, {hostile + "y": 'x"><script>'}, hostile)
    root = ET.fromstring(document)
    assert root.tag == SVG + "svg"
    assert {one.tag for one in root.iter()} <= {
        SVG + tag for tag in ("svg", "title", "style", "rect", "text", "g", "path")
    }
    assert root.findtext(f"{SVG}title") == hostile[:-2] + 2 * "\N{REPLACEMENT CHARACTER}"


def test_an_empty_network_is_drawn() -> None:
    ET.fromstring(svg(Graph(("x",), ("x",), (), frozenset()), {"x": (1, 2)}, {}, {}, "nothing"))
    ET.fromstring(svg(Graph((), (), (), frozenset()), {}, {}, {}, "nothing"))


def test_colours_are_hotter_with_more_time_and_known_for_every_formulation() -> None:
    steps = [colours.step(share, 100) for share in (0, 1, 30, 100)]
    assert steps == sorted(steps)
    assert steps[-1] == colours.STEPS - 1
    assert colours.srgb(1, 0, 0) == "#ffffff"
    assert colours.srgb(0, 0, 0) == "#000000"
    assert colours.srgb(0.62796, 0.25768, 29.2339) == "#ff0000"
    assert all(f".{colours.form_class(name)}" in colours.style(set(colours.HUES)) for name in colours.HUES)


def test_the_end_of_a_long_name_is_kept() -> None:
    assert shortened("encoder.layers.11.attention", 12).endswith("attention")
    assert len(shortened("encoder.layers.11.attention", 12)) == 12


@needs_native
def test_a_profile_draws_what_ran(rng: np.random.Generator, tmp_path: object) -> None:
    pipeline = pipeline_of(*residual_network(rng), formulation="split")
    x = rng.standard_normal((1, 3, 32, 32)).astype(np.float32)
    found = pipeline.profile(x, threads=1)
    root = ET.fromstring(found.svg())
    titles = [one.findtext(f"{SVG}title") or "" for one in root.iter(f"{SVG}g")]
    for node in pipeline.graph.nodes:
        assert any(title.startswith(node.output + "\n") for title in titles)
    text = " ".join(one.text or "" for one in root.iter(f"{SVG}text"))
    assert "split" in text
    assert "1\N{MULTIPLICATION SIGN}3\N{MULTIPLICATION SIGN}32\N{MULTIPLICATION SIGN}32" in text
    with pytest.raises(DestinationError, match="choose another path"):
        found.save_graph(f"{tmp_path}/nowhere/graph.svg")


@needs_native
def test_medians_are_of_each_node(rng: np.random.Generator) -> None:
    pipeline = pipeline_of(*residual_network(rng), formulation="split")
    one = pipeline.profile(rng.standard_normal((1, 3, 32, 32)).astype(np.float32), threads=1)

    def taking(nanoseconds: int) -> Profile:
        return replace(one, nodes=tuple(replace(node, nanoseconds=nanoseconds) for node in one.nodes))

    found = median_of([taking(3), taking(900), taking(4)])
    assert {node.nanoseconds for node in found.nodes} == {4}
    assert [node.node for node in found.nodes] == [node.node for node in one.nodes]
