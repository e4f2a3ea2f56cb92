"""Folders: shards, ties, experts, damage, what config.json and README.md say, and the way back byte for byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from families import WIDE, answer, build
from model_fixtures import folders, llama, one_thread
from safetensors import SafetensorError
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

import tersely
from tersely.core.errors import CorruptError, TerselyError
from tersely.torch import TerselyTensor
from tersely.torch.checkpoint import recipes
from tersely.torch.weight import tersely_tensor
from tersely.torch.weight.coded import Coded
from tersely.transformers import TerselyConfig, TerselyHfQuantizer

overrides = pytest.mark.filterwarnings("ignore:You passed `quantization_config`:UserWarning")


def same_folder(a: Path, b: Path) -> bool:
    files = sorted(path.relative_to(a) for path in a.rglob("*") if path.is_file())
    there = sorted(path.relative_to(b) for path in b.rglob("*") if path.is_file())
    return files == there and all((a / name).read_bytes() == (b / name).read_bytes() for name in files)


def test_config_names_the_method_and_decompress_gives_all_files_back(llama: Any, tmp_path: Path) -> None:
    config = json.loads((llama.packed / "config.json").read_text())
    assert config.pop("quantization_config") == {
        "quant_method": "tersely",
        "format": "1.0",
        "objective": "balanced",
        "profile": "portable",
    }
    assert "tersely exec" in config.pop("transformers_weights")
    assert config == json.loads((llama.dense / "config.json").read_text())
    tersely.decompress(llama.packed, tmp_path / "back")
    assert same_folder(llama.dense, tmp_path / "back")
    assert not (tmp_path / "back/README.md").exists()


def test_the_model_card_says_what_to_import_in_its_first_lines(llama: Any, tmp_path: Path) -> None:
    assert "import tersely.transformers" in (llama.packed / "README.md").read_text().splitlines()[0]
    source = tmp_path / "source"
    build("llama", torch.float32).save_pretrained(source)
    card = "---\nlicense: apache-2.0\n---\n# A model\n\nWords.\n"
    (source / "README.md").write_text(card)
    tersely.compress(source, tmp_path / "packed")
    text = (tmp_path / "packed/README.md").read_text()
    head, ours, _ = text.partition("---\n> **Load this folder with `import tersely.transformers`")
    assert head == "---\nlicense: apache-2.0\n"
    assert ours
    assert text.endswith("# A model\n\nWords.\n")
    assert "AutoModelForCausalLM" in text
    tersely.decompress(tmp_path / "packed", tmp_path / "back")
    assert same_folder(source, tmp_path / "back")


def test_shards_load_and_are_saved_as_shards(llama: Any, tmp_path: Path) -> None:
    dense = llama.load(llama.dense)
    dense.save_pretrained(tmp_path / "dense", max_shard_size="100KB")
    assert len(list((tmp_path / "dense").glob("*.safetensors"))) > 2
    tersely.compress(tmp_path / "dense", tmp_path / "packed")
    model = llama.load(tmp_path / "packed")
    found = answer("llama", model)
    assert torch.equal(found, answer("llama", llama.load(llama.packed)))
    model.save_pretrained(tmp_path / "again", max_shard_size="40KB")
    assert len(list((tmp_path / "again").glob("*.safetensors"))) > 2
    again = llama.load(tmp_path / "again")
    assert isinstance(again.lm_head.weight, TerselyTensor)
    assert torch.equal(answer("llama", again), found)
    tersely.decompress(tmp_path / "packed", tmp_path / "back")
    assert same_folder(tmp_path / "dense", tmp_path / "back")


def test_loading_in_inference_mode(llama: Any) -> None:
    with torch.inference_mode():
        model = llama.load(llama.packed)
        assert torch.equal(answer("llama", model), answer("llama", llama.load(llama.packed)))


def test_tied_weights_are_one_and_stored_once(folders: Callable, tmp_path: Path) -> None:
    here = folders("llama-tied")
    model = here.load(here.packed)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    model.save_pretrained(tmp_path / "again")
    names = set(tersely.load_file(tmp_path / "again/model.safetensors"))
    assert names == set(tersely.load_file(here.dense / "model.safetensors"))
    again = here.load(tmp_path / "again")
    assert again.lm_head.weight is again.model.embed_tokens.weight


def test_loading_maps_the_file_and_decodes_nothing(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tersely.torch.weight.coded import Coded

    def refuse(*_: Any) -> None:
        raise AssertionError("decoded while loading")

    with monkeypatch.context() as context:
        context.setattr(Coded, "decode_into", refuse)
        model = llama.load(llama.packed)
    with open("/proc/self/maps") as maps:
        assert str(llama.packed / "model.safetensors") in maps.read()
    weight = model.model.layers[0].mlp.up_proj.weight
    assert not weight.requires_grad
    assert weight.nbytes_stored < weight.numel() * weight.dtype.itemsize


@pytest.mark.parametrize("name", ["mixtral", "qwen3-moe"])
def test_experts_are_merged_while_loading_and_written_as_they_were(
    name: str, folders: Callable, tmp_path: Path
) -> None:
    here = folders(name)
    model = here.load(here.packed)
    experts = [weight for key, weight in model.named_parameters() if ".experts." in key]
    assert experts
    assert all(isinstance(weight, TerselyTensor) for weight in experts)
    assert all(weight.formulation != "dense" for weight in experts)
    model.save_pretrained(tmp_path / "again")
    found = tersely.load_file(tmp_path / "again/model.safetensors")
    before = tersely.load_file(here.dense / "model.safetensors")
    assert set(found) == set(before)
    assert all(found[key].decode().tobytes() == before[key].decode().tobytes() for key in before)
    assert found[next(key for key in found if ".experts." in key)].formulation == "split"


def test_casting_ends_in_the_error_of_transformers(llama: Any) -> None:
    model = llama.load(llama.packed)
    for cast in (model.half, model.float):
        with pytest.raises(ValueError, match="not supported for quantized model"):
            cast()
    assert model.to("cpu") is model
    assert model.to(torch.bfloat16) is model
    assert model.lm_head.weight.formulation != "dense"


def test_another_dtype_while_loading_is_dense_and_says_so(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tersely_tensor, "_said", set())  # it comes once in a process
    with pytest.warns(UserWarning, match="dense weights"):
        model = AutoModelForCausalLM.from_pretrained(llama.packed, dtype=torch.float32)
    assert type(model.lm_head.weight) is torch.nn.Parameter
    assert torch.equal(
        answer("llama", model), answer("llama", AutoModelForCausalLM.from_pretrained(llama.dense, dtype=torch.float32))
    )


def test_a_config_without_dtype(llama: Any, tmp_path: Path) -> None:
    model = build("llama", torch.float32)
    model.save_pretrained(tmp_path / "dense")
    config = json.loads((tmp_path / "dense/config.json").read_text())
    del config["dtype"]
    (tmp_path / "dense/config.json").write_text(json.dumps(config))
    tersely.compress(tmp_path / "dense", tmp_path / "packed")
    assert llama.load(tmp_path / "packed").dtype is torch.float32


def test_dequantize_gives_the_dense_model(llama: Any, tmp_path: Path) -> None:
    model = llama.load(llama.packed)
    model.dequantize()
    assert not [name for name, weight in model.named_parameters() if isinstance(weight, TerselyTensor)]
    assert all(weight.requires_grad for weight in model.parameters())
    model.save_pretrained(tmp_path / "dense")
    assert (tmp_path / "dense/model.safetensors").read_bytes() == (llama.dense / "model.safetensors").read_bytes()
    assert "quantization_config" not in json.loads((tmp_path / "dense/config.json").read_text())


def test_a_dense_folder_is_compressed_on_request(llama: Any, tmp_path: Path) -> None:
    build("llama", torch.bfloat16, **WIDE).save_pretrained(tmp_path / "dense")
    config = TerselyConfig(objective="balanced", mode="identical")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "dense", dtype="auto", quantization_config=config)
    weight = model.model.layers[0].mlp.up_proj.weight
    assert isinstance(weight, TerselyTensor)
    assert torch.equal(answer("llama", model), answer("llama", llama.load(tmp_path / "dense")))
    model.save_pretrained(tmp_path / "again")
    assert isinstance(llama.load(tmp_path / "again").model.layers[0].mlp.up_proj.weight, TerselyTensor)


@overrides
def test_weights_packed_for_a_faster_machine(llama: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tersely.backends.cpu import isa

    tersely.compress(llama.dense, tmp_path / "slow", objective="size")
    with isa.using("scalar"):
        with pytest.warns(UserWarning, match="slower than dense"):
            kept = llama.load(tmp_path / "slow")
        assert "layered" in kept.lm_head.weight.formulation
        assert "packed" in llama.load(tmp_path / "slow", on_slow="transcode").lm_head.weight.formulation
        assert type(llama.load(tmp_path / "slow", on_slow="decode").lm_head.weight) is torch.nn.Parameter


@pytest.mark.parametrize("where", ["config", "text_config"])
def test_a_quantised_folder_is_kept_byte_for_byte_and_refused(where: str, llama: Any, tmp_path: Path) -> None:
    source = tmp_path / "gptq"
    build("llama", torch.float16).save_pretrained(source)
    entry = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    config = json.loads((source / "config.json").read_text())
    (config if where == "config" else config.setdefault("text_config", {}))["quantization_config"] = entry
    (source / "config.json").write_text(json.dumps(config, indent=3))
    tersely.compress(source, tmp_path / "packed")
    document = json.loads((tmp_path / "packed/config.json").read_text())
    assert document["quantization_config"]["quant_method"] == "tersely"
    assert document["quantization_config"]["original"] == entry
    assert "tersely decompress" in (tmp_path / "packed/README.md").read_text().splitlines()[0]
    with pytest.raises(TerselyError, match="quantised with 'gptq'.*tersely decompress"):
        llama.load(tmp_path / "packed")
    tersely.decompress(tmp_path / "packed", tmp_path / "back")
    assert same_folder(source, tmp_path / "back")


def _bytes(*shape: int, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    """Random bits, seen as `dtype`."""
    size = torch.empty(0, dtype=dtype).element_size()
    raw = torch.randint(0, 256, (*shape[:-1], shape[-1] * size), dtype=torch.uint8, generator=torch.Generator())
    return raw.view(dtype)


QUANTISED = {
    "gptq": lambda: {
        "qweight": _bytes(64, 512, dtype=torch.int32),
        "qzeros": _bytes(4, 64, dtype=torch.int32),
        "scales": torch.rand(4, 512).half() * 0.01,
        "g_idx": torch.arange(512, dtype=torch.int32) // 128,
    },
    "awq": lambda: {
        "qweight": _bytes(512, 64, dtype=torch.int32),
        "qzeros": _bytes(4, 64, dtype=torch.int32),
        "scales": torch.rand(4, 512).half() * 0.01,
    },
    "fp8": lambda: {
        "weight": (torch.randn(256, 384) * 8).to(torch.float8_e4m3fn),
        "weight_scale_inv": torch.rand(2, 3),
    },
    "mxfp4": lambda: {"blocks": _bytes(4, 128, 12, 16), "scales": _bytes(4, 128, 12)},
}
"""The tensors of one layer, as each method stores them."""


@pytest.mark.parametrize("method", QUANTISED)
def test_quantised_weights_come_back_byte_for_byte(method: str, llama: Any, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    entry = {"quant_method": method, "modules_to_not_convert": ["lm_head"]}
    config = {**json.loads((llama.dense / "config.json").read_text()), "quantization_config": entry}
    (source / "config.json").write_text(json.dumps(config, indent=3))
    tensors = {f"model.layers.0.mlp.{name}": tensor for name, tensor in QUANTISED[method]().items()}
    tensors["model.embed_tokens.weight"] = (torch.randn(256, 128) * 0.02).bfloat16()
    save_file(tensors, source / "model.safetensors", {"format": "pt"})
    report = tersely.compress(source, tmp_path / "packed")
    assert report.bytes_after < report.bytes_before
    assert tersely.verify(tmp_path / "packed", against=source).ok
    with pytest.raises(TerselyError, match=f"quantised with '{method}'.*tersely decompress"):
        llama.load(tmp_path / "packed")
    tersely.decompress(tmp_path / "packed", tmp_path / "back")
    assert same_folder(source, tmp_path / "back")


@pytest.mark.parametrize("size", ["1GB", "40KB"], ids=["one file", "shards"])
def test_what_save_pretrained_wrote_is_decompressed(size: str, llama: Any, tmp_path: Path) -> None:
    llama.load(llama.packed).save_pretrained(tmp_path / "saved", max_shard_size=size)
    assert not (tmp_path / "saved/tersely.json").exists()
    report = tersely.decompress(tmp_path / "saved", tmp_path / "back")
    assert any("has no tersely.json" in note for note in report.notes)
    config = json.loads((tmp_path / "back/config.json").read_text())
    assert config == json.loads((llama.dense / "config.json").read_text())
    model, dense = llama.load(tmp_path / "back"), llama.load(llama.dense)
    for (name, weight), expected in zip(model.named_parameters(), dense.parameters(), strict=True):
        assert type(weight) is torch.nn.Parameter, name
        assert torch.equal(weight, expected), name
    index = tmp_path / "back/model.safetensors.index.json"
    assert index.exists() == (size == "40KB")
    if index.exists():
        document = json.loads(index.read_text())
        assert set(document["weight_map"]) == {name for name, _ in dense.named_parameters()}
        assert document["metadata"]["total_size"] == sum(weight.nbytes for weight in dense.parameters())


def test_folders_of_others_are_still_not_decompressed(llama: Any, tmp_path: Path) -> None:
    with pytest.raises(TerselyError, match="is not compressed by tersely: it has no tersely.json"):
        tersely.decompress(llama.dense, tmp_path / "back")


def test_a_device_map_of_the_cpu(llama: Any) -> None:
    pytest.importorskip("accelerate", reason="device_map needs accelerate: make test installs it")
    for places in ({"": "cpu"}, "cpu"):
        model = AutoModelForCausalLM.from_pretrained(llama.packed, dtype="auto", device_map=places)
        assert isinstance(model.lm_head.weight, TerselyTensor)
        assert model.lm_head.weight.formulation != "dense"
        assert torch.equal(answer("llama", model), answer("llama", llama.load(llama.packed)))
        base = AutoModel.from_pretrained(llama.packed, dtype="auto", device_map=places)
        assert isinstance(base.layers[0].mlp.up_proj.weight, TerselyTensor)
        words = torch.tensor([[3, 4, 5]])
        with torch.no_grad():
            assert torch.equal(base(words).last_hidden_state, model.model(words).last_hidden_state)


def test_the_dtype_is_the_stored_one(llama: Any) -> None:
    model = AutoModelForCausalLM.from_pretrained(llama.packed)
    assert model.dtype is torch.bfloat16
    assert model.lm_head.weight.formulation != "dense"


@pytest.mark.filterwarnings("ignore:You passed `quantization_config`:UserWarning")
@pytest.mark.parametrize("mode", ["identical", "fused"])
def test_experts_that_the_router_did_not_choose_are_not_touched(
    mode: str, folders: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = folders("mixtral")
    model = here.load(here.packed, mode=mode)
    experts = {
        id(leaf)
        for name, weight in model.named_parameters()
        if ".experts." in name
        for leaf in recipes._leaves(weight.storage_)
    }
    layers, chosen, known = model.config.num_hidden_layers, 2, model.config.num_local_experts
    assert len(experts) == 3 * known * layers
    touched: set[int] = set()
    for name in ("matrix_of_rows", "decode_into"):
        original = getattr(Coded, name)

        def spy(leaf: Coded, *rest: Any, original: Any = original) -> Any:
            touched.add(id(leaf))
            return original(leaf, *rest)

        monkeypatch.setattr(Coded, name, spy)
    with torch.no_grad():
        model(input_ids=torch.tensor([[5]]))
    assert len(touched & experts) == 3 * chosen * layers


@overrides
def test_a_damaged_shard_is_named(llama: Any, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    tersely.compress(llama.dense, packed)
    path = packed / "model.safetensors"
    raw = bytearray(path.read_bytes())
    path.write_bytes(raw[:-100])
    # transformers 4 looks into the file before it asks us.
    with pytest.raises((CorruptError, SafetensorError), match=r"model\.safetensors.*truncated|not fully covered"):
        llama.load(packed)
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(CorruptError, match=r"model\.safetensors.*checksum"):
        llama.load(packed, check="checksums")


def test_wrong_settings_and_places_are_refused(llama: Any) -> None:
    with pytest.raises(tersely.ArgumentError, match="unknown mode 'fast'"):
        TerselyConfig(mode="fast")
    with pytest.raises(TerselyError, match="disk"):
        TerselyHfQuantizer(TerselyConfig()).validate_environment(device_map={"": "disk"})


def test_config_of_a_later_version_and_its_round_trip(llama: Any) -> None:
    config = TerselyConfig.from_dict({"quant_method": "tersely", "format": "1.7", "new": 1, "objective": "size"})
    assert config.to_dict() == {"quant_method": "tersely", "format": "1.7", "objective": "size", "profile": "native"}
    assert AutoConfig.from_pretrained(llama.packed).quantization_config["quant_method"] == "tersely"
