"""Batches that run some images at a time: the same bits as each image alone, less memory, nothing beyond it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from support.networks import pipeline_of

from tersely.backends.cpu import native
from tersely.graph import reference
from tersely.graph.graph import Graph, Node
from tersely.graph.lowering import loops
from tersely.graph.pipeline import Pipeline

pytestmark = pytest.mark.kernels


def convolution(x: str, y: str, taps: int = 1, stride: int = 1, groups: int = 1, **more: Any) -> Node:
    inputs = {"x": x, "weight": f"{y}.w", **{role: more.pop(role) for role in ("residual",) if role in more}}
    attributes = {"stride": [stride] * 2, "padding": [taps // 2] * 2, "dilation": [1, 1], "groups": groups}
    return Node("convolution", inputs, y, {**attributes, **more})


NODES = (
    convolution("x", "a", 3, 2),
    Node("max_pool", {"x": "a"}, "p", {"kernel": [3, 3], "stride": [2, 2], "padding": [1, 1], "dilation": [1, 1]}),
    convolution("p", "b", activation="relu6"),
    convolution("b", "c", 3, groups=32, activation="relu6"),
    convolution("c", "d", residual="p", activation="relu"),
    convolution("d", "e", 3, 2),
    convolution("d", "f", 1, 2),
    Node("add", {"x": "e", "z": "f"}, "g"),
    convolution("g", "h", 3, activation="relu"),
    Node("mean", {"x": "h"}, "y", {"axes": [2, 3], "keep": False}),
)
WEIGHTS = {"a": (32, 3, 3, 3), "b": (32, 32, 1, 1), "c": (32, 1, 3, 3), "d": (32, 32, 1, 1), "e": (48, 32, 3, 3),
           "f": (48, 32, 1, 1), "h": (48, 48, 3, 3)}  # fmt: skip


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops for images of few pixels."""
    monkeypatch.setattr(loops, "PIXELS", 50)
    monkeypatch.setattr(loops, "BYTES", 1)
    monkeypatch.setattr(loops, "FITS", 1)


def network() -> tuple[Pipeline, Graph, dict[str, np.ndarray]]:
    rng = np.random.default_rng(3)
    weights = {f"{name}.w": rng.normal(size=size).astype(np.float32) * 0.2 for name, size in WEIGHTS.items()}
    graph = Graph(("x",), ("y", "d"), NODES, frozenset(weights))
    return pipeline_of(graph, weights), graph, weights


def images(count: int) -> np.ndarray:
    return np.random.default_rng(4).normal(size=(count, 3, 42, 36)).astype(np.float32)


@pytest.mark.parametrize("batch", [2, 3, 6, 8])
def test_as_each_image_alone(small: None, each_isa: str, batch: int) -> None:
    pipeline, graph, weights = network()
    x = images(batch)
    program = pipeline.program(x.shape)
    assert program.loops[0].turns == batch, "the first layers run image by image"
    assert program.loops[-1].end < len(program.steps), "the last ones do not"
    found = pipeline.run(x, threads=1)
    for threads in (2, 3):
        for one, other in zip(found, pipeline.run(x, threads=threads), strict=True):
            np.testing.assert_array_equal(one, other)
    for image in range(batch):
        for one, alone in zip(found, pipeline.run(x[image : image + 1]), strict=True):
            np.testing.assert_array_equal(one[image], alone[0])
    for one, expected in zip(found, reference.run(graph, {"x": x}, weights), strict=True):
        np.testing.assert_allclose(one, expected, atol=1e-4)


def test_a_profile_has_all_turns(small: None) -> None:
    pipeline, _, _ = network()
    profile = pipeline.profile(images(4))
    assert {node.node for node in profile.nodes} >= set(WEIGHTS)
    assert all(node.nanoseconds > 0 for node in profile.nodes if node.operator == "convolution")


def test_only_what_is_around_a_loop_is_kept_for_all_images(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    parted = network()[0].program((8, 3, 42, 36)).arena
    monkeypatch.setattr(loops, "PIXELS", 10**9)
    assert parted < network()[0].program((8, 3, 42, 36)).arena / 2


def test_few_numbers_are_not_parted() -> None:
    assert network()[0].program((8, 3, 42, 36)).loops == []
    assert network()[0].program((1, 3, 42, 36)).loops == []


def value(at: int, **more: int) -> dict[str, Any]:
    return {"at": at, "images": 1, "channels": 16, "height": 2, "width": 2, "halo": 0, "blocked": True, **more}


def opened(values: list[dict[str, Any]], found: list[dict[str, int]], arena: int = 384) -> Any:
    steps = [{"operator": "input", "y": 0, "index": 0},
             {"operator": "activate", "x": 0, "y": 1, "activation": "relu"},
             {"operator": "output", "x": 2, "index": 0}]  # fmt: skip
    text = {"version": 1, "arena": arena, "values": values, "steps": steps, "loops": found}
    return native.module.open_program(json.dumps(text), {})


PARTS = {"turns": 4, "each": 64}
SOUND = [value(0), value(64, **PARTS), value(64, images=4)]
LOOP = {"first": 0, "end": 2, "turns": 4}


def test_a_loop_reads_and_writes_the_next_images() -> None:
    x, y = np.random.default_rng(5).normal(size=(4, 16, 2, 2)).astype(np.float32), np.empty((4, 16, 2, 2), np.float32)
    opened(SOUND, [LOOP]).run([x], [y], 2)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    with pytest.raises(ValueError, match="other sizes"):
        opened(SOUND, [LOOP]).run([x[:3]], [y], 2)


@pytest.mark.parametrize(
    ("values", "found", "said"),
    [
        (SOUND, [], "other turns"),
        (SOUND, [{**LOOP, "turns": 3}], "other turns"),
        (SOUND, [{**LOOP, "turns": 0}], "turns is out of range"),
        (SOUND, [{**LOOP, "turns": 2**39}], "other turns|overflow|too large"),
        (SOUND, [{**LOOP, "end": 0}], "end is out of range"),
        (SOUND, [{**LOOP, "first": 2}], "one after another"),
        (SOUND, [{**LOOP, "end": 4}], "one after another"),
        (SOUND, [LOOP, {"first": 1, "end": 3, "turns": 4}], "one after another"),
        ([value(0), value(64, turns=4, each=48), SOUND[2]], [LOOP], "lie over those of the next"),
        ([value(0), value(64, turns=4, each=72), SOUND[2]], [LOOP], "beyond the arena"),
        ([value(0), value(64, turns=4, each=112), SOUND[2]], [LOOP], "beyond the arena"),
        ([value(0), value(64, turns=2**20, each=2**20), SOUND[2]], [LOOP], "beyond the arena"),
        ([value(192), SOUND[1], SOUND[2]], [LOOP], "y lies over x"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_loops_that_do_not_fit_are_refused(values: Any, found: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        opened(values, found)


def test_a_batch_of_any_number_is_parted_at_once() -> None:
    """Divisors of a large prime are not looked for one by one: inputs of nothing but zero strides have such batches."""
    assert loops._divisors(100_000_007) == [1, 100_000_007]
    assert sorted(loops._divisors(36)) == [1, 2, 3, 4, 6, 6, 9, 12, 18, 36]
