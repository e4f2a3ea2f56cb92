"""Saved networks without Python: a C++ program opens their matrices and runs their programs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support.arrays import needs_native
from support.native import built, write_coded
from support.networks import convolution, pipeline_of, residual_network

import tersely
from tersely.backends.cpu import isa
from tersely.graph import files
from tersely.graph.graph import Graph, Node
from tersely.graph.inputs import handed, kind_of
from tersely.graph.pipeline import Pipeline
from tersely.tensors.tensor import Tensor

pytestmark = needs_native


def written(pipeline: Pipeline, inputs: list[np.ndarray], folder: Path) -> Path:
    """Saved, opened, lowered for these inputs; everything that a program of C++ needs, as files."""
    saved = folder.with_suffix(".safetensors")
    files.save(pipeline, saved)
    opened = tersely.load_pipeline(saved)
    for name in ("inputs", "outputs"):
        (folder / name).mkdir(parents=True)
    program = opened.program(*(one.shape for one in inputs), kinds="".join(map(kind_of, inputs)))
    (folder / "program.json").write_text(json.dumps(program.to_json()))
    places = {}
    for number, name in enumerate(sorted(opened.graph.constants)):
        places[name] = f"constant {number}"
        constant, native = opened.constants[name], opened._native(name)
        if isinstance(native, np.ndarray):
            (folder / places[name]).mkdir()
            native.tofile(folder / places[name] / "numbers")
        else:
            assert isinstance(constant, Tensor)
            write_coded(constant.encoded, folder / places[name])
    (folder / "constants.json").write_text(json.dumps(places))
    for number, one in enumerate(inputs):
        handed(one).tofile(folder / "inputs" / str(number))
    with isa.using("scalar"):
        for number, found in enumerate(opened.run(*inputs)):
            found.tofile(folder / "outputs" / str(number))
    return folder


def images(rng: np.random.Generator) -> tuple[Pipeline, list[np.ndarray]]:
    pipeline = pipeline_of(*residual_network(rng), formulation="split")
    return pipeline, [rng.standard_normal((2, 3, 33, 40)).astype(np.float32)]


def depthwise_and_groups(rng: np.random.Generator) -> tuple[Pipeline, list[np.ndarray]]:
    constants = {
        "a.w": rng.standard_normal((32, 1, 3, 3)).astype(np.float32),
        "b.w": rng.standard_normal((64, 16, 3, 3)).astype(np.float32),
    }
    nodes = (
        convolution("x", "a.w", "a", padding=[1, 1], groups=32, activation="relu6"),
        convolution("a", "b.w", "b", padding=[1, 1], groups=2, activation="silu"),
    )
    pipeline = pipeline_of(Graph(("x",), ("b",), nodes, frozenset(constants)), constants, formulation="split")
    return pipeline, [rng.standard_normal((1, 32, 9, 11)).astype(np.float32)]


def tokens(rng: np.random.Generator) -> tuple[Pipeline, list[np.ndarray]]:
    """Numbers of tokens to a layer of attention; one weight is pruned."""
    table = rng.standard_normal((40, 48)).astype(np.float32)
    constants: dict[str, np.ndarray] = {"table": table}
    nodes = [Node("embedding", {"x": "n", "weight": "table"}, "e")]
    for name in "qkv":
        weight = rng.standard_normal((48, 48)).astype(np.float32)
        weight[rng.random(weight.shape) < (0.8 if name == "v" else 0)] = 0
        constants[f"{name}.w"] = weight
        nodes += [
            Node("linear", {"x": "e", "weight": f"{name}.w"}, name),
            Node("reshape", {"x": name}, f"{name}4", {"shape": [0, 0, 3, 16]}),
            Node("transpose", {"x": f"{name}4"}, f"{name}t", {"axes": [1, 2]}),
        ]
    nodes += [
        Node("attention", {"x": "qt", "k": "kt", "v": "vt"}, "a"),
        Node("transpose", {"x": "a"}, "at", {"axes": [1, 2]}),
        Node("reshape", {"x": "at"}, "b", {"shape": [0, 0, -1]}),
        Node("layer_norm", {"x": "b"}, "c", {"eps": 1e-5}),
        Node("gelu", {"x": "c"}, "y"),
    ]
    graph = Graph(("n",), ("y",), tuple(nodes), frozenset(constants))
    encoded = {name: tersely.encode(one, formulation="split") for name, one in constants.items()}
    encoded["v.w"] = tersely.encode(constants["v.w"], formulation="sparse", positions="bitmap")
    return Pipeline(graph, encoded), [rng.integers(0, 40, (2, 7))]


@pytest.mark.parametrize("make", [images, depthwise_and_groups, tokens])
def test_a_program_of_c_plus_plus_runs_a_saved_network(make: object, tmp_path: Path, rng: np.random.Generator) -> None:
    pipeline, inputs = make(rng)  # type: ignore[operator]
    folder = written(pipeline, inputs, tmp_path / "network")
    run = subprocess.run([built("tersely_native_programs"), folder], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "1 networks\n"


def test_what_is_wrong_is_seen(tmp_path: Path, rng: np.random.Generator) -> None:
    """The test of the test: another result, and a weight that is cut."""
    folder = written(*images(rng), tmp_path / "network")
    program = built("tersely_native_programs")
    found = np.fromfile(folder / "outputs" / "0", np.float32)
    (found * 1.01).astype(np.float32).tofile(folder / "outputs" / "0")
    run = subprocess.run([program, folder], capture_output=True, text=True)
    assert run.returncode == 1
    assert "output 0 differs by" in run.stderr
