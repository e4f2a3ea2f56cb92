"""Saving and loading, every way round."""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from networks import Llama
from torch import nn
from torch_fixtures import compressed, mode, two_threads

import tersely
import tersely.torch
from tersely.backends.cpu import isa
from tersely.core.errors import CorruptError, TerselyError
from tersely.torch import TerselyTensor


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(96, 128), nn.BatchNorm1d(128), nn.Linear(128, 64)).eval()


@pytest.mark.parametrize(("source", "target", "assign"), list(itertools.product([False, True], repeat=3)))
def test_state_dicts_in_all_pairs(
    compressed: Callable[..., Any], mode: str, source: bool, target: bool, assign: bool
) -> None:
    wanted, other = network(), network()
    x = torch.randn(3, 96)
    expected = wanted(x)
    give = compressed(wanted, mode=mode) if source else wanted
    take = compressed(other, mode=mode) if target else other
    take.load_state_dict(give.state_dict(), assign=assign)
    kind = source if assign else target
    assert isinstance(take[0].weight, TerselyTensor) == kind
    assert isinstance(take[0].weight, nn.Parameter)
    assert torch.allclose(take(x), expected, atol=1e-5)
    tersely.torch.decompress_(take)
    assert torch.equal(take[0].weight, wanted[0].weight)


@pytest.mark.filterwarnings("error")
def test_torch_save_with_weights_only(compressed: Callable[..., Any], mode: str, tmp_path: Path) -> None:
    dense = network()
    model = compressed(dense, mode=mode)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    for mmap in (False, True):
        state = torch.load(tmp_path / "model.pt", weights_only=True, mmap=mmap)
        assert type(state["0.weight"]) is type(model[0].weight)
        assert torch.equal(state["0.weight"].decode(), dense[0].weight)
    torch.save(model, tmp_path / "whole.pt")
    whole = torch.load(tmp_path / "whole.pt", weights_only=False)
    x = torch.randn(2, 96)
    assert torch.equal(whole(x), model(x))


@pytest.mark.parametrize("mmap", [True, False])
def test_models_load_on_the_meta_device(compressed: Callable[..., Any], mode: str, mmap: bool, tmp_path: Path) -> None:
    dense = Llama()
    model = compressed(dense, mode=mode)
    path = tmp_path / "model.safetensors"
    tersely.torch.save_model(model, path, {"note": "kept"})
    assert tersely.open(path).metadata == {"note": "kept", "head.weight": "embed.weight"}
    with torch.device("meta"):
        empty = Llama()
    tersely.torch.load_model(empty, path, mode=mode, mmap=mmap)
    tokens = torch.randint(0, 512, (1, 6))
    assert torch.equal(empty(tokens), model(tokens))
    assert empty.head.weight is empty.embed.weight
    assert (
        empty.q.weight.storage_.coded_tensor.encoded.components.keys()
        == model.q.weight.storage_.coded_tensor.encoded.components.keys()
    )
    with torch.no_grad():
        empty.norm1.weight.mul_(2)  # dense tensors of a mapped file may be written to
    tersely.torch.load_model(empty, path, mode=mode, mmap=mmap)
    assert torch.equal(empty(tokens), model(tokens))
    tersely.torch.decompress_(empty)
    assert empty.q.weight.requires_grad
    assert torch.equal(empty.q.weight, dense.q.weight)


def test_a_file_that_does_not_fit_lists_everything(compressed: Callable[..., Any], tmp_path: Path) -> None:
    tersely.torch.save_model(compressed(network()), tmp_path / "a.safetensors")
    other = nn.Sequential(nn.Linear(96, 64), nn.Linear(64, 64), nn.Linear(128, 64))
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(TerselyError) as caught:
        tersely.torch.load_model(other, tmp_path / "a.safetensors")
    for text in ("1.running_mean", "0.weight: the file has [128, 96], the module [64, 96]", "1.weight"):
        assert text in str(caught.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in other.state_dict().items())


def test_a_damaged_file_is_refused(compressed: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tersely.torch.save_model(compressed(network()), path)
    data = bytearray(path.read_bytes())
    data[-2000] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptError, match="checksum"):
        tersely.torch.load_file(path, check="checksums")


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_other_writers_take_flat_state_dicts(compressed: Callable[..., Any], mode: str, tmp_path: Path) -> None:
    dense = network()
    model, path = compressed(dense, mode=mode), tmp_path / "flat.safetensors"
    with pytest.raises(TerselyError, match="flatten_state_dict"):
        safetensors.torch.save_file(model.state_dict(), path)
    safetensors.torch.save_file(tersely.torch.flatten_state_dict(model.state_dict()), path)
    for state in (
        tersely.torch.load_file(path, mode=mode),
        tersely.torch.unflatten_state_dict(safetensors.torch.load_file(path), mode=mode),
    ):
        assert type(state["0.weight"]) is type(model[0].weight)
        fresh = network()
        fresh.load_state_dict(state)
        assert torch.equal(fresh[0].weight, dense[0].weight)
    flat = tersely.torch.flatten_state_dict(model.state_dict())
    del flat["0.weight.tersely.tiles"]
    with pytest.raises(CorruptError, match="tiles"):
        tersely.torch.unflatten_state_dict(flat)


