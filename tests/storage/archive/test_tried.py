"""`tersely plan --store smallest --explain`: what storing tries for a tensor has the sizes that the file comes out with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from typer.testing import CliRunner

import tersely
from tersely.cli.__main__ import app
from tersely.core.errors import TerselyError
from tersely.files import store_file
from tersely.storage.archive import limits
from tersely.storage.archive.reader import Archive


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    text = np.frombuffer(b"the same words over and over again, " * 3000, np.uint8)
    tensors = {
        "noise": rng.integers(256, size=(300, 400), dtype=np.uint8),
        "text": text,
        "weight": rng.standard_normal((512, 200), np.float32),
        "small": rng.standard_normal(64).astype(np.float32),
        "other": rng.standard_normal(32).astype(np.float32),
        "void": np.zeros((0, 3), np.float32),
    }
    tensors["zcopy"] = tensors["weight"].copy()
    safetensors.numpy.save_file(tensors, tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


@pytest.mark.parametrize("level", ["fast", "max"])
def test_sizes_are_those_of_the_file(source: Path, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BLOCK_ELEMENTS", 1 << 16)  # the weight is cut
    stored = source.with_name(f"{level}.safetensors")
    tersely.compress(source, stored, store="smallest", level=level)
    for path in (source, stored):
        archive = Archive(stored)
        for name in ("noise", "text", "weight"):
            chosen, *others = store_file.explain(path, name, level=level)
            assert chosen.chosen
            assert chosen.nbytes == archive.stored_bytes()[archive.number(name)]
            assert chosen.label.startswith(archive.coder(archive.number(name)))
            assert all(not one.chosen and one.nbytes >= one.chosen_bytes for one in others)
        assert store_file.explain(path, "weight", level=level)[0].note == "2 blocks"


def test_ways_have_their_names(source: Path) -> None:
    def labels(name: str, level: str = "fast") -> list[str]:
        return [one.label for one in store_file.explain(source, name, level=level)]

    assert labels("noise") == ["plain", "ans words"]
    assert labels("text")[0] in ("ans bytes by DEFLATE", "ans bytes by LZMA")
    assert set(labels("text")) == {"plain", "ans words", "ans bytes by DEFLATE", "ans bytes by LZMA"}
    assert labels("weight") == ["ans words", "plain"]
    small = labels("small")
    assert small[0] == "mixing 2 forms"
    assert set(small) == {
        "mixing 2 forms",
        "mixing as one",
        "plain",
        "ans words",
        "ans groups",
        "ans bytes by DEFLATE",
        "ans bytes by LZMA",
    } - ({"ans groups"} - set(small))
    assert labels("zcopy") == ["same as weight"]
    assert set(labels("text", "max")) == {"mixing integers", "mixing bytes", *labels("text")}
    assert store_file.explain(source, "small")[0].note == "a block that 2 small tensors share: its bytes"
    assert store_file.explain(source, "void")[0].note == "empty"
    with pytest.raises(TerselyError, match="no tensor 'nobody'"):
        store_file.explain(source, "nobody")


def run(*arguments: str) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["plan", *arguments])
    return found.exit_code, found.output


def test_the_command_says_it_to_people_and_to_programs(source: Path) -> None:
    code, table = run(str(source), "--store", "smallest", "--explain", "weight")
    assert code == 0
    assert table.splitlines()[0].split() == ["candidate", "size", "why", "it", "lost"]
    assert "x the chosen one's size" in table
    code, text = run(str(source), "--store", "smallest", "--level", "max", "--explain", "text", "--json")
    rows = json.loads(text)
    assert [row["reason_rejected"] for row in rows].count("") == 1
    assert {tuple(row) for row in rows} == {("candidate", "stored_bytes", "reason_rejected", "note")}


def test_a_store_alone_is_refused(source: Path) -> None:
    assert run(str(source), "--store", "smallest")[0] == 2
    assert run(str(source), "--level", "max", "--explain", "weight")[0] == 2
