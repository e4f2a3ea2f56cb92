"""A convolution and the depthwise one behind it as one step: the same bits as two, whatever rows lie between."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from support.networks import pipeline_of

from tersely.backends.cpu import native
from tersely.graph import reference
from tersely.graph.graph import Graph, Node
from tersely.graph.lowering import expansions

pytestmark = pytest.mark.kernels


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expansions, "EXPANSION_PIXELS", 1)
    monkeypatch.setattr(expansions, "EXPANSION_BYTES", 1)


CASES: list[dict[str, Any]] = [
    {},
    {"stride": [2, 2], "padding": [0, 0, 1, 1]},
    {"taps": (5, 3), "padding": [2, 1], "stride": [1, 2]},
    {"dilation": [2, 2], "padding": [2, 2]},
    {"padding": [0, 0], "stride": [3, 3], "taps": (2, 2)},
    {"first": 3, "channels": 3, "width": 24},
    {"width": 90, "channels": 40, "size": (7, 150), "images": 3},
    {"activations": ("hard_swish", "silu"), "width": 16},
]


def network(case: dict[str, Any], seed: int = 0) -> tuple[Graph, dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    taps, first = case.get("taps", (3, 3)), case.get("first", 1)
    channels, width = case.get("channels", 20), case.get("width", 72)
    weights = {"v": rng.normal(size=(width, channels, first, first)), "w": rng.normal(size=(width, 1, *taps)),
               "scale": rng.normal(size=width), "shift": rng.normal(size=width)}  # fmt: skip
    activations = case.get("activations", ("relu6", "relu6"))
    expand = {"stride": [1, 1], "padding": [first // 2] * 2, "dilation": [1, 1], "groups": 1}
    window = {"stride": case.get("stride", [1, 1]), "padding": case.get("padding", [1, 1]),
              "dilation": case.get("dilation", [1, 1]), "groups": width}  # fmt: skip
    norm = {"scale": "scale", "shift": "shift"}
    nodes = (
        Node("convolution", {"x": "x", "weight": "v", **norm}, "b", {**expand, "activation": activations[0]}),
        Node("convolution", {"x": "b", "weight": "w", **norm}, "y", {**window, "activation": activations[1]}),
    )
    x = rng.normal(size=(case.get("images", 2), channels, *case.get("size", (42, 37))))
    constants = {name: one.astype(np.float32) for name, one in weights.items()}
    return Graph(("x",), ("y",), nodes, frozenset(weights)), constants, x.astype(np.float32)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_same_bits_as_two_steps(
    small: None, each_isa: str, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, constants, x = network(case)
    joined = pipeline_of(graph, constants)
    program = joined.program(x.shape)
    assert [step["operator"] for step in program.steps if "weight" in step] == ["expanded_depthwise"]
    monkeypatch.setattr(expansions, "EXPANSION_PIXELS", 10**9)
    apart = pipeline_of(graph, constants)
    assert program.arena < apart.program(x.shape).arena
    (expected,) = apart.run(x)
    for threads in (1, 2, 3):
        np.testing.assert_array_equal(joined.run(x, threads=threads)[0], expected)
    (exact,) = reference.run(graph, {"x": x}, constants)
    np.testing.assert_allclose(expected, exact, atol=2e-4 * float(abs(exact).max()))


def test_what_others_read_is_not_taken_away(small: None) -> None:
    graph, constants, x = network({})
    both = Graph(graph.inputs, ("y", "b"), graph.nodes, graph.constants)
    steps = pipeline_of(both, constants).program(x.shape).steps
    assert sum(step["operator"] == "convolution" for step in steps) == 2


def test_small_images_are_left_alone() -> None:
    graph, constants, x = network({"size": (30, 30)})
    steps = pipeline_of(graph, constants).program(x.shape).steps
    assert all(step["operator"] != "expanded_depthwise" for step in steps)


FIRST = {"weight": "v", "height": 1, "width": 1}
STEP = {"operator": "expanded_depthwise", "x": 0, "y": 1, "weight": "w", "height": 3, "width": 3, "pad_y": 1, "pad_x": 1,
        "first": FIRST, "between_height": 6, "between_width": 6, "between_halo": 1}  # fmt: skip


def opened(step: dict[str, Any]) -> Any:
    layout = {"images": 1, "channels": 32, "height": 6, "width": 6, "halo": 0, "blocked": True}
    values = [{"at": 0, **layout}, {"at": 1152, **layout}]
    constants = {"v": np.zeros(32 * 32, np.float32), "w": np.zeros(32 * 9, np.float32), "few": np.zeros(16, np.float32)}
    return native.module.open_program(
        json.dumps({"version": 1, "arena": 2304, "values": values, "steps": [step]}), constants
    )


def test_this_is_sound() -> None:
    assert opened(STEP).steps == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"between_height": 0}, "no pixels"),
        ({"between_height": 2**40}, "no pixels"),
        ({"between_height": 7}, "larger than its input"),
        ({"between_height": 5}, "larger than its input"),
        ({"between_width": 5}, "larger than its input"),
        ({"between_halo": 0}, "halo"),
        ({"between_halo": -1}, "no pixels"),
        ({"weight": "few"}, "too few numbers"),
        ({"first": {**FIRST, "weight": "few"}}, "too few numbers"),
        ({"first": {**FIRST, "pad_y": 1}}, "halo"),
        ({"first": {**FIRST, "activation": "exp"}}, "activation of pixels"),
        ({"activation": "exp"}, "activation of pixels"),
        ({"stride_y": 2, "between_height": 4}, "larger than its input"),
        ({"y": 0}, "lies over x"),
    ],
    ids=str,
)
def test_steps_that_do_not_fit_are_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        opened({**STEP, **more})
