"""A compressed weight has no dense memory: who asks for it is refused by name, and where others allocate theirs changes nothing."""

from __future__ import annotations

import contextlib
import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch_fixtures import coded, mode, same, two_threads, weight

import tersely
import tersely.torch
from tersely.core.errors import TerselyError


def test_memory_is_refused_by_name(mode: str) -> None:
    w = coded(weight(64, 48), mode)
    for ask in (
        lambda: np.from_dlpack(w),
        lambda: torch.from_dlpack(w),
        lambda: torch.utils.dlpack.to_dlpack(w),
        lambda: torch.to_dlpack(w),
        lambda: torch._C._to_dlpack(w),
        lambda: w.__dlpack__(),
        lambda: w.t().__dlpack__(),
        lambda: tersely.encode(w),
        lambda: tersely.encode(w[:8]),
        lambda: w.storage(),
        lambda: w.numpy(),
        lambda: np.asarray(w),
        lambda: w.data_ptr(),
    ):
        with pytest.raises(TerselyError, match="decod|no dense memory"):
            ask()
    assert not hasattr(type(w), "__dlpack_c_exchange_api__")
    for shown in (w, w.t(), w[:8], w.clone(), w.view(-1)):  # what C++ would be given
        with pytest.raises(RuntimeError, match="data pointer"):
            torch.Tensor.data_ptr(shown) if shown.is_contiguous() else torch._C.TensorBase.data_ptr(shown)


def test_dense_tensors_go_by_the_wrapped_entrances_as_before() -> None:
    x = torch.arange(6.0)
    assert torch.equal(torch.from_dlpack(torch.utils.dlpack.to_dlpack(x)), x)
    assert np.array_equal(np.from_dlpack(x), x.numpy())
    y = torch.zeros(3)
    y.data = x
    assert y.data_ptr() == x.data_ptr() == y.data.data_ptr()
    with pytest.raises(TypeError):
        y.data = "no tensor"


DEFAULTS: dict[str, Callable[[], Any]] = {
    "meta": lambda: torch.device("meta"),
    "meta as default": lambda: _default_device("meta"),
    "double": lambda: _default_dtype(torch.float64),
    "inference": torch.inference_mode,
}


@contextlib.contextmanager
def _default_device(name: str) -> Any:
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@pytest.mark.filterwarnings("ignore:compressed weights are moved")
@pytest.mark.parametrize("default", DEFAULTS)
def test_defaults_of_the_caller_change_nothing(default: str, mode: str, tmp_path: Any) -> None:
    """Memory that codes are decoded into is on the CPU and has the weight's dtype, whatever others wish for theirs."""
    model = nn.Sequential(nn.Linear(64, 48), nn.Conv2d(48, 8, 3), nn.Embedding(50, 64)).requires_grad_(False)
    dense = copy.deepcopy(model)
    x, image, ids = torch.randn(3, 64), torch.randn(1, 48, 5, 5), torch.arange(7)
    every = {"_default": {"minimum_bytes": 0}, "1": {"formulation": "split", "code": "packed", "bits": 4}}
    path = tmp_path / "a.safetensors"
    with DEFAULTS[default]():
        tersely.torch.compress_(model, mode=mode, config=every)
        w = model[0].weight
        found = [
            w.decode(),
            w.norm(),
            w.t() @ w,
            w.clone().decode(),
            w[:9].decode(),
            w.half().decode(),
            w.float().decode(),
        ]
        outputs = [model[0](x), model[1](image), model[2](ids)]
        tersely.torch.save_model(model, path)
        loaded = tersely.torch.load_file(path, mode=mode)
        flat = tersely.torch.unflatten_state_dict(tersely.torch.flatten_state_dict({"w": w, "x": w}), mode=mode)
        again = pickle.loads(pickle.dumps(w))
        w.untyped_storage()
        copy_of = copy.deepcopy(model)
        copy_of[0].weight.copy_(dense[0].weight * 2)
        tersely.torch.decompress_(model)
    d = dense[0].weight
    expected = [d, d.norm(), d.t() @ d, d, d[:9], d.half(), d]
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(found, expected, strict=True))
    for one, layer, given in zip(outputs, dense, (x, image, ids), strict=True):
        assert torch.allclose(one, layer(given), atol=1e-5)
    assert all(torch.equal(tensor + 0, dense.state_dict()[name]) for name, tensor in loaded.items())
    assert all(torch.equal(tensor + 0, d) for tensor in (flat["w"], flat["x"], again))
    assert torch.equal(copy_of[0].weight.decode(), d * 2)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), dense.parameters(), strict=True))


def test_what_others_do_to_memory(mode: str) -> None:
    w, first, second = coded(weight(64, 48), mode), weight(64, 48), weight(64, 48)
    w.copy_(first)
    shallow = copy.copy(w)
    shallow.copy_(second)
    assert same(w, second)
    alias = w.detach()
    alias.data = first  # as of dense tensors: this one alone
    assert same(alias, first)
    assert same(w, second)
    w.copy_(2)
    assert same(w, torch.full((64, 48), 2.0))
    dense = torch.zeros(64, 48)
    for change in (
        lambda: dense.set_(w),
        lambda: dense.set_(w.detach().t()),
        lambda: w.set_(dense),
        lambda: w.apply_(abs),
        lambda: w.map_(dense, max),
        lambda: w.map2_(dense, dense, max),
        lambda: torch.nested.as_nested_tensor(w),
    ):
        with pytest.raises(TerselyError, match="no dense memory|which has none|would write|strided"):
            change()
    assert not dense.any()
    with pytest.raises(RuntimeError):  # torch's: there is one byte, which stands for the weight
        dense.set_(w.untyped_storage(), 0, (2, 2), (2, 1))
