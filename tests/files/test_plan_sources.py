"""Plans and explanations are made of whatever `compress` takes, and of whatever it or `transcode` wrote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from support import onnx_files, pooled_files, stored_files
from typer.testing import CliRunner

import tersely
from tersely.cli.__main__ import app
from tersely.core.errors import ArgumentError, TerselyError
from tersely.files import plan_file, store_file

NAME = "block.weight"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model in every form: a file, a folder, each stored and runnable, and files of other names."""
    root = tmp_path_factory.mktemp("forms")
    model = stored_files.write(root / "m.safetensors", np.random.default_rng(5))
    (root / "plain").mkdir()
    shutil.copy(model, root / "plain/model.safetensors")
    (root / "plain/config.json").write_text('{"model_type": "llama"}')
    for source, name in ((model, "{}.safetensors"), (root / "plain", "{}")):
        tersely.compress(source, root / name.format("small"), store="smallest")
        tersely.compress(source, root / name.format("fast"))
    for name in ("m", "small", "fast"):
        shutil.copy(root / f"{name}.safetensors", root / f"{name}.weights")
    return root


FORMS = ("m.safetensors", "plain", "small.safetensors", "fast.safetensors", "small", "fast")
OTHERS = ("m.weights", "small.weights", "fast.weights")


@pytest.mark.parametrize("form", [*FORMS, *OTHERS])
def test_every_form_gives_the_plan_of_the_original(folder: Path, form: str) -> None:
    original = folder / ("plain" if (folder / form).is_dir() else "m.safetensors")
    assert tersely.make_plan(folder / form) == tersely.make_plan(original)
    found, wanted = (plan_file.explain(path, NAME) for path in (folder / form, original))
    assert [(one.candidate.node, one.candidate.nbytes) for one in found] == [
        (one.candidate.node, one.candidate.nbytes) for one in wanted
    ]
    assert store_file.explain(folder / form, NAME) == store_file.explain(original, NAME)


@pytest.mark.parametrize("form", [*FORMS, *OTHERS])
@pytest.mark.parametrize("words", [[], ["--explain", NAME], ["--explain", NAME, "--store", "smallest"]])
def test_the_command_takes_it(folder: Path, form: str, words: list[str]) -> None:
    done = CliRunner().invoke(app, ["plan", str(folder / form), *words, "--json"])
    assert done.exit_code == 0, done.exception
    assert json.loads(done.output)


def test_a_plan_of_a_compressed_folder_is_one_to_transcode_it_by(folder: Path, tmp_path: Path) -> None:
    plan = tersely.make_plan(folder / "small", objective="size")
    tersely.transcode(folder / "small", tmp_path / "a", plan=plan)
    tersely.compress(folder / "plain", tmp_path / "b", objective="size")
    for name in ("model.safetensors", "tersely.json", "config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


@pytest.mark.parametrize("form", ["small.safetensors", "fast.safetensors", "small", "fast"])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"nobody": {"formulation": "dense"}}, "the plan names 'nobody', which the source does not have"),
        ({NAME: {"formulation": "dense", "shape": [1]}}, f"the plan for '{NAME}' is for shape \\[1\\]"),
        ({NAME: {"formulation": "dense", "dtype": "int8"}}, f"the plan for '{NAME}' is for dtype int8"),
    ],
    ids=["name", "shape", "dtype"],
)
def test_a_plan_for_other_tensors_is_refused(
    folder: Path, tmp_path: Path, form: str, change: dict[str, object], sentence: str
) -> None:
    plan = tersely.make_plan(folder / form)
    plan["tensors"] |= change
    with pytest.raises(ArgumentError, match=sentence):
        tersely.transcode(folder / form, tmp_path / "other", plan=plan)
    assert not (tmp_path / "other").exists()


def test_a_plan_may_name_the_tensors_of_any_shard(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    shards = {
        f"model-0000{k}-of-00002.safetensors": {f"w{k}": rng.normal(size=(128, 64)).astype(np.float32)} for k in (1, 2)
    }
    (tmp_path / "plain").mkdir()
    for name, tensors in shards.items():
        save_file(tensors, tmp_path / "plain" / name)
    places = {tensor: name for name, tensors in shards.items() for tensor in tensors}
    index = {"metadata": {}, "weight_map": places}
    (tmp_path / "plain/model.safetensors.index.json").write_text(json.dumps(index))
    tersely.compress(tmp_path / "plain", tmp_path / "small", store="smallest")
    plan = tersely.make_plan(tmp_path / "small")
    assert set(plan["tensors"]) == set(places)
    tersely.transcode(tmp_path / "small", tmp_path / "fast", plan=plan)
    plan["tensors"]["w3"] = {"formulation": "dense"}
    with pytest.raises(ArgumentError, match="the plan names 'w3'"):
        tersely.transcode(tmp_path / "small", tmp_path / "other", plan=plan)


def test_a_file_of_another_name_is_compressed_too(folder: Path, tmp_path: Path) -> None:
    tersely.compress(folder / "m.weights", tmp_path / "c.safetensors")
    tersely.decompress(tmp_path / "c.safetensors", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (folder / "m.safetensors").read_bytes()
    onnx = tmp_path / "m.onnx"
    onnx.write_bytes(onnx_files.everything()[0])
    assert tersely.make_plan(onnx)["tensors"]
    for content in (b"", b"PK\3\4 a checkpoint of torch", b"{}", (99).to_bytes(8, "little") + b"{"):
        (tmp_path / "x.bin").write_bytes(content)
        for refused in (tersely.make_plan, tersely.compress):
            with pytest.raises(TerselyError, match="convert the weights"):
                refused(tmp_path / "x.bin")


@pytest.mark.parametrize("objective", ["balanced", "size", "speed"])
def test_small_tensors_have_their_share_of_the_pool_in_every_table(
    tmp_path: Path, rng: np.random.Generator, objective: str
) -> None:
    """A plan, a dry run, what `compress` says and what `inspect` reads."""
    model = pooled_files.write(tmp_path / "m.safetensors", rng)
    written = tersely.compress(model, tmp_path / "c.safetensors", objective=objective)  # type: ignore[arg-type]
    inspected = {one.name: one for one in tersely.inspect(tmp_path / "c.safetensors").tensors}
    dry = {one.name: one for one in tersely.compress(model, objective=objective, dry_run=True).tensors}  # type: ignore[arg-type]
    plan = tersely.make_plan(model, objective=objective)["tensors"]  # type: ignore[arg-type]
    pooled = [one for one in written.tensors if one.reason == "small: coded together with others"]
    assert bool(pooled) == (objective != "speed")
    for one in written.tensors:
        assert one.bytes_after == inspected[one.name].bytes_after, one.name
        assert one.components == inspected[one.name].components, one.name
    for one in pooled:
        assert dry[one.name].bytes_after == plan[one.name]["stored_bytes"] == one.bytes_after
        (chosen,) = plan_file.explain(model, one.name, objective=objective)  # type: ignore[arg-type]
        assert chosen.candidate.nbytes == one.bytes_after
    if pooled:
        assert sum(one.bytes_after for one in pooled) < sum(one.bytes_before for one in pooled)
    assert sum(one.bytes_after for one in written.tensors) <= written.bytes_after
