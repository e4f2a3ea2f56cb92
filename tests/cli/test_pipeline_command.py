"""`tersely pipeline`: what it writes and says, in words and as JSON, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.onnx_files import array_tensor, blob, graph, node, number, weights
from typer.testing import CliRunner, Result

import tersely
from tersely.cli.__main__ import app

pytestmark = pytest.mark.kernels


def declared(name: str, *dims: int | str) -> bytes:
    """A ValueInfoProto of float32."""
    shape = b"".join(blob(1, number(1, one) if isinstance(one, int) else blob(2, one)) for one in dims)
    return blob(1, name) + blob(2, blob(1, number(1, 1) + blob(2, shape)))


def model(path: Path, *nodes: bytes) -> Path:
    """Nodes between x [n, 64] and y, written byte by byte; w is a matrix of weights."""
    body = graph(list(nodes), [array_tensor("w", weights((64, 48), "float32", 1))])
    body += blob(11, declared("x", "n", 64)) + blob(12, declared("y"))
    path.write_bytes(number(1, 10) + blob(7, body) + blob(8, number(2, 21)))
    return path


def said(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["pipeline", *map(str, arguments)])


def test_a_model_becomes_a_file_that_runs(tmp_path: Path) -> None:
    source = model(tmp_path / "m.onnx", node("MatMul", ("x", "w"), ("h",)), node("Relu", ("h",), ("y",)))
    result = said(source, "--objective", "size", "--threads", 1)
    assert result.exit_code == 0, result.output
    assert "input x: any x 64" in result.output
    assert "1 node;" in result.output
    x = weights((5, 64), "float32", 2)
    (found,) = tersely.load_pipeline(tmp_path / "m.pipeline.safetensors").run(x)
    np.testing.assert_allclose(found, np.maximum(x @ weights((64, 48), "float32", 1), 0), atol=1e-5)
    assert CliRunner().invoke(app, ["profile", str(tmp_path / "m.pipeline.safetensors"), "--json"]).exit_code == 0


def test_one_json_document(tmp_path: Path) -> None:
    source = model(tmp_path / "m.onnx", node("MatMul", ("x", "w"), ("y",)))
    document = json.loads(said(source, "-o", tmp_path / "n.safetensors", "--json", "--shape", "x=7,64").output)
    assert document["inputs"] == {"x": [None, 64]}
    assert document["outputs"] == ["y"]
    assert document["bytes_after"] <= document["bytes_before"] == 64 * 48 * 4


def test_what_is_there_stays(tmp_path: Path) -> None:
    source = model(tmp_path / "m.onnx", node("MatMul", ("x", "w"), ("y",)))
    (tmp_path / "n.safetensors").write_bytes(b"there")
    assert said(source, "-o", tmp_path / "n.safetensors").exit_code == 1
    assert (tmp_path / "n.safetensors").read_bytes() == b"there"
    assert said(source, "-o", source, "--force").exit_code == 1
    assert said(source, "-o", tmp_path / "n.safetensors", "--force").exit_code == 0


def test_refusals_write_nothing(tmp_path: Path) -> None:
    source = model(tmp_path / "m.onnx", node("Det", ("x",), ("y",)))
    assert said(source).exit_code == 1
    for shape in ("x", "x=0,64", "x=a", "z=1,64"):
        good = model(tmp_path / "g.onnx", node("MatMul", ("x", "w"), ("y",)))
        assert said(good, "--shape", shape).exit_code == 1
    assert not list(tmp_path.glob("*.safetensors"))
