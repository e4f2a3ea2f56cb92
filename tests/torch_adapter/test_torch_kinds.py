"""Tensors of every dtype and every kind in files of tersely.torch: the values that they show, or a refusal by name."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import tersely
import tersely.torch
from tersely.core.dtypes import BY_TAG
from tersely.core.errors import ArgumentError, TerselyError

SIZES = {dtype: torch.empty(1, dtype=dtype).element_size() for dtype in set(safetensors.torch._SIZE)}
DTYPES = sorted(SIZES, key=str)


def bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("mmap", [True, False])
def test_every_dtype_of_the_library_comes_back(dtype: torch.dtype, mmap: bool, tmp_path: Path) -> None:
    raw = torch.randint(0, 2, (4, 8 * SIZES[dtype]), dtype=torch.uint8)
    given = {
        "odd": raw.view(dtype),
        "weight": torch.randn(64, 64, dtype=torch.bfloat16) * 0.02,
        "odd row": raw[:1].clone().view(dtype),
    }
    tersely.torch.save_file(given, tmp_path / "a.safetensors")
    assert bits(safetensors.torch.load_file(tmp_path / "a.safetensors")["odd"]) == bits(given["odd"])
    safetensors.torch.save_file(given, tmp_path / "b.safetensors")
    tersely.compress(tmp_path / "b.safetensors", tmp_path / "c.safetensors", objective="size")
    theirs = safetensors.torch.load_file(tmp_path / "b.safetensors")
    for file in "abc":
        found = tersely.torch.load_file(tmp_path / f"{file}.safetensors", mmap=mmap, on_slow="decode")
        for name, tensor in theirs.items():
            there = found[name].decode() if isinstance(found[name], tersely.torch.TerselyTensor) else found[name]
            assert (there.dtype, there.shape, bits(there)) == (tensor.dtype, tensor.shape, bits(tensor))
        assert not isinstance(found["odd"], tersely.torch.TerselyTensor)
        found["odd"].view(torch.uint8).zero_()  # its pages are private
    assert bits(safetensors.torch.load_file(tmp_path / "b.safetensors")["odd"]) == bits(given["odd"])


LACKING = {"F6_E2M3": (8, 16), "F6_E3M2": (4, 4), "F4": (2, 3)}


@pytest.mark.parametrize("tag", LACKING)
def test_what_torch_cannot_have_is_refused_alone(tag: str, tmp_path: Path) -> None:
    shape = LACKING[tag]
    data = bytes(range(math.prod(shape) * BY_TAG[tag].bits // 8))
    header = {
        "odd": {"dtype": tag, "shape": shape, "data_offsets": [0, len(data)]},
        "norm": {"dtype": "F32", "shape": [3], "data_offsets": [len(data), len(data) + 12]},
    }
    text = json.dumps(header).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + data + torch.arange(3.0).numpy().tobytes())
    with pytest.warns(UserWarning, match=r"a\.safetensors.*left out 'odd'.*tersely.load_file") as warned:
        found = tersely.torch.load_file(path)
    assert warned[0].filename == __file__
    assert list(found) == ["norm"]
    assert torch.equal(found["norm"], torch.arange(3.0))
    with pytest.raises(TerselyError, match=r"a\.safetensors.*'odd'"):
        found["odd"]
    with pytest.raises(KeyError):
        found["other"]
    assert tersely.load_file(path)["odd"].decode().tobytes() == data


def waves() -> Tensor:
    return torch.randn(8, 8, dtype=torch.complex64)


SHOWN: dict[str, Callable[[], Tensor]] = {
    "a conjugate": lambda: waves().conj(),
    "an adjoint": lambda: waves().mH,
    "a negative": lambda: torch._neg_view(torch.randn(8, 8)),
    "the imaginary part of a conjugate": lambda: waves().conj().imag,
    "rows of a conjugate": lambda: waves().conj()[2:5, ::2],
    "a conjugate parameter": lambda: nn.Parameter(waves().conj()),
    "zeros without memory": lambda: torch._efficientzerotensor((8, 8)),
    "expanded": lambda: torch.randn(1, 8).expand(8, 8),
    "expanded from a scalar": lambda: torch.tensor(0.5).expand(8, 8),
    "columns": lambda: torch.randn(8, 16)[:, ::2],
    "turned": lambda: torch.randn(8, 16).t(),
    "windows that overlap": lambda: torch.randn(16).unfold(0, 8, 1),
    "channels last": lambda: torch.randn(2, 8, 4, 4).to(memory_format=torch.channels_last),
    "a subclass without memory of its own": lambda: torch.randn(8, 8).as_subclass(type("Named", (Tensor,), {})),
    "of no elements": lambda: torch.empty(0, 8),
    "of no dimensions": lambda: torch.tensor(1.5),
    "pairs of four bits, turned": lambda: (
        torch.arange(64, dtype=torch.uint8).reshape(8, 8).view(torch.float4_e2m1fn_x2).t()
    ),
}


@pytest.mark.parametrize("what", SHOWN)
def test_what_a_tensor_shows_is_what_is_stored(what: str, tmp_path: Path) -> None:
    tensor = SHOWN[what]()
    wanted = tensor.detach().clone(memory_format=torch.contiguous_format).resolve_conj().resolve_neg()
    tersely.torch.save_file({"w": tensor}, tmp_path / "a.safetensors")
    flat = tersely.torch.flatten_state_dict({"w": tensor, "epoch": 3})
    assert flat["epoch"] == 3
    safetensors.torch.save_file({"w": flat["w"]}, tmp_path / "b.safetensors")
    for file in "ab":
        found = tersely.torch.load_file(tmp_path / f"{file}.safetensors")["w"]
        assert (found.dtype, found.shape, bits(found)) == (wanted.dtype, wanted.shape, bits(wanted))
    if wanted.dtype is not torch.float4_e2m1fn_x2:
        assert bits(tersely.torch.encode(tensor).decode().resolve_conj().resolve_neg()) == bits(wanted)


def in_vmap() -> Tensor:
    seen: list[Tensor] = []
    torch.func.vmap(lambda one: (seen.append(one), one)[1])(torch.randn(3, 3))
    return seen[0]


def fake() -> Tensor:
    with torch._subclasses.FakeTensorMode():
        return torch.randn(8)


def freed(kept_bytes: int) -> Tensor:
    tensor = torch.randn(8)
    tensor.untyped_storage().resize_(kept_bytes)
    return tensor


REFUSED: dict[str, tuple[Callable[[], Tensor], str]] = {
    "COO": (lambda: torch.eye(8).to_sparse(), r"sparse \(COO\).*to_dense"),
    "CSR": (lambda: torch.eye(8).to_sparse_csr(), r"sparse \(CSR\).*to_dense"),
    "CSC": (lambda: torch.eye(8).to_sparse_csc(), r"sparse \(CSC\).*to_dense"),
    "BSR": (lambda: torch.eye(8).to_sparse_bsr((2, 2)), r"sparse \(BSR\).*to_dense"),
    "BSC": (lambda: torch.eye(8).to_sparse_bsc((2, 2)), r"sparse \(BSC\).*to_dense"),
    "a sparse parameter": (lambda: nn.Parameter(torch.eye(8).to_sparse()), r"sparse.*to_dense"),
    "MKL-DNN": (lambda: torch.randn(8, 8).to_mkldnn(), "MKL-DNN.*to_dense"),
    "nested": (lambda: torch.nested.nested_tensor([torch.randn(2), torch.randn(3)]), "nested.*unbind"),
    "jagged": (
        lambda: torch.nested.nested_tensor([torch.randn(2), torch.randn(3)], layout=torch.jagged),
        "NestedTensor|nested.*unbind",
    ),
    "quantised": (lambda: torch.quantize_per_tensor(torch.randn(8), 0.1, 0, torch.qint8), "quantised.*int_repr"),
    "quantised by channel": (
        lambda: torch.quantize_per_channel(torch.randn(8, 8), torch.ones(8), torch.zeros(8), 0, torch.quint8),
        "quantised.*int_repr",
    ),
    "on meta": (lambda: torch.empty(8, device="meta"), "on meta"),
    "of a lazy module": (lambda: nn.LazyLinear(8).weight, "no shape yet.*run the module"),
    "inside vmap": (in_vmap, "torch.func"),
    "a fake": (fake, "FakeTensor"),
    "masked": (lambda: torch.masked.masked_tensor(torch.randn(3), torch.ones(3, dtype=torch.bool)), "MaskedTensor"),
    "freed": (lambda: freed(0), "memory"),
    "freed in part": (lambda: freed(16), "memory"),
    "complex128": (lambda: torch.randn(8, dtype=torch.complex128), "complex128 cannot be stored"),
    "complex32": (lambda: torch.zeros(8, dtype=torch.complex32), "complex32 cannot be stored"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_plain_memory_is_refused_by_name(what: str, tmp_path: Path) -> None:
    make, why = REFUSED[what]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tensor = make()
    with pytest.raises(ArgumentError, match=f"'layer.freqs'.*{why}"):
        tersely.torch.save_file({"fine": torch.ones(3), "layer.freqs": tensor}, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ArgumentError, match=why):
        tersely.torch.encode(tensor)
    if "cannot be stored" not in why:
        with pytest.raises(ArgumentError, match=f"'layer.freqs'.*{why}"):
            tersely.torch.flatten_state_dict({"layer.freqs": tensor})


def test_flattening_leaves_plain_memory_where_it_is() -> None:
    weight = torch.randn(8, 8)
    flat = tersely.torch.flatten_state_dict({"w": weight, "tied": weight})
    assert flat["w"] is weight
    assert flat["tied"] is weight
