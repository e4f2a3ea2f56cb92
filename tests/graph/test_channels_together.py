"""Images of few channels that only products read: a pixel's channels lie side by side, and nothing else sees them so."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from support.arrays import needs_native

from tersely.backends.cpu import native
from tersely.graph import reference
from tersely.graph.graph import Graph, Node
from tersely.graph.pipeline import Pipeline
from tersely.planner import choose
from tersely.tensors.encode import encode
from tersely.tensors.tensor import Tensor

pytestmark = needs_native
WINDOW = {"stride": [2, 2], "padding": [1, 1], "dilation": [1, 1], "groups": 1}


def graph_of(*others: Node, outputs: tuple[str, ...] = ("y",)) -> Graph:
    nodes = (Node("convolution", {"x": "x", "weight": "weight"}, "y", WINDOW), *others)
    return Graph(("x",), outputs, nodes, frozenset({"weight"}))


def weights(channels: int, zeros: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(2)
    found = rng.normal(size=(32, channels, 3, 3)).astype(np.float32)
    found[rng.random(found.shape) < zeros] = 0
    return found


@pytest.mark.parametrize(("channels", "together"), [(1, False), (2, True), (3, True), (15, True), (16, False)])
@pytest.mark.parametrize("coded", [True, False])
def test_images_that_are_only_convolved(channels: int, together: bool, coded: bool, each_isa: str) -> None:
    weight, graph = weights(channels), graph_of()
    pipe = Pipeline(graph, {"weight": encode(weight) if coded else weight})
    x = np.random.default_rng(4).normal(size=(3, channels, 9, 11)).astype(np.float32)
    assert any(one.together for one in pipe.program(x.shape).layouts) == together
    once = pipe.run(x, threads=1)[0]
    (expected,) = reference.run(graph, {"x": x}, {"weight": weight})
    np.testing.assert_allclose(once, expected, atol=1e-4)
    assert pipe.run(x, threads=2)[0].tobytes() == once.tobytes()


@pytest.mark.parametrize(
    "graph",
    [
        graph_of(Node("relu", {"x": "x"}, "z", {}), outputs=("y", "z")),
        graph_of(outputs=("y", "x")),
        graph_of(
            Node("max_pool", {"x": "x"}, "z", {"kernel": [2, 2], "stride": [2, 2], "padding": [0, 0]}),
            outputs=("y", "z"),
        ),
    ],
    ids=["activated", "given back", "pooled"],
)
def test_other_readers_see_them_as_ever(graph: Graph) -> None:
    weight, x = weights(3), np.random.default_rng(4).normal(size=(1, 3, 8, 8)).astype(np.float32)
    pipe = Pipeline(graph, {"weight": encode(weight)})
    assert not any(one.together for one in pipe.program(x.shape).layouts)
    for found, expected in zip(pipe.run(x), reference.run(graph, {"x": x}, {"weight": weight}), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_list_of_weights_reads_planes() -> None:
    weight, x = weights(12, zeros=0.95), np.random.default_rng(4).normal(size=(1, 12, 30, 30)).astype(np.float32)
    coded = Tensor(choose.encode(weight, formulation="sparse", positions="gaps"))
    pipe = Pipeline(graph_of(), {"weight": coded})
    program = pipe.program(x.shape)
    assert any(step.get("method") == "sparse" for step in program.steps)
    assert not any(one.together for one in program.layouts)
    (expected,) = reference.run(graph_of(), {"x": x}, {"weight": weight})
    np.testing.assert_allclose(pipe.run(x)[0], expected, atol=1e-4)


def opened(step: dict[str, Any], **changed: Any) -> Any:
    together = {"at": 0, "images": 1, "channels": 3, "height": 6, "width": 6, "halo": 0, "blocked": False,
                "together": True, **changed}  # fmt: skip
    plain = {**together, "at": 512, "blocked": True, "together": False, "element_bytes": 4}
    planes = {**plain, "at": 2048, "blocked": False}
    text = {"version": 1, "arena": 4096, "values": [together, plain, planes], "steps": [step]}
    constants = {"w": np.zeros(3 * 16, np.float32), "s": np.zeros(16, np.float32)}
    return native.module.open_program(json.dumps(text), constants)


CONVOLUTION = {"operator": "convolution", "x": 0, "y": 1, "weight": "w", "height": 1, "width": 1, "stride_y": 1,
               "stride_x": 1}  # fmt: skip
WHOLE = [n for place in range(6) for n in (place, 1, 1)]
UNKNOWING = [
    {**CONVOLUTION, "y": 0, "x": 1},
    {**CONVOLUTION, "residual": 0},
    {**CONVOLUTION, "method": "bfloat16"},
    {"operator": "pointwise", "kind": "relu", "x": 0, "y": 2},
    {"operator": "pointwise", "kind": "relu", "x": 2, "y": 0},
    {"operator": "pointwise", "kind": "add", "x": 2, "z": 0, "y": 2},
    {"operator": "pool", "x": 0, "y": 2, "kind": "max", "rows": WHOLE, "columns": WHOLE},
    {"operator": "move", "x": 0, "y": 2},
    {"operator": "move", "x": 2, "y": 0},
    {"operator": "output", "x": 0, "index": 0},
    {"operator": "scale_shift", "x": 0, "y": 1, "scale": "s", "shift": "s"},
    {"operator": "elementwise", "kind": "copy", "sizes": [108], "x": 0, "x_at": 0, "x_strides": [1], "y": 2, "y_at": 0,
     "y_strides": [1]},
    {"operator": "assemble", "y": 1, "xs": [0], "regions": [3, 6, 6, 0, 0, 0, 1, 1, 0, 0, 0], "fill": 0},
    {"operator": "round", "x": 0, "y": 1},
    {"operator": "quantise", "x": 0, "y": 1, "scale": 0, "zero": 0},
]  # fmt: skip


def test_a_convolution_an_input_and_zeros_around_it_know_of_them() -> None:
    for step in (CONVOLUTION, {"operator": "input", "y": 0, "index": 0}, {"operator": "clear", "y": 0}):
        assert opened(step).steps == 1


@pytest.mark.parametrize("step", UNKNOWING, ids=str)
def test_steps_that_do_not_know_of_them_are_refused(step: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="channels together"):
        opened(step)


@pytest.mark.parametrize("changed", [{"blocked": True}, {"element_bytes": 1}, {"element_bytes": 2}])
def test_only_floats_out_of_blocks_lie_so(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="floats that are not in blocks"):
        opened(CONVOLUTION, **changed)
