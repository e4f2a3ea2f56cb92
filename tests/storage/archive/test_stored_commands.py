"""compress --store, transcode, decompress, verify, inspect, plan: every chain of them leads back to the original."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from support import onnx_files, stored_files
from support.arrays import same_bits
from support.folder_fixtures import content, weights
from typer.testing import CliRunner

import tersely
from tersely.cli.__main__ import app
from tersely.core.errors import ArgumentError, CorruptError, DestinationError, TerselyError
from tersely.files import plan_file
from tersely.files.container.packing import pack_verbatim
from tersely.files.container.reader import PLAN, Reader
from tersely.files.container.writer import Writer
from tersely.files.stored_file import StoredFile


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    return stored_files.write(tmp_path / "m.safetensors", rng)


def stored(source: Path, **options: Any) -> Path:
    """The stored form of a file, beside it."""
    destination = source.with_name("s.safetensors")
    tersely.compress(source, destination, store="smallest", **options)
    return destination


def gives_back(path: Path, source: Path) -> None:
    back = source.with_name("back" + source.suffix)
    tersely.decompress(path, back, force=True)
    assert back.read_bytes() == source.read_bytes()
    assert tersely.verify(path, source).ok


def test_any_chain_gives_the_original_back(source: Path, tmp_path: Path) -> None:
    small = stored(source)
    gives_back(small, source)
    fast, again, faster = (tmp_path / f"{name}.safetensors" for name in ("fast", "again", "faster"))
    report = tersely.transcode(small, fast)
    assert (report.bytes_before, report.bytes_after) == (source.stat().st_size, fast.stat().st_size)
    gives_back(fast, source)
    tersely.transcode(fast, again, store="smallest")
    assert again.read_bytes() == small.read_bytes()
    tersely.transcode(fast, faster, objective="speed", profile="portable")
    assert Reader(faster).facts["objective"] == "speed"
    gives_back(faster, source)
    tersely.transcode(again, tmp_path / "anew.safetensors", store="smallest", level="fast")
    gives_back(tmp_path / "anew.safetensors", source)


def test_a_transcoded_file_is_the_one_that_compress_writes(source: Path, tmp_path: Path) -> None:
    tersely.compress(source, tmp_path / "a.safetensors")
    tersely.transcode(stored(source), tmp_path / "b.safetensors", profile="portable")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_bytes_do_not_depend_on_threads(source: Path) -> None:
    one = stored(source, threads=1).read_bytes()
    assert stored(source, threads=3, force=True).read_bytes() == one


def test_an_onnx_model_comes_back_from_every_form(tmp_path: Path) -> None:
    source = tmp_path / "m.onnx"
    source.write_bytes(onnx_files.everything()[0])
    small, fast, again = stored(source), tmp_path / "fast.safetensors", tmp_path / "again.safetensors"
    gives_back(small, source)
    tersely.compress(source, tmp_path / "direct.safetensors")
    tersely.transcode(small, fast, profile="portable")
    gives_back(fast, source)
    assert fast.read_bytes() == (tmp_path / "direct.safetensors").read_bytes()
    tersely.transcode(fast, again, store="smallest")
    gives_back(again, source)
    tensors = tersely.load_file(small)
    for name, array in onnx_files.everything()[1].items():
        assert same_bits(tensors[name].decode(), array), name


def test_a_plan_travels_with_the_file(source: Path, tmp_path: Path) -> None:
    small = stored(source, objective="size")
    assert StoredFile(small).plan == {"tersely_plan": 1, "objective": "size", "tensors": {}}
    tersely.transcode(small, tmp_path / "fast.safetensors")
    assert Reader(tmp_path / "fast.safetensors").facts["objective"] == "size"
    plan = tersely.make_plan(source, objective="speed")
    plan["tensors"]["block.weight"] |= {"formulation": "dense", "parameters": {}}
    planned = stored(source, plan=plan, force=True)
    assert tersely.load_file(planned)["block.weight"].formulation == "dense"
    tersely.transcode(planned, tmp_path / "again.safetensors", store="smallest")
    assert StoredFile(tmp_path / "again.safetensors").plan == StoredFile(planned).plan
    fast = tmp_path / "planned.safetensors"
    for wishes in ({}, {"objective": "size"}):  # those are for this file: what the stored one carries is not changed
        tersely.transcode(planned, fast, force=True, **wishes)  # type: ignore[arg-type]
        assert Reader(fast).facts["objective"] == wishes.get("objective", "speed")
        gives_back(fast, source)
        tersely.transcode(fast, tmp_path / "once more.safetensors", force=True)
        tersely.transcode(
            tmp_path / "once more.safetensors", tmp_path / "again.safetensors", store="smallest", force=True
        )
        assert (tmp_path / "again.safetensors").read_bytes() == planned.read_bytes()
    tersely.transcode(fast, tmp_path / "other.safetensors", store="smallest", objective="size")
    assert StoredFile(tmp_path / "other.safetensors").plan == {"tersely_plan": 1, "objective": "size", "tensors": {}}
    gives_back(planned, source)
    assert StoredFile(stored(source, force=True)).plan == {}


def test_a_carried_plan_that_is_none(source: Path, tmp_path: Path) -> None:
    for text in (3, "no base64", pack_verbatim(b"[]"), pack_verbatim(b"{")):
        with Writer(tmp_path / "r.safetensors") as writer:
            writer.add_dense("w", "U8", (4,), np.zeros(4, np.uint8))
            writer.write({}, {PLAN: text})
        with pytest.raises(CorruptError, match="the plan that it carries"):
            tersely.transcode(tmp_path / "r.safetensors", tmp_path / "s.safetensors", store="smallest")
    assert not (tmp_path / "s.safetensors").exists()


def test_a_file_that_save_file_wrote_gets_a_header(tmp_path: Path, rng: np.random.Generator) -> None:
    saved = tmp_path / "saved.safetensors"
    array = weights(rng, "w")["w"]
    tersely.save_file({"w": tersely.encode(array), "b": np.arange(4)}, saved, {"x": "y"})
    report = tersely.transcode(saved, tmp_path / "s.safetensors", store="smallest")
    assert "no original header" in report.notes[0]
    with tersely.open(tmp_path / "s.safetensors") as file:
        assert file.metadata == {"x": "y"}
        assert same_bits(file["w"].decode(), array)


def test_large_dense_tensors_are_put_aside(tmp_path: Path, rng: np.random.Generator) -> None:
    source = stored_files.write(tmp_path / "m.safetensors", rng, 700)
    small = stored(source)
    tersely.transcode(small, tmp_path / "dense.safetensors", plan={"tersely_plan": 1, "tensors": _dense(source)})
    gives_back(tmp_path / "dense.safetensors", source)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def _dense(source: Path) -> dict[str, Any]:
    return {name: {"formulation": "dense"} for name in Reader(source).names()}


def test_folders_of_shards(tmp_path: Path, rng: np.random.Generator) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    shards = {"model-1.safetensors": weights(rng, "a", "b"), "model-2.safetensors": weights(rng, "c")}
    weight_map = {name: shard for shard, found in shards.items() for name in found}
    for shard, found in shards.items():
        safetensors.numpy.save_file(found, folder / shard, {"format": "pt"})
    index = {"metadata": {"total_size": 3 * 64 * 64 * 4}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    (folder / "notes.txt").write_text("kept")
    names = [f"{one}" for one in ("small", "fast", "again", "direct")]
    small, fast, again, direct = (tmp_path / name for name in names)
    tersely.compress(folder, small, store="smallest")
    tersely.transcode(small, fast, profile="portable")
    tersely.transcode(fast, again, store="smallest", objective="balanced", profile="portable")
    tersely.compress(folder, direct)
    for path in (small, fast, again):
        back = tmp_path / f"{path.name}-back"
        tersely.decompress(path, back)
        assert content(back) == content(folder), path.name
        assert tersely.verify(path, folder).ok
    assert content(fast) == content(direct)
    tersely.transcode(direct, tmp_path / "plain", store="smallest")
    assert content(tmp_path / "plain") == content(small), "whatever it was made from, on whatever machine"
    tersely.transcode(small, tmp_path / "sized", objective="size", profile="portable")
    tersely.compress(folder, tmp_path / "planned", store="smallest", objective="speed", profile="portable")
    tersely.transcode(tmp_path / "planned", tmp_path / "run")
    tersely.transcode(tmp_path / "run", tmp_path / "back", store="smallest")
    assert content(tmp_path / "back") == content(tmp_path / "planned"), "the plan of each of its files, too"
    assert json.loads((small / "config.json").read_text())["quantization_config"]["store"] == "smallest"
    assert len(tersely.inspect(small).tensors) == 3
    with pytest.raises(TerselyError, match="already compressed"):
        tersely.compress(small, tmp_path / "twice")


def test_inspect_says_what_each_tensor_takes(source: Path) -> None:
    small = stored(source)
    report = tersely.inspect(small)
    assert (report.bytes_before, report.bytes_after) == (source.stat().st_size, small.stat().st_size)
    found = {tensor.name: tensor for tensor in report.tensors}
    assert found["block.bias"].code.startswith("stored ")
    assert found["scalar"].code.endswith(", pooled")
    copies = {found["block.weight"].code, found["block.copy"].code}
    assert copies & {"same as block.copy", "same as block.weight"}
    assert 0.8 * small.stat().st_size < sum(tensor.bytes_after for tensor in report.tensors) < small.stat().st_size


def test_plans_are_made_of_stored_files(source: Path) -> None:
    small = stored(source)
    ours, theirs = tersely.make_plan(small), tersely.make_plan(source)
    assert ours == theirs
    assert (
        plan_file.explain(small, "codes")[0].candidate.nbytes == plan_file.explain(source, "codes")[0].candidate.nbytes
    )


def test_refusals(source: Path, tmp_path: Path) -> None:
    small, other = stored(source), tmp_path / "other.safetensors"
    for refused, message in (
        (lambda: tersely.compress(small, other), "transcode"),
        (lambda: tersely.compress(source, other, level="max"), "level"),
        (lambda: tersely.compress(source, other, store="tiny"), "unknown store"),  # type: ignore[arg-type]
        (lambda: tersely.compress(source, other, store="smallest", level="low"), "unknown level"),  # type: ignore[arg-type]
        (lambda: tersely.compress(source, other, store="smallest", include="*"), "include"),
        (lambda: tersely.compress(source, other, store="smallest", dry_run=True), "dry_run"),
        (lambda: tersely.transcode(source, other), "not compressed"),
        (lambda: tersely.transcode(tmp_path / "none", other), "does not exist"),
        (lambda: tersely.transcode(small, other, level="max"), "level"),
    ):
        with pytest.raises(TerselyError, match=message):
            refused()
    for refused in (
        lambda: tersely.transcode(small, small, force=True),
        lambda: tersely.transcode(small, source),
        lambda: tersely.compress(source, small, store="smallest"),
    ):
        with pytest.raises(DestinationError):
            refused()
    with pytest.raises(ArgumentError):
        tersely.transcode(small, other, threads=0)
    assert not other.exists()


def test_the_command_line(source: Path, tmp_path: Path) -> None:
    small, fast, back = (tmp_path / f"{name}.safetensors" for name in ("small", "fast", "back"))
    for arguments in (
        ["compress", source, "--store", "smallest", "--level", "fast", "-o", small],
        ["transcode", small, "-o", fast, "--objective", "size", "--json"],
        ["transcode", fast, "-o", small, "--store", "smallest", "--force"],
        ["inspect", small, "--tree"],
        ["verify", small, "--against", source],
        ["report", small, "-o", tmp_path / "page.html"],
        ["plan", small, "--explain", "block.weight"],
        ["decompress", small, "-o", back],
    ):
        done = CliRunner().invoke(app, [str(one) for one in arguments])
        assert done.exit_code == 0, (arguments, done.output, done.exception)
    assert back.read_bytes() == source.read_bytes()
