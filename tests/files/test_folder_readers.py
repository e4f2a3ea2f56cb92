"""Shard indexes, and who reads which file of a folder: other libraries, transformers without us. Needs no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from support.folder_fixtures import content, model, there_and_back, weights

import tersely
from tersely.core.errors import CorruptError, TerselyError
from tersely.files import folder as checkpoint

# -- indexes -----------------------------------------------------------------------------------------------------------


def sharded(folder: Path, tensors: dict[str, np.ndarray], variant: str = "") -> Path:
    """A tensor a file, and the index."""
    weight_map = {}
    for number, (name, array) in enumerate(tensors.items(), 1):
        file = f"model{variant}-{number:05}-of-{len(tensors):05}.safetensors"
        safetensors.numpy.save_file({name: array}, folder / file)
        weight_map[name] = file
    index = folder / f"model.safetensors.index{variant}.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return index


@pytest.fixture
def shards(tmp_path: Path, rng: np.random.Generator) -> Path:
    (tmp_path / "shards").mkdir()
    sharded(tmp_path / "shards", weights(rng, "a", "b"))
    return tmp_path / "shards"


@pytest.mark.parametrize("variant", ["", ".fp16"])
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_missing_shard_is_found_before_the_work(
    tmp_path: Path, rng: np.random.Generator, variant: str, dry_run: bool
) -> None:
    sharded(tmp_path, weights(rng, "a", "b"), variant)
    gone = tmp_path / f"model{variant}-00002-of-00002.safetensors"
    gone.unlink()
    seen: list[str] = []
    with pytest.raises(
        TerselyError, match=f"{gone} does not exist, but model.safetensors.index{variant}.json lists it"
    ):
        tersely.compress(
            tmp_path, tmp_path.with_name("packed"), dry_run=dry_run, progress=lambda a, b, c: seen.append(c)
        )
    assert not seen


def test_a_damaged_file_is_found_before_the_work(shards: Path) -> None:
    last = shards / "model-00002-of-00002.safetensors"
    last.write_bytes(last.read_bytes()[:-5])
    seen: list[str] = []
    with pytest.raises(CorruptError, match="model-00002-of-00002.safetensors"):
        tersely.compress(shards, shards.with_name("packed"), progress=lambda done, total, name: seen.append(name))
    assert not seen


@pytest.mark.parametrize("name", ["../outside.safetensors", "/tmp/x.safetensors", "weights.bin"])
def test_an_index_names_files_of_its_folder(shards: Path, name: str) -> None:
    index = shards / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(CorruptError, match="index.json.*lies outside|index.json.*no .safetensors file"):
        tersely.compress(shards, dry_run=True)


def test_the_index_is_the_truth_about_a_tensor_that_two_shards_have(shards: Path, rng: np.random.Generator) -> None:
    second = shards / "model-00002-of-00002.safetensors"
    both = {**safetensors.numpy.load_file(second), "a": np.zeros((64, 64), np.float32)}
    safetensors.numpy.save_file(both, second)
    safetensors.numpy.save_file(weights(rng, "a", "b"), shards / "model-00001-of-00003.safetensors")  # nobody's
    packed = shards.with_name("packed")
    tersely.compress(shards, packed)
    for place in (shards, packed):
        found = checkpoint.loaded_from(place)
        assert {path.name: names for path, names in found.items()} == {
            "model-00001-of-00002.safetensors": {"a"},
            "model-00002-of-00002.safetensors": {"b"},
        }
    weight_map = json.loads((packed / "model.safetensors.index.json").read_text())["weight_map"]
    assert {(checkpoint.tensor_of(key), file) for key, file in weight_map.items()} == {
        ("a", "model-00001-of-00002.safetensors"),
        ("b", "model-00002-of-00002.safetensors"),
    }
    tersely.decompress(packed, shards.with_name("again"))
    assert content(shards.with_name("again")) == content(shards)


def test_where_it_is_not_clear_what_to_load(shards: Path, rng: np.random.Generator) -> None:
    index = shards / "model.safetensors.index.json"
    sharded(shards, weights(rng, "a", "b"), ".fp16")
    assert {path.name for path in checkpoint.loaded_from(shards)} == {
        f"model-0000{k}-of-00002.safetensors" for k in (1, 2)
    }
    found = checkpoint.loaded_from(shards / "model.safetensors.index.fp16.json")
    assert all(".fp16-" in path.name for path in found)
    safetensors.numpy.save_file(weights(rng, "a"), shards / "model.safetensors")
    with pytest.raises(TerselyError, match="model.safetensors beside model.safetensors.index.json"):
        checkpoint.loaded_from(shards)
    (shards / "model.safetensors").unlink()
    index.rename(shards / "model.safetensors.index.int8.json")
    with pytest.raises(TerselyError, match="several shard indexes"):
        checkpoint.loaded_from(shards)


# -- what other libraries read -----------------------------------------------------------------------------------------


def _file(folder: Path, name: str, rng: np.random.Generator, config: dict[str, Any] | None = None) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(weights(rng, "linear.weight"), folder / name)
    if config is not None:
        ((folder / name).parent / "config.json").write_text(json.dumps(config))


def test_layers_and_adapters_beside_a_model_stay_as_they_are(model: Path, rng: np.random.Generator) -> None:
    _file(model, "2_Dense/model.safetensors", rng, {"in_features": 64})
    _file(model, "adapter_model.safetensors", rng)
    (model / "adapter_config.json").write_text("{}")
    modules = [{"path": "", "type": "x.Transformer"}, {"path": "2_Dense", "type": "x.Dense"}]
    (model / "modules.json").write_text(json.dumps(modules))
    report, again = there_and_back(model)
    packed = model.with_name("packed")
    for name, library in (("2_Dense/model", "sentence-transformers"), ("adapter_model", "peft")):
        assert (packed / f"{name}.safetensors").read_bytes() == (model / f"{name}.safetensors").read_bytes()
        assert f"{name}.safetensors stays as it is: {library} reads it" in report.notes
    assert b"quant_method" not in (packed / "2_Dense/config.json").read_bytes()
    assert "SentenceTransformer(" in (packed / "README.md").read_text()
    assert again == content(model)


@pytest.mark.parametrize(
    "name",
    [
        "consolidated.safetensors",
        "original/consolidated.00.safetensors",
        "vocoder/v.safetensors",
        "value_head.safetensors",
    ],
)
def test_other_files_beside_a_model_are_said_to_need_decompressing(
    model: Path, rng: np.random.Generator, name: str
) -> None:
    _file(model, name, rng)
    report, again = there_and_back(model)
    assert any(note.startswith(f"{name}: ") and "decompress" in note for note in report.notes)
    card = (model.with_name("packed") / "README.md").read_text()
    assert f"Decompress it before you use these files, which other programs read: `{name}`" in card
    assert "import tersely.transformers" in card.splitlines()[0]
    assert again == content(model)


WHOLES: dict[str, tuple[str, dict[str, Any]]] = {
    "diffusers": (
        "unet/diffusion_pytorch_model.safetensors",
        {"model_index.json": {}, "unet/config.json": {"_class_name": "U"}},
    ),
    "peft": ("adapter_model.safetensors", {"adapter_config.json": {"r": 8}}),
    "timm": ("model.safetensors", {"config.json": {"architecture": "resnet18", "pretrained_cfg": {}}}),
    "open_clip": ("open_clip_model.safetensors", {"open_clip_config.json": {}}),
    "sentence-transformers": (
        "model.safetensors",
        {"config.json": {"model_type": "model2vec"}, "modules.json": [{"path": ".", "type": "x.StaticEmbedding"}]},
    ),
}


@pytest.mark.parametrize("library", WHOLES)
def test_folders_of_other_libraries_say_so_first(tmp_path: Path, rng: np.random.Generator, library: str) -> None:
    name, documents = WHOLES[library]
    source = tmp_path / "source"
    _file(source, name, rng)
    for file, document in documents.items():
        (source / file).write_text(json.dumps(document))
    report, again = there_and_back(source)
    assert any(note.startswith(f"{name}: {library} reads it") and "decompress" in note for note in report.notes)
    first = (tmp_path / "packed/README.md").read_text().splitlines()
    assert first[0].startswith("> **Decompress this folder before loading it:**")
    assert again == content(source)


def test_a_folder_of_which_nothing_is_known_gets_no_card(tmp_path: Path, rng: np.random.Generator) -> None:
    _file(tmp_path / "source", "weights.safetensors", rng)
    report, again = there_and_back(tmp_path / "source")
    assert again == content(tmp_path / "source")
    assert not (tmp_path / "packed/README.md").exists()
    assert not report.notes


# -- closed to loaders without us --------------------------------------------------------------------------------------


def test_config_json_closes_the_folder_and_remembers_the_name_it_had(model: Path) -> None:
    config = json.loads((model / "config.json").read_text()) | {"transformers_weights": "model.safetensors"}
    (model / "config.json").write_text(json.dumps(config))
    _, again = there_and_back(model)
    assert again == content(model)
    closed = json.loads((model.with_name("packed") / "config.json").read_text())
    assert not closed["transformers_weights"].endswith((".safetensors", ".json"))
    assert "tersely exec" in closed["transformers_weights"]
    assert closed["quantization_config"]["transformers_weights"] == "model.safetensors"
    (model.with_name("packed") / "tersely.json").unlink()  # as save_pretrained leaves a folder
    tersely.decompress(model.with_name("packed"), model.with_name("anew"))
    assert json.loads((model.with_name("anew") / "config.json").read_text()) == config
