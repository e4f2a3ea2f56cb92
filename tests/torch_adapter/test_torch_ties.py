"""Weights in several places: which operations keep them one, as dense weights stay one memory, and which part them."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torch_fixtures import Tied, compressed, mode, two_threads

import tersely
import tersely.torch
from tersely.torch.weight import tersely_tensor as tensors_of_torch


def is_tied(model: Tied) -> bool:
    return model.head.weight.storage_ is model.embed.weight.storage_


def through(state: Any, weights_only: bool = True) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=weights_only)


def test_saved_state_dicts_stay_tied(compressed: Callable[..., Any], mode: str, tmp_path: Path) -> None:
    dense = Tied()
    model = compressed(dense, mode=mode)
    state = through(model.state_dict())
    assert state["head.weight"].storage_ is state["embed.weight"].storage_
    again = Tied()
    again.load_state_dict(state, assign=True)
    assert is_tied(again)
    tersely.torch.save_model(again, tmp_path / "a.safetensors")
    assert set(tersely.load_file(tmp_path / "a.safetensors")) == {"embed.weight"}
    assert is_tied(through(again, weights_only=False))
    assert is_tied(copy.deepcopy(again))
    again.share_memory()
    assert is_tied(again)
    assert again.head.weight.is_shared()
    tersely.torch.decompress_(again)
    assert again.head.weight is again.embed.weight
    assert torch.equal(again.head.weight, dense.head.weight)


def test_a_module_in_two_places_is_saved_once(compressed: Callable[..., Any], mode: str, tmp_path: Path) -> None:
    layer = compressed(nn.Linear(96, 96), mode=mode)
    model, parted = (
        nn.Sequential(layer, nn.ReLU(), layer),
        nn.Sequential(nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 96)),
    )
    tersely.torch.save_model(model, tmp_path / "a.safetensors")
    assert set(tersely.load_file(tmp_path / "a.safetensors")) == {"0.weight", "0.bias"}
    again = copy.deepcopy(model)
    for other in (again, parted):  # the second has no ties: the file says which names are one weight
        tersely.torch.load_model(other, tmp_path / "a.safetensors", mode=mode)
        assert torch.equal(other[2].weight.decode(), layer.weight.decode())
        assert torch.equal(other[2].bias, layer.bias)
    assert again[0] is again[2]


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_other_writers_take_copies_and_keep_ties(compressed: Callable[..., Any], mode: str, tmp_path: Path) -> None:
    weight = compressed(Tied(), mode=mode).head.weight
    state = {"w": weight, "tied": weight, "copy": weight.clone()}
    safetensors.torch.save_file(tersely.torch.flatten_state_dict(state), tmp_path / "a.safetensors")
    found = tersely.torch.load_file(tmp_path / "a.safetensors", mode=mode)
    assert found["w"].storage_ is found["tied"].storage_ is not found["copy"].storage_
    assert all(torch.equal(tensor.decode(), weight.decode()) for tensor in found.values())


def test_two_loads_are_two_weights(compressed: Callable[..., Any], mode: str) -> None:
    state = compressed(Tied(), mode=mode).state_dict()
    one, other = through(state), through(state)
    assert one["head.weight"].storage_ is not other["head.weight"].storage_


def test_copies_are_not_tied(compressed: Callable[..., Any], mode: str, tmp_path: Path) -> None:
    """They share components, which are never written to."""
    model = nn.Sequential(compressed(nn.Linear(96, 96), mode=mode))
    model.append(copy.deepcopy(model[0]))
    weights = [layer.weight for layer in model]
    cloned = weights[0].clone()
    parts = [weight.storage_.tensors()[0] for weight in (*weights, cloned)]
    assert parts[0] is parts[1] is parts[2]
    state = through({"0": weights[0], "1": weights[1], "2": cloned})
    storages = [tensor.storage_ for tensor in (*weights, cloned, *state.values())]
    assert len({id(storage) for storage in storages}) == 6
    tersely.torch.save_model(model, tmp_path / "a.safetensors")
    assert {"0.weight", "1.weight"} <= set(tersely.load_file(tmp_path / "a.safetensors"))
    tersely.torch.decompress_(model)
    with torch.no_grad():
        model[0].weight.zero_()
    assert model[1].weight.count_nonzero() > 0


def test_loading_into_places_that_are_not_tied_does_not_tie_them(compressed: Callable[..., Any], mode: str) -> None:
    source, target = compressed(Tied(), mode=mode), compressed(Tied(tied=False), mode=mode)
    target.load_state_dict(source.state_dict())
    assert not is_tied(target)
    tersely.torch.decompress_(target)
    assert torch.equal(target.head.weight, target.embed.weight)
    assert target.head.weight is not target.embed.weight


def test_deep_copies_of_models_keep_ties_and_codes(compressed: Callable[..., Any], mode: str) -> None:
    model = compressed(Tied(), mode=mode)
    other = copy.deepcopy(model)
    assert other.head.weight is other.embed.weight
    assert other.head.weight.storage_.tensors()[0] is model.head.weight.storage_.tensors()[0]
    assert other.head.weight is not model.head.weight


def test_pickles_of_earlier_releases_load(compressed: Callable[..., Any], mode: str) -> None:
    weight = compressed(Tied(), mode=mode).head.weight
    make, (kind, spec, parts, settings) = weight.__reduce_ex__(2)
    again = make(kind, spec, parts, settings[:4])
    assert make is tensors_of_torch._rebuild
    assert torch.equal(again.decode(), weight.decode())


class Answers(Dataset[Any]):
    def __init__(self, model: Tied) -> None:
        self.model = model

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        with torch.no_grad():
            return self.model(torch.tensor(index)), self.model.head.weight is self.model.embed.weight


def test_spawned_workers_of_a_data_loader(compressed: Callable[..., Any], mode: str) -> None:
    model = compressed(Tied(), mode=mode)
    expected = torch.stack([Answers(model)[index][0] for index in range(4)])
    with torch.no_grad():
        batches = list(DataLoader(Answers(model), batch_size=4, num_workers=1, multiprocessing_context="spawn"))
    ((found, tied),) = batches
    assert torch.allclose(found, expected, atol=1e-6)
    assert tied.all()
