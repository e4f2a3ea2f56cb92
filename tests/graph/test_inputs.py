"""What a network is handed: any array of numbers, and a clear word about everything else, before anything is computed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from support.arrays import needs_native
from support.networks import convolution, pipeline_of, residual_network

import tersely
from tersely.backends.cpu import memory, native, processors
from tersely.core.errors import ArgumentError, TooLargeError
from tersely.graph import files, slow
from tersely.graph.graph import Graph, Node
from tersely.graph.pipeline import Pipeline

pytestmark = needs_native
SHAPE = (2, 3, 24, 20)


@pytest.fixture
def pipeline(rng: np.random.Generator) -> Pipeline:
    return pipeline_of(*residual_network(rng), formulation="split")


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    """Small integers, which every dtype holds."""
    return rng.integers(-3, 4, SHAPE).astype(np.float32)


@pytest.mark.parametrize(
    "seen",
    [
        lambda x: x.astype(np.float64),
        lambda x: x.astype(np.float16),
        lambda x: x.astype(ml_dtypes.bfloat16),
        lambda x: x.astype(np.longdouble),
        lambda x: x.astype(">f4"),
        lambda x: np.asfortranarray(x),
        lambda x: np.repeat(x, 2, axis=3)[..., ::2],
        lambda x: x[:, ::-1][:, ::-1],
        lambda x: x.tolist(),
        lambda x: memoryview(x),
    ],
)
def test_arrays_of_the_same_numbers(seen: Callable[[np.ndarray], Any], pipeline: Pipeline, x: np.ndarray) -> None:
    assert pipeline.run(seen(x))[0].tobytes() == pipeline.run(x)[0].tobytes()


@pytest.mark.parametrize("dtype", [np.int8, np.int32, ">i8", np.int64])
def test_integers_are_their_numbers(dtype: Any, pipeline: Pipeline, x: np.ndarray) -> None:
    np.testing.assert_allclose(pipeline.run(x.astype(dtype))[0], pipeline.run(x)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (lambda x: x.astype(np.complex64), "dtype complex64"),
        (lambda x: x.astype(object), "dtype object"),
        (lambda x: x.astype(str), "dtype <U"),
        (lambda x: x.astype("datetime64[s]"), "dtype datetime64"),
        (lambda x: np.ma.masked_array(x, x > 0), "masked array"),
        (lambda x: [x[0], x[0, :1]], "no array in memory"),
        (lambda x: np.full(SHAPE, 2**63, np.uint64), "beyond 63 bits"),
        (lambda x: np.full(SHAPE, 2**25), r"beyond 2\^24"),
        (lambda x: x[None], "four dimensions"),
        (lambda x: x[:, :2], "does not fit 2 channels"),
        (lambda x: np.float32(1), "four dimensions"),
        (lambda x: None, "dtype object"),
    ],
)
def test_what_is_no_input(given: Callable[[np.ndarray], Any], sentence: str, pipeline: Pipeline, x: np.ndarray) -> None:
    for run in (pipeline.run, pipeline.profile):
        with pytest.raises(ArgumentError, match=sentence):
            run(given(x))


def test_no_images_give_no_results(pipeline: Pipeline) -> None:
    (found,) = pipeline.run(np.zeros((0, 3, 24, 20), np.float32))
    assert found.shape == (0, 48)
    with pytest.raises(ArgumentError, match="does not fit into"):
        pipeline.run(np.zeros((1, 3, 0, 20), np.float32))
    with pytest.raises(ArgumentError, match="have no profile"):
        pipeline.profile(np.zeros((0, 3, 24, 20), np.float32))
    pooled = Graph(("x",), ("y",), (Node("mean", {"x": "x"}, "y", {"axes": [0], "keep": False}),), frozenset())
    with pytest.raises(ArgumentError, match="have no numbers, and the result has"):
        Pipeline(pooled, {}).run(np.zeros((0, 4), np.float32))


@pytest.mark.parametrize("member", ["images", "channels", "height", "width"])
def test_programs_of_values_without_a_number_are_refused(member: str) -> None:
    value = {"at": 0, "images": 1, "channels": 16, "height": 2, "width": 2, "halo": 0, "blocked": True, member: 0}
    text = {"version": 1, "arena": 1024, "values": [value], "steps": []}
    with pytest.raises(ValueError, match=f"{member} is out of range"):
        native.module.open_program(json.dumps(text), {})


@pytest.mark.parametrize("shape", [(100_000, 3, 224, 224), (1, 3, 10**5, 10**5)])
def test_what_memory_does_not_hold_is_refused_before_it_is_taken(shape: tuple[int, ...], pipeline: Pipeline) -> None:
    with pytest.raises(TooLargeError, match="needs .* GB .the largest value, of '[ay]'.*: run fewer or smaller images"):
        pipeline.run(np.broadcast_to(np.float16(0), shape))


def test_the_limit_is_what_the_process_may_have(
    pipeline: Pipeline, x: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "limit_bytes", lambda: 10_000)
    with pytest.raises(TooLargeError, match=r"the network needs 0\.\d MB \(the largest value"):
        pipeline.run(x)


def test_limits_of_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory.max").write_text("123456\n")
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("99999\n")
    groups = [processors.Group(tmp_path, 2)]
    monkeypatch.setattr(memory, "groups", lambda: groups)
    assert memory.limit_bytes.__wrapped__() == 123456
    groups.append(processors.Group(tmp_path / "cpu", 1))
    assert memory.limit_bytes.__wrapped__() == 99999
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory" / "memory.limit_in_bytes").unlink()
    assert memory.limit_bytes.__wrapped__() > 10**8


def test_a_system_that_gives_no_more(pipeline: Pipeline, x: np.ndarray) -> None:
    class Full:
        def run(self, *given: object) -> None:
            raise MemoryError

    pipeline.run(x)
    key = next(iter(pipeline._programs))
    pipeline._programs[key] = pipeline._programs[key][0], Full()
    with pytest.raises(TooLargeError, match="the system gives no more"):
        pipeline.run(x)


def test_steps_that_the_executor_refuses_are_named_by_their_node(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "limit_bytes", lambda: 1 << 60)
    weight = rng.standard_normal((16, 16, 1, 1)).astype(np.float32)
    pipeline = pipeline_of(Graph(("x",), ("first",), (convolution("x", "w", "first"),), frozenset("w")), {"w": weight})
    with pytest.raises(ArgumentError, match="first: an image has more floats than 31 bits"):
        pipeline.program((1, 16, 12000, 12000))


def test_without_the_native_module(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, constants = residual_network(rng)
    monkeypatch.setattr(native, "module", None)
    with pytest.raises(ArgumentError, match="networks run in the native module"):
        Pipeline(graph, constants)


def saved_rows(tmp_path: Path, rng: np.random.Generator, rows: int) -> Path:
    """A file of one product that so many rows share."""
    nodes = (Node("linear", {"x": "x", "weight": "w"}, "y"),)
    graph = Graph(("x",), ("y",), nodes, frozenset("w"), {"x": (rows, 64)})
    weight = rng.standard_normal((48, 64)).astype(np.float32)
    files.save(pipeline_of(graph, {"w": weight}, formulation="split"), tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def test_files_of_codes_that_are_slow_here_are_run_with_a_word(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow, "slow_here", lambda checked: True)
    few = saved_rows(tmp_path, rng, 1)
    with pytest.warns(UserWarning, match="1 of its weights .w. have codes that this machine multiplies more slowly"):
        pipeline = tersely.load_pipeline(few)
    assert pipeline.run(np.ones((1, 64), np.float32))[0].shape == (1, 48)
    tersely.load_pipeline(saved_rows(tmp_path, rng, 64))  # decoding is shared: no warning, which would be an error
