"""`tersely profile`: a table of nodes, JSON, and what it says where it cannot run a network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.arrays import needs_native
from support.networks import pipeline_of, residual_network
from typer.testing import CliRunner

import tersely
from tersely.cli.__main__ import app
from tersely.graph import files

pytestmark = needs_native


@pytest.fixture
def saved(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "net.safetensors"
    files.save(pipeline_of(*residual_network(rng), formulation="split"), path)
    return path


def test_nodes_with_their_weights_and_shares(saved: Path) -> None:
    result = CliRunner().invoke(app, ["profile", str(saved), "--shape", "1,3,32,32", "--runs", "1", "--threads", "1"])
    assert result.exit_code == 0
    assert "convolution" in result.output
    assert "split" in result.output
    assert "1 threads" in result.output


def test_json(saved: Path) -> None:
    result = CliRunner().invoke(app, ["profile", str(saved), "--shape", "2x3x32x32", "--runs", "1", "--json"])
    found = json.loads(result.output)
    assert found["nanoseconds"] == sum(one["nanoseconds"] for one in found["nodes"])
    assert found["nodes"][-1]["shape"] == [2, 48]


def test_a_picture(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.svg"
    arguments = ["profile", str(saved), "--shape", "1,3,32,32", "--runs", "2", "--graph", str(path)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert path.read_text(encoding="utf-8").startswith("<svg ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "does not say what shape 'x' has: give --shape"),
        (["--shape", "1,3"] * 2, "takes 1 input (x)"),
        (["--shape", "one"], "not 'one'"),
    ],
)
def test_shapes_that_are_missing_or_wrong(saved: Path, arguments: list[str], sentence: str) -> None:
    found = tersely_profile(saved, *arguments)
    assert found.returncode == 1
    assert sentence in found.stderr


def test_a_file_without_a_graph(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    tersely.save_file({"w": np.ones((32, 32), np.float32)}, path)
    found = tersely_profile(path)
    assert found.returncode == 1
    assert "no graph in it" in found.stderr
    assert len(found.stderr.splitlines()) == 1


def tersely_profile(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a shell sees it."""
    command = [sys.executable, "-m", "tersely.cli", "profile", str(path), *arguments]
    return subprocess.run(command, capture_output=True, text=True)
