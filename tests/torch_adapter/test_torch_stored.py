"""Stored files opened by the torch adapter: transcoded while they are loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import tersely
import tersely.torch
from tersely.torch import TerselyTensor


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(256, 128), nn.LayerNorm(128), nn.Linear(128, 64, bias=False))


@pytest.fixture
def small(module: nn.Module, tmp_path: Path) -> Path:
    save_file(module.state_dict(), tmp_path / "m.safetensors")
    tersely.compress(tmp_path / "m.safetensors", tmp_path / "s.safetensors", store="smallest")
    return tmp_path / "s.safetensors"


@pytest.mark.parametrize("mmap", [True, False])
def test_tensors_are_compressed_and_dense_ones_may_be_written_to(module: nn.Module, small: Path, mmap: bool) -> None:
    found = tersely.torch.load_file(small, mmap=mmap)
    state = module.state_dict()
    assert isinstance(found["0.weight"], TerselyTensor)
    assert set(found) == set(state)
    for name, tensor in found.items():
        plain = tensor.decode() if isinstance(tensor, TerselyTensor) else tensor
        assert torch.equal(plain, state[name]), name
    found["1.bias"].add_(1)
    assert torch.equal(tersely.torch.load_file(small)["1.bias"], state["1.bias"])


def test_a_module_is_loaded_on_the_meta_device(module: nn.Module, small: Path) -> None:
    with torch.device("meta"):
        empty = nn.Sequential(nn.Linear(256, 128), nn.LayerNorm(128), nn.Linear(128, 64, bias=False))
    tersely.torch.load_model(empty, small, mode="identical")
    x = torch.randn(3, 256)
    with torch.no_grad():
        assert torch.equal(empty(x), module(x))


def test_a_folder_of_stored_shards(module: nn.Module, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    state = module.state_dict()
    first = {name: tensor for name, tensor in state.items() if name.startswith("0")}
    rest = {name: tensor for name, tensor in state.items() if name not in first}
    save_file(first, folder / "model-1.safetensors")
    save_file(rest, folder / "model-2.safetensors")
    weight_map = {name: f"model-{1 if name in first else 2}.safetensors" for name in state}
    (folder / "model.safetensors.index.json").write_text(str({"weight_map": weight_map}).replace("'", '"'))
    tersely.compress(folder, tmp_path / "small", store="smallest")
    again = nn.Sequential(nn.Linear(256, 128), nn.LayerNorm(128), nn.Linear(128, 64, bias=False))
    tersely.torch.load_model(again, tmp_path / "small", mode="identical")
    x = torch.randn(3, 256)
    with torch.no_grad():
        assert torch.equal(again(x), module(x))
