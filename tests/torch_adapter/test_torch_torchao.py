"""Models that torchao quantised to int8: the payload is compressed and multiplied as it is, and comes back bit for bit."""

from __future__ import annotations

import copy
import importlib.util
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch_fixtures import two_threads

import tersely.torch
from tersely.torch import Int8Linear, Summary, TerselyTensor
from tersely.torch.weight import multiply
from tersely.torch.weight.coded import Coded

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="needs torchao")


def quantised(dtype: torch.dtype = torch.float32, **options: Any) -> nn.Sequential:
    """Weights with an outlier in each row, so that the others take few of the 255 steps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torchao says on import is its own affair
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Sequential(nn.Linear(512, 256, bias=False)))
    for layer in (model[0], model[2][0]):
        nn.init.normal_(layer.weight, std=0.02)
        with torch.no_grad():
            layer.weight[:, 0] = 0.4
    model.to(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_(model, Int8WeightOnlyConfig(**options))
    assert tersely.torch.modules.torchao.is_payload(model[0].weight)
    return model


def parts(weight: Any) -> dict[str, torch.Tensor]:
    return {name: getattr(weight, name) for name in weight.__tensor_flatten__()[0]}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_outputs_are_at_least_as_exact_as_torchaos(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    model = quantised(dtype)
    layer = model[0]
    real = layer.weight.qdata.double() * layer.weight.scale.double()
    x = torch.randn(5, 256).to(dtype)
    with torch.no_grad():
        theirs, whole = layer(x), model(x)
    exact = nn.functional.linear(x.double(), real, layer.bias.double())
    summary = tersely.torch.compress_(model)
    assert summary.compressed == ("0.weight", "2.0.weight")
    assert summary.bytes_after < summary.bytes_before * 0.9

    def refuse(*_: Any) -> None:
        raise AssertionError("a dense copy was made")

    monkeypatch.setattr(Coded, "decode_into", refuse)
    monkeypatch.setattr(multiply, "scratch", refuse)
    with torch.no_grad():
        ours, after = model[0](x), model(x)
    assert ours.dtype == dtype
    error, allowed = (ours.double() - exact).abs().max(), (theirs.double() - exact).abs().max()
    assert error <= allowed + 1e-6
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype]
    torch.testing.assert_close(after, whole, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("way", ["compressed", "deepcopied", "nothing won"])
def test_layers_come_back_as_they_were(way: str) -> None:
    model = quantised()
    layers, before = [model[0], model[2][0]], [parts(model[0].weight), parts(model[2][0].weight)]
    x = torch.randn(2, 256)
    with torch.no_grad():
        expected = model(x)
    if way == "nothing won":
        with torch.no_grad():
            model[0].weight.qdata.random_(-128, 128)
            before[0] = {**before[0], "qdata": before[0]["qdata"].clone()}
            expected = model(x)
    summary: Summary = tersely.torch.compress_(model)
    assert isinstance(model[2][0], Int8Linear)
    assert isinstance(model[2][0].weight, TerselyTensor)
    assert layers[1].weight is None  # its payload is not kept beside the codes
    if way == "nothing won":
        assert isinstance(model[0], Int8Linear)  # so that a saved model has the same entries whatever was won
        assert type(model[0].weight) is torch.Tensor
        assert summary.skipped["0.weight"].startswith("no code")
    if way == "deepcopied":
        model = copy.deepcopy(model)
        layers = []
    tersely.torch.decompress_(model)
    assert all(model_layer is layer for model_layer, layer in zip((model[0], model[2][0]), layers, strict=False))
    for layer, kept in zip((model[0], model[2][0]), before, strict=True):
        assert type(layer) is nn.Linear
        assert all(torch.equal(tensor, kept[name]) for name, tensor in parts(layer.weight).items())
    with torch.no_grad():
        assert torch.equal(model(x), expected)


def test_saved_models_have_the_entries_of_int8linear(tmp_path: Path) -> None:
    model = quantised()
    x = torch.randn(2, 256)
    tersely.torch.compress_(model)
    tersely.torch.save_model(model, tmp_path / "model.safetensors")
    again = nn.Sequential(Int8Linear(256, 512), nn.ReLU(), nn.Sequential(Int8Linear(512, 256, bias=False)))
    tersely.torch.load_model(again, tmp_path / "model.safetensors")
    assert isinstance(again[0].weight, TerselyTensor)
    with torch.no_grad():
        assert torch.equal(again(x), model(x))


def half_won() -> nn.Sequential:
    """Payloads of which one is too even to be coded."""
    model = quantised()
    with torch.no_grad():
        model[2][0].weight.qdata.random_(-128, 128)
    return model


@pytest.mark.parametrize("prepared", ["as saved", "compressed throughout", "built"])
def test_partly_compressed_models_are_saved_and_loaded(tmp_path: Path, prepared: str) -> None:
    model = half_won()
    with torch.no_grad():
        model[0].weight.scale.mul_(3)  # other scales than those of the model that it is loaded into
    x = torch.randn(2, 256)
    assert tersely.torch.compress_(model).compressed == ("0.weight",)
    with torch.no_grad():
        expected = model(x)
    tersely.torch.save_model(model, tmp_path / "model.safetensors")
    if prepared == "built":
        again = nn.Sequential(Int8Linear(256, 512), nn.ReLU(), nn.Sequential(Int8Linear(512, 256, bias=False)))
    else:
        again = half_won() if prepared == "as saved" else quantised()
        tersely.torch.compress_(again)
    tersely.torch.load_model(again, tmp_path / "model.safetensors")
    assert isinstance(again[0].weight, TerselyTensor)
    assert type(again[2][0].weight) is torch.Tensor
    with torch.no_grad():
        assert torch.equal(again(x), expected)
    if prepared == "built":
        return
    for one in (model, again):
        tersely.torch.decompress_(one)
    for one, other in ((model[0], again[0]), (model[2][0], again[2][0])):
        assert all(torch.equal(tensor, parts(other.weight)[name]) for name, tensor in parts(one.weight).items())


@pytest.mark.parametrize("scales", ["one", "several"])
def test_scales_that_were_loaded_come_back_where_torchao_can_hold_them(scales: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchao.quantization import PerTensor
    model = quantised(granularity=PerTensor())
    tersely.torch.compress_(model)
    scale = torch.full((512,), 0.25) if scales == "one" else torch.rand(512)
    model[0].load_state_dict({**model[0].state_dict(), "scale": scale})
    if scales == "several":
        with pytest.raises(tersely.TerselyError, match="quantised under one scale"):
            tersely.torch.decompress_(model)
        return
    tersely.torch.decompress_(model)
    assert model[0].weight.scale.unique().tolist() == [0.25]


def test_files_that_do_not_fit_name_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(tersely.ArgumentError, match=r"'0\.weight' is a Int8Tensor, which .*compress_ puts"):
        tersely.torch.save_model(quantised(), path)
    model = half_won()
    tersely.torch.compress_(model)
    tersely.torch.save_model(model, path)
    plain = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Sequential(nn.Linear(512, 256, bias=False)))
    for other in (quantised(), plain):
        for strict in (True, False):
            with pytest.raises(tersely.TerselyError, match=r"int8 weights for 0, 2\.0: put .*Int8Linear.*compress_"):
                tersely.torch.load_model(other, path, strict=strict)
    tersely.torch.save_model(plain, path)
    with pytest.raises(tersely.TerselyError, match=r"floats for 0, 2\.0, which are Int8Linear.*from_linear"):
        tersely.torch.load_model(model, path, strict=False)


def test_what_is_left_to_torchao_says_why() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, PerGroup, quantize_

    grouped = quantised(granularity=PerGroup(64))
    assert "scales of groups" in tersely.torch.compress_(grouped).skipped["0.weight"]
    dynamic = nn.Sequential(nn.Linear(256, 512))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_(dynamic, Int8DynamicActivationInt8WeightConfig())
    assert "quantises x as well" in tersely.torch.compress_(dynamic).skipped["0.weight"]
    hooked, shared, alone = quantised(), quantised(), quantised()[0]
    hooked[0].register_forward_hook(lambda *_: None)
    assert "without hooks" in tersely.torch.compress_(hooked).skipped["0.weight"]
    shared.append(nn.Linear(256, 512, bias=False))
    shared[3].weight = shared[0].weight
    assert "shared" in tersely.torch.compress_(shared).skipped["0.weight"]
    assert "the module itself" in tersely.torch.compress_(alone).skipped["weight"]
    excluded = quantised()
    assert tersely.torch.compress_(excluded, exclude="0.*").compressed == ("2.0.weight",)
    assert type(excluded[0]) is nn.Linear


def test_budgets_count_the_payload_and_give_it_back_where_they_cannot_be_kept() -> None:
    model = quantised()
    with pytest.raises(tersely.TerselyError, match="cannot be reached"):
        tersely.torch.compress_(model, target_bits=2)
    assert type(model[0]) is nn.Linear
    assert model[0].weight is not None
    summary = tersely.torch.compress_(model, target_bits=7)
    assert summary.bytes_after * 8 <= 7 * (2 * 256 * 512 + 512)
