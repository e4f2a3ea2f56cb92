"""The command line as a shell sees it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from support.arrays import normal
from typer.testing import CliRunner

from tersely.backends.cpu import isa
from tersely.cli.__main__ import app
from tersely.core.errors import DestinationError


def tersely(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tersely.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "model.safetensors"
    tensors = {"w": normal(rng, (64, 256), np.dtype(np.float32)), "b": np.zeros(3, np.int32)}
    safetensors.numpy.save_file(tensors, path)
    return path


def test_there_and_back(source: Path, tmp_path: Path) -> None:
    done = tersely("compress", source, "--objective", "size")
    assert done.returncode == 0, done.stderr
    assert "ratio 1.1" in done.stdout
    packed = tmp_path / "model.tersely.safetensors"
    shown = tersely("inspect", packed, "--tree")
    assert "bits/weight" in shown.stdout
    assert "level2" in shown.stdout
    assert tersely("verify", packed, "--against", source).returncode == 0
    assert tersely("decompress", packed, "-o", tmp_path / "back.safetensors").returncode == 0
    assert (
        hashlib.sha256((tmp_path / "back.safetensors").read_bytes()).digest()
        == hashlib.sha256(source.read_bytes()).digest()
    )


def test_without_the_native_module_decompression_still_works(source: Path, tmp_path: Path) -> None:
    assert tersely("compress", source).returncode == 0
    packed = tmp_path / "model.tersely.safetensors"
    done = tersely("decompress", packed, "-o", tmp_path / "back.safetensors", TERSELY_NATIVE="0")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "back.safetensors").read_bytes() == source.read_bytes()
    assert json.loads(tersely("doctor", "--json", TERSELY_NATIVE="0").stdout)["active"] == "reference"


def test_every_command_speaks_json(source: Path, tmp_path: Path) -> None:
    packed = tmp_path / "model.tersely.safetensors"
    plan = json.loads(tersely("compress", source, "--dry-run", "--json").stdout)
    assert plan["dry_run"] is True
    assert not packed.exists()
    report = json.loads(tersely("compress", source, "--json").stdout)
    assert report["bytes_after"] == packed.stat().st_size
    assert {tensor["name"] for tensor in report["tensors"]} == {"w", "b"}
    assert json.loads(tersely("inspect", packed, "--json").stdout)["bytes_before"] == source.stat().st_size
    assert json.loads(tersely("verify", packed, "--json").stdout)["ok"] is True
    assert json.loads(tersely("decompress", packed, "-o", tmp_path / "b.safetensors", "--json").stdout)["ratio"] < 1
    assert json.loads(tersely("doctor", "--json").stdout)["active"] in isa.available()


def test_failures_exit_with_1_and_one_line(source: Path, tmp_path: Path) -> None:
    packed = tmp_path / "model.tersely.safetensors"
    tersely("compress", source)
    for arguments in (
        ("compress", source),
        ("compress", tmp_path / "none.safetensors"),
        ("decompress", source, "-o", tmp_path / "x"),
        ("inspect", tmp_path / "none"),
        ("verify", tmp_path),
    ):
        if arguments[1] == tmp_path:
            packed.write_bytes(packed.read_bytes()[:-5])
        done = tersely(*arguments)
        assert done.returncode == 1, arguments
        assert done.stderr.startswith("tersely: ")
        assert done.stderr.count("\n") == 1
        assert "Traceback" not in done.stderr


def test_a_difference_exits_with_1_and_names_the_tensor(source: Path, tmp_path: Path) -> None:
    tersely("compress", source)
    other = safetensors.numpy.load_file(source)
    other["w"][0, 0] += 1
    safetensors.numpy.save_file(other, tmp_path / "other.safetensors")
    done = tersely("verify", tmp_path / "model.tersely.safetensors", "--against", tmp_path / "other.safetensors")
    assert done.returncode == 1
    assert "of tensor 'w' is the first that differs" in done.stderr


def test_wrong_usage_exits_with_2(source: Path) -> None:
    for arguments in (
        ("compress",),
        ("compress", source, "--objective", "tiny"),
        ("compress", source, "--threads", "0"),
        ("frobnicate",),
        ("decompress", source),
        ("bench", "--shape", "4096"),
    ):
        assert tersely(*arguments).returncode == 2, arguments


def test_isa_is_forced_by_the_environment_and_bad_names_are_errors() -> None:
    for name in isa.available():
        if name != isa.REFERENCE:
            assert json.loads(tersely("doctor", "--json", TERSELY_ISA=name).stdout)["active"] == name
    done = tersely("doctor", TERSELY_ISA="avx9")
    assert done.returncode != 0
    assert "avx9" in done.stderr


def test_doctor_says_who_decided_the_threads() -> None:
    found = json.loads(tersely("doctor", "--json", TERSELY_NUM_THREADS="3").stdout)
    assert (found["threads"], found["threads_decided_by"]) == (3, "TERSELY_NUM_THREADS")
    assert tersely("doctor", TERSELY_NUM_THREADS="zero").returncode == 1


def test_bench_checks_and_reports(source: Path) -> None:
    arguments = (
        "bench",
        "--shape",
        "64x64",
        "--dtype",
        "bfloat16",
        "--working-set",
        "1",
        "--seconds",
        "0.01",
        "--json",
    )
    rows = json.loads(tersely(*arguments).stdout)
    assert {row["stored_as"] for row in rows} >= {"split packed(4)", "split layered(3)"}
    assert all(row["ms"] > 0 and row["dense_ms"] > 0 and row["objective"] for row in rows)
    assert json.loads(tersely("bench", source, "--working-set", "1", "--seconds", "0.01", "--json").stdout)[0][
        "what"
    ].startswith("w ")


def test_documents_never_replace_the_source_nor_anything_unasked(source: Path, tmp_path: Path) -> None:
    before, other, gone = source.read_bytes(), tmp_path / "notes.txt", tmp_path / "none" / "x"
    other.write_text("mine")

    def refusal(*arguments: object) -> str:
        error = CliRunner().invoke(app, [*map(str, arguments)]).exception
        assert isinstance(error, DestinationError), arguments
        return str(error)

    commands = {"plan": ("plan", source), "report": ("report", source), "calibrate": ("calibrate", "--seconds", "0")}
    for name, command in commands.items():
        assert "exists; choose another" in refusal(*command, "-o", other)
        assert "does not exist; make it first" in refusal(*command, "-o", gone)
        assert "is a folder" in refusal(*command, "-o", tmp_path, "--force")
        if name != "calibrate":
            for force in ((), ("--force",)):
                assert "is the source itself" in refusal(*command, "-o", source, *force)
    assert source.read_bytes() == before
    assert other.read_text() == "mine"
    assert tersely("plan", source, "-o", source, "--force").returncode == 1
    for name in ("plan", "report"):
        assert CliRunner().invoke(app, [*map(str, commands[name]), "-o", str(other), "--force"]).exit_code == 0
        assert other.read_text() != "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "notes.txt"]


def test_a_plan_is_no_part_of_the_folder_it_is_for(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    source.rename(folder / "a.safetensors")
    (folder / "m.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": "a.safetensors"}}))
    before = (folder / "a.safetensors").read_bytes()
    for src in (folder, folder / "m.safetensors.index.json"):
        done = CliRunner().invoke(app, ["plan", str(src), "-o", str(folder / "a.safetensors"), "--force"])
        assert isinstance(done.exception, DestinationError)
        assert "lies inside the source folder" in str(done.exception)
    assert (folder / "a.safetensors").read_bytes() == before
