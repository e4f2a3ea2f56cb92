"""State that is no tensor, and folders as a source of weights: kept, found where the index says, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

import tersely
import tersely.torch
from tersely.core.errors import ArgumentError, CorruptError, TerselyError
from tersely.torch import TerselyTensor

SHAPE = (64, 64)


class Keeps(nn.Linear):
    """A layer with state that PyTorch asks it for."""

    def __init__(self, state: Any = None) -> None:
        super().__init__(128, 128)
        self.state = state

    def get_extra_state(self) -> Any:
        return self.state

    def set_extra_state(self, state: Any) -> None:
        self.state = state


KEPT = [
    None,
    True,
    7,
    0.1 + 0.2,
    float("inf"),
    "words \u00e9\u4e2d\U0001f600",
    [],
    {},
    {"amax": 3.5, "history": [1.0, None, [2]], "name": ""},
    torch.tensor(3.5),
    torch.arange(12.0).reshape(3, 4),
    torch.empty(0, dtype=torch.uint8),
]
LOST = [
    (1, 2),
    {1: "a number for a key"},
    {"in": {"a": {3}}},
    b"bytes",
    1j,
    [torch.ones(2)],
    "half a character \ud800",
    torch.device("cpu"),
]


def same(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else type(a) is type(b) and a == b


@pytest.mark.parametrize("state", KEPT, ids=str)
def test_extra_state_comes_back(state: Any, tmp_path: Path) -> None:
    model = nn.Sequential(Keeps(state), Keeps("the other"))
    tersely.torch.compress_(model, progress=False)
    tersely.torch.save_model(model, tmp_path / "m.safetensors", {"mine": "too"})
    again = nn.Sequential(Keeps("untouched"), Keeps())
    tersely.torch.load_model(again, tmp_path / "m.safetensors")
    assert same(again[0].state, state)
    assert again[1].state == "the other"
    assert torch.equal(again[0].weight.decode(), model[0].weight.decode())
    assert tersely.open(tmp_path / "m.safetensors").metadata["mine"] == "too"


@pytest.mark.parametrize("state", LOST, ids=str)
def test_extra_state_that_no_file_keeps_is_refused_by_name(state: Any, tmp_path: Path) -> None:
    model = nn.Sequential(Keeps(1), Keeps(state))
    with pytest.raises(
        ArgumentError, match=f"'1._extra_state' is a {type(state).__name__}.*get_extra_state.*torch.save"
    ):
        tersely.torch.save_model(model, tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


def test_extra_state_is_missed_and_noticed(tmp_path: Path) -> None:
    tersely.torch.save_model(nn.Sequential(Keeps({"a": 1})), tmp_path / "with.safetensors")
    tersely.torch.save_model(nn.Sequential(nn.Linear(128, 128)), tmp_path / "without.safetensors")
    plain, keeps = nn.Sequential(nn.Linear(128, 128)), nn.Sequential(Keeps("mine"))
    with pytest.raises(TerselyError, match="unknown to the module: \\['0._extra_state'\\]"):
        tersely.torch.load_model(plain, tmp_path / "with.safetensors")
    with pytest.raises(TerselyError, match="missing in the file: \\['0._extra_state'\\]"):
        tersely.torch.load_model(keeps, tmp_path / "without.safetensors")
    tersely.torch.load_model(keeps, tmp_path / "without.safetensors", strict=False)
    assert keeps[0].state == "mine"


@pytest.mark.parametrize("text", ["{", "[]", "7"])
def test_a_damaged_note_of_extra_state(text: str, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(128, 128))
    tersely.torch.save_file(model.state_dict(), tmp_path / "m.safetensors", {"tersely_extra_state": text})
    with pytest.raises(CorruptError, match="m.safetensors: the metadata entry 'tersely_extra_state' is damaged"):
        tersely.torch.load_model(model, tmp_path / "m.safetensors")


@pytest.mark.parametrize("value", [3, "text", None, [1.0], {"a": torch.ones(1)}])
def test_a_dictionary_of_more_than_tensors_is_refused_by_name(value: Any, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=f"'step' is a {type(value).__name__}"):
        tersely.torch.save_file({"w": torch.ones(2), "step": value}, tmp_path / "m.safetensors")


# -- folders -----------------------------------------------------------------------------------------------------------


def two() -> nn.ModuleDict:
    return nn.ModuleDict({key: nn.Linear(*SHAPE, bias=False) for key in "ab"})


def values(model: nn.ModuleDict) -> list[float]:
    return [float(model[key].weight.detach()[0, 0]) for key in "ab"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two shards and their index; a has 1 everywhere and b 2."""
    where = tmp_path / "model"
    where.mkdir()
    names = {"a.weight": "model-00001-of-00002.safetensors", "b.weight": "model-00002-of-00002.safetensors"}
    for number, (name, file) in enumerate(names.items(), 1):
        safetensors.torch.save_file({name: torch.full(SHAPE, float(number))}, where / file, {"format": "pt"})
    (where / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return where


@pytest.mark.parametrize("compressed", [False, True])
def test_the_index_says_where_weights_are(folder: Path, tmp_path: Path, compressed: bool) -> None:
    stale = {name: torch.full(SHAPE, -1.0) for name in ("a.weight", "b.weight")}
    safetensors.torch.save_file(stale, folder / "model-00001-of-00003.safetensors")
    second = folder / "model-00002-of-00002.safetensors"
    safetensors.torch.save_file({"b.weight": torch.full(SHAPE, 2.0), "a.weight": stale["a.weight"]}, second)
    if compressed:
        tersely.compress(folder, tmp_path / "packed")
        folder = tmp_path / "packed"
    for place in (folder, folder / "model.safetensors.index.json"):
        model = two()
        tersely.torch.load_model(model, place)
        assert values(model) == [1.0, 2.0]
        assert isinstance(model["a"].weight, TerselyTensor) == compressed
    (folder / "model.safetensors.index.json").unlink()
    model = two()
    before = values(model)
    with pytest.raises(TerselyError, match="both have a tensor 'a.weight', and no index says which"):
        tersely.torch.load_model(model, folder)
    assert values(model) == before


def test_a_shard_that_the_index_names_and_nobody_has(folder: Path) -> None:
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(TerselyError, match="model-00002-of-00002.safetensors does not exist"):
        tersely.torch.load_model(two(), folder)


def test_files_without_an_index_are_put_together(folder: Path) -> None:
    (folder / "model.safetensors.index.json").unlink()
    model = two()
    tersely.torch.load_model(model, folder)
    assert values(model) == [1.0, 2.0]


# -- closed to loaders without us --------------------------------------------------------------------------------------


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_loader_that_does_not_know_us_stops(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    """Even one that asks for no strictness, which would leave every weight as it was."""
    model = nn.Sequential(nn.Linear(128, 128))
    tersely.torch.compress_(model, progress=False)
    tersely.torch.save_model(model, tmp_path / "m.safetensors", metadata)
    foreign = safetensors.torch.load_file(tmp_path / "m.safetensors")
    assert foreign["0.weight"].shape == (0,)
    assert foreign["0.weight"].dtype == torch.float32
    for strict in (False, True):
        with pytest.raises(RuntimeError, match="size mismatch for 0.weight"):
            nn.Sequential(nn.Linear(128, 128)).load_state_dict(foreign, strict=strict)
    back = tersely.torch.unflatten_state_dict(foreign)
    assert torch.equal(back["0.weight"].decode(), model[0].weight.decode())
    safetensors.torch.save_file(foreign, tmp_path / "resaved.safetensors")
    assert torch.equal(
        tersely.torch.load_file(tmp_path / "resaved.safetensors")["0.weight"].decode(), model[0].weight.decode()
    )
    assert list(tersely.load_file(tmp_path / "m.safetensors", check="full")) == ["0.weight", "0.bias"]
