"""Weights that a file has once under several names: one memory, ties as the module has them, and no others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn
from torch_fixtures import Tied, compressed, mode, two_threads

import tersely
import tersely.torch
from tersely.core.errors import CorruptError
from tersely.files.container.reader import Reader
from tersely.torch.checkpoint import save_load as storage
from tersely.torch.weight.weight_storage import Dense


@pytest.fixture
def dense(tmp_path: Path) -> tuple[Path, Tied]:
    """A checkpoint that has tied weights under both names."""
    model = Tied(True).bfloat16()
    path = tmp_path / "dense.safetensors"
    safetensors.torch.save_file({name: value.clone() for name, value in model.state_dict().items()}, path)
    return path, model


@pytest.fixture
def packed(dense: tuple[Path, Tied], tmp_path: Path) -> Path:
    tersely.compress(dense[0], tmp_path / "packed.safetensors")
    assert Reader(tmp_path / "packed.safetensors").aliases == {"head.weight": "embed.weight"}
    return tmp_path / "packed.safetensors"


def memory(weight: Any) -> list[int]:
    return [part.data_ptr() for part in weight.storage_.tensors()]


@pytest.mark.parametrize("mmap", [True, False])
def test_names_of_one_weight_share_their_codes_and_are_not_tied(
    packed: Path, dense: tuple[Path, Tied], mode: str, mmap: bool, tmp_path: Path
) -> None:
    found = tersely.torch.load_file(packed, mode=mode, mmap=mmap, check="full")
    assert found["embed.weight"].storage_ is not found["head.weight"].storage_
    assert memory(found["embed.weight"]) == memory(found["head.weight"])
    assert torch.equal(found["head.weight"].decode(), dense[1].head.weight)
    tersely.torch.save_file(found, tmp_path / "again")
    assert Reader(tmp_path / "again").aliases == {"head.weight": "embed.weight"}
    tersely.torch.save_file({**found, "copy": found["embed.weight"].clone()}, tmp_path / "again")
    assert Reader(tmp_path / "again").aliases == {"head.weight": "embed.weight", "copy": "embed.weight"}


@pytest.mark.parametrize("meta", [True, False])
def test_models_keep_their_ties_and_get_no_others(
    packed: Path, dense: tuple[Path, Tied], mode: str, meta: bool, tmp_path: Path
) -> None:
    tokens = torch.arange(7)
    for tied in (True, False):
        with torch.device("meta" if meta else "cpu"):
            model = Tied(tied).bfloat16()
        tersely.torch.load_model(model, packed, mode=mode)
        assert (model.head.weight is model.embed.weight) == tied
        assert (model.head.weight.storage_ is model.embed.weight.storage_) == tied
        assert memory(model.head.weight) == memory(model.embed.weight)
        if mode == "identical":
            assert torch.equal(model(tokens), dense[1](tokens))
        tersely.torch.save_model(model, tmp_path / "saved")
        assert Reader(tmp_path / "saved").aliases == ({} if tied else {"head.weight": "embed.weight"})
        tersely.torch.decompress_(model)
        assert (model.head.weight is model.embed.weight) == tied
        assert torch.equal(model.head.weight, dense[1].head.weight)
        if not tied:
            with torch.no_grad():
                model.head.weight.zero_()
            assert torch.equal(model.embed.weight, dense[1].embed.weight)


def test_flat_dictionaries(packed: Path, dense: tuple[Path, Tied], mode: str) -> None:
    flat = safetensors.torch.load_file(packed)
    found = tersely.torch.unflatten_state_dict(flat, mode=mode)
    assert set(found) == {"embed.weight", "head.weight"}
    assert found["embed.weight"].storage_ is not found["head.weight"].storage_
    assert memory(found["embed.weight"]) == memory(found["head.weight"])
    assert torch.equal(found["head.weight"].decode(), dense[1].head.weight)
    again = tersely.torch.unflatten_state_dict(tersely.torch.flatten_state_dict(found), mode=mode)
    assert torch.equal(again["head.weight"].decode(), dense[1].head.weight)
    shard = {name: value for name, value in flat.items() if name.startswith("head")}
    with pytest.raises(CorruptError, match="state dict, tensor 'head.weight', .*a copy of 'embed.weight', which this"):
        tersely.torch.unflatten_state_dict(shard)


def test_copies_of_dense_tensors_are_parted(tmp_path: Path, mode: str) -> None:
    """Files by others may have them."""
    from dataclasses import replace

    from tersely.files.container import alias, description
    from tersely.files.container.writer import Writer

    array = torch.randn(32, 32).numpy()
    crc = description.crc32(array.tobytes())
    encoded = replace(tersely.encode(array, formulation="dense").encoded, node=alias.node_of("d"), components={})
    with Writer(tmp_path / "m.safetensors") as writer:
        writer.add_dense("d", "F32", array.shape, array.reshape(-1).view("uint8"))
        writer.add_alias("c", "d", encoded, crc)
        writer.write({}, {})
    for found in (
        tersely.torch.load_file(tmp_path / "m.safetensors", mode=mode),
        tersely.torch.unflatten_state_dict(safetensors.torch.load_file(tmp_path / "m.safetensors"), mode=mode),
    ):
        assert set(found) == {"c", "d"}
        found["c"].zero_()
        assert torch.equal(found["d"], torch.from_numpy(array))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("on_slow", ["transcode", "decode"])
def test_weights_that_would_be_slow_here(
    packed: Path, dense: tuple[Path, Tied], on_slow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "slow_here", lambda encoded: True)
    found = tersely.torch.load_file(packed, on_slow=on_slow)
    for tensor in found.values():
        values = tensor.decode() if on_slow == "transcode" else tensor
        assert torch.equal(values, dense[1].head.weight)
    if on_slow == "transcode":
        assert memory(found["embed.weight"]) == memory(found["head.weight"])
        assert not isinstance(found["embed.weight"].storage_, Dense)


def test_copies_in_a_module_are_saved_once_and_stay_copies(
    compressed: Callable[..., Any], mode: str, tmp_path: Path
) -> None:
    import copy

    layer = compressed(nn.Linear(96, 96), mode=mode)
    model = nn.Sequential(layer, copy.deepcopy(layer))
    tersely.torch.save_model(model, tmp_path / "m.safetensors")
    assert Reader(tmp_path / "m.safetensors").aliases == {"1.weight": "0.weight"}
    other = nn.Sequential(nn.Linear(96, 96), nn.Linear(96, 96))
    tersely.torch.load_model(other, tmp_path / "m.safetensors", mode=mode)
    assert other[0].weight.storage_ is not other[1].weight.storage_
    assert torch.equal(other[1].weight.decode(), layer.weight.decode())
