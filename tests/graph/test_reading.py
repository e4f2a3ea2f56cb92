"""Graphs from files: what is written is read, and whatever else bytes say is an error of ours."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arrays import needs_native
from support.networks import pipeline_of, residual_network

from tersely.core.errors import ArgumentError, CorruptError, TerselyError, UnsupportedError
from tersely.files.open import save_file
from tersely.graph import files, reading
from tersely.graph.operators import infer

GRAPH, CONSTANTS = residual_network(np.random.default_rng(1))
TEXT = reading.to_bytes(GRAPH)


def test_what_is_written_is_read() -> None:
    assert reading.from_bytes(TEXT) == GRAPH


def test_dtypes_are_read_with_the_graph() -> None:
    typed = replace(GRAPH, input_dtypes=("bfloat16",), output_dtypes=("float16",) * len(GRAPH.outputs))
    assert reading.from_bytes(reading.to_bytes(typed)) == typed
    assert b"dtypes" not in TEXT


@pytest.mark.parametrize("role", ["input", "output"])
@pytest.mark.parametrize(
    "dtypes", [["float32"] * 5, ["complex64"], [["float32"]], [1], [None], "float32", {"x": "float32"}, 7, None, True]
)
def test_dtypes_that_are_none_are_refused(role: str, dtypes: Any) -> None:
    with pytest.raises(CorruptError, match="dtypes"):
        reading.from_bytes(changed(**{f"{role}_dtypes": dtypes}))


@needs_native
def test_files_hold_every_tensor_and_the_same_network(tmp_path: Path, rng: np.random.Generator) -> None:
    pipeline = pipeline_of(GRAPH, CONSTANTS, formulation="split")
    files.save(pipeline, tmp_path / "net.safetensors")
    loaded = files.load(tmp_path / "net.safetensors")
    x = rng.standard_normal((2, 3, 24, 24)).astype(np.float32)
    assert loaded.run(x)[0].tobytes() == pipeline.run(x)[0].tobytes()
    assert set(loaded.original) == set(CONSTANTS)


@needs_native
def test_a_file_of_weights_alone_is_refused(tmp_path: Path) -> None:
    import tersely

    tersely.save_file({"w": np.zeros(3, np.float32)}, tmp_path / "w.safetensors")
    with pytest.raises(ArgumentError, match="no graph in it"):
        files.load(tmp_path / "w.safetensors")


def changed(**members: Any) -> bytes:
    return json.dumps({**json.loads(TEXT), **members}).encode()


def test_newer_files_need_a_newer_release() -> None:
    with pytest.raises(UnsupportedError, match="newer release"):
        reading.from_bytes(changed(version=2))
    nodes = [{"operator": "lstm", "inputs": {"x": "x"}, "output": "y", "attributes": {}}]
    with pytest.raises(UnsupportedError, match="lstm"):
        reading.from_bytes(changed(nodes=nodes))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "not a graph"),
        (b"[]", "no version"),
        (b'{"version":1}', "a graph has version"),
        (b'{"version":1,"version":1}', "occurs twice"),
        (b"[" * 100_000, "not a graph"),
        (changed(inputs=["x", "x"]), "name of another input"),
        (changed(outputs=["nothing"]), "never computed"),
        (changed(nodes=json.loads(TEXT)["nodes"][::-1]), "is not computed before it"),
        (changed(nodes=json.loads(TEXT)["nodes"] * 2), "is computed twice"),
        (changed(nodes=[{"operator": "relu", "inputs": {"z": "x"}, "output": "y", "attributes": {}}]), "does not take"),
        (
            changed(nodes=[{"operator": "relu", "inputs": {"x": 3}, "output": "y", "attributes": {}}]),
            "no names by role",
        ),
        (
            changed(nodes=[{"operator": "relu", "inputs": {"x": "x"}, "output": "y", "attributes": {"a": [[1]]}}]),
            "an attribute is no number",
        ),
    ],
)
def test_damage_is_named(data: bytes, sentence: str) -> None:
    with pytest.raises(TerselyError, match=sentence):
        reading.from_bytes(data)


@given(st.lists(st.tuples(st.integers(0, len(TEXT) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_are_another_graph_or_an_error(changes: list[tuple[int, int]]) -> None:
    data = bytearray(TEXT)
    for place, value in changes:
        data[place] = value
    shapes = {name: one.shape for name, one in CONSTANTS.items()}
    try:
        graph = reading.from_bytes(bytes(data))
        infer(graph, {"x": (1, 3, 32, 32), **{name: shapes.get(name, (4, 4)) for name in graph.constants}})
    except TerselyError:
        return
    except KeyError as error:
        assert "x" not in graph.inputs, error


@needs_native
@pytest.mark.parametrize("attribute", ["groups", "stride", "padding", "dilation"])
@pytest.mark.parametrize(
    "value", ["missing", None, 0, -1, 2.5, "words", [], [0, 0], [1], [1, 2, 3, 4, 5], [None, None]]
)
def test_attributes_that_mean_nothing_are_refused_or_run(
    tmp_path: Path, rng: np.random.Generator, attribute: str, value: Any
) -> None:
    document = json.loads(TEXT)
    node = next(one for one in document["nodes"] if one["operator"] == "convolution")
    del node["attributes"][attribute]
    if value != "missing":
        node["attributes"][attribute] = value
    tensors = dict(pipeline_of(GRAPH, CONSTANTS, formulation="split").original)
    tensors[files.GRAPH] = np.frombuffer(json.dumps(document).encode(), np.uint8)
    save_file(tensors, tmp_path / "net.safetensors")
    try:
        files.load(tmp_path / "net.safetensors").run(rng.standard_normal((1, 3, 24, 24)).astype(np.float32))
    except TerselyError as error:
        assert str(error)