def test_every_dtype_comes_back(tmp_path: Path) -> None:
    tensors = {str(d): torch.randn(32, 32).to(d) for d in (torch.float64, torch.float8_e4m3fn, torch.int16, torch.bool)}
    tensors["bfloat16"] = torch.randn(64, 64).to(torch.bfloat16)
    tensors["coded"] = tersely.torch.encode(tensors["bfloat16"])
    tensors["part"] = tersely.torch.encode(torch.randn(4, 64, 64))[1:3]
    tensors["empty"] = torch.empty(0, 3)
    tersely.torch.save_file(tensors, tmp_path / "a.safetensors")
    back = tersely.torch.load_file(tmp_path / "a.safetensors")
    for name, tensor in tensors.items():
        a, b = (t.decode() if isinstance(t, TerselyTensor) else t for t in (tensor, back[name]))
        assert a.dtype == b.dtype
        assert torch.equal(a.float(), b.float()), name
    assert isinstance(back["coded"], TerselyTensor)


@pytest.mark.parametrize("on_slow", ["keep", "transcode", "decode"])
def test_files_packed_for_a_faster_machine(on_slow: str, tmp_path: Path) -> None:
    dense = torch.randn(64, 64)
    tensors = {"w": tersely.torch.encode(dense, formulation="split", code="layered", widths=(2, 2))}
    tersely.torch.save_file(tensors, tmp_path / "a.safetensors")
    with isa.using("avx2" if "avx2" in isa.available() else "scalar"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        back = tersely.torch.load_file(tmp_path / "a.safetensors", on_slow=on_slow)["w"]
    assert any("slower than dense" in str(w.message) for w in caught) == (on_slow == "keep")
    assert torch.equal(back.decode() if isinstance(back, TerselyTensor) else back, dense)
    assert isinstance(back, TerselyTensor) == (on_slow != "decode")
    if on_slow == "transcode":
        assert "packed" in back.formulation


@pytest.mark.parametrize(("shape", "warned"), [((4096,), False), ((64, 64), True)], ids=["vector", "matrix"])
def test_only_matrices_are_called_slow(shape: tuple[int, ...], warned: bool, tmp_path: Path) -> None:
    """A norm's weights, all ones, have a code without a fast kernel, and nothing multiplies by them."""
    coded = tersely.torch.encode(torch.ones(shape), formulation="split", code="constant")
    tersely.torch.save_file({"w": coded}, tmp_path / "a.safetensors")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tersely.torch.load_file(tmp_path / "a.safetensors")
    assert any("slower than dense" in str(w.message) for w in caught) == warned


@pytest.mark.parametrize("shape", [(96, 64), (3, 96, 64)], ids=["matrix", "stack"])
def test_transposed_weights_are_saved_by_reference(
    mode: str, shape: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense = (torch.randn(shape) * 0.05).to(torch.bfloat16)
    weight = tersely.torch.encode(dense, mode=mode, formulation="split")

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("coded anew")

    with monkeypatch.context() as context:
        context.setattr(tersely.torch.operators.views, "encode", refuse)
        tersely.torch.save_file({"w": weight.mT}, tmp_path / "a.safetensors")
    back = tersely.torch.load_file(tmp_path / "a.safetensors", mode=mode, check="full")["w"]
    assert isinstance(back, TerselyTensor)
    assert (back.shape, back.layout_, back.nbytes_stored) == (weight.mT.shape, "contiguous", weight.nbytes_stored)
    assert torch.equal(back.decode(), dense.mT)
    x = torch.randn(*shape[:-2], 5, shape[-1]).to(torch.bfloat16)
    assert torch.allclose((x @ back).float(), (x @ dense.mT).float(), atol=2e-2)


def test_a_file_of_another_dtype_keeps_it_and_says_so(tmp_path: Path) -> None:
    """Casting would lose bits, and a module that silently is no longer bfloat16 would fail far from here."""
    model = nn.Sequential(nn.Linear(256, 256), nn.LayerNorm(256))
    expected = model[0].weight.detach().clone()
    tersely.torch.compress_(model)
    tersely.torch.save_model(model, tmp_path / "m")
    other = nn.Sequential(nn.Linear(256, 256), nn.LayerNorm(256))
    other[0].bfloat16()
    said = r"2 of 4 tensors .* \(0.weight stays torch.float32, the module had torch.bfloat16\): .*to\(torch.float32\)"
    with pytest.warns(UserWarning, match=said):
        tersely.torch.load_model(other, tmp_path / "m")
    assert other[0].weight.dtype is other[0].bias.dtype is torch.float32
    assert torch.equal(other[0].weight.decode(), expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tersely.torch.load_model(nn.Sequential(nn.Linear(256, 256), nn.LayerNorm(256)), tmp_path / "m")
