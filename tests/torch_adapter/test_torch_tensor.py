"""The tensor itself: truth about itself, views, writes, moves, copies, bad input."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_fixtures import coded, compressed, mode, same, two_threads, under, weight

import tersely.torch
from tersely.core.errors import ArgumentError, TerselyError
from tersely.torch import FusedTensor, TerselyTensor
from tersely.torch.weight import tersely_tensor as tensor_module

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@pytest.fixture
def fresh_warnings() -> Iterator[None]:
    """Warnings that come once come again."""
    before = set(tensor_module._said)
    tensor_module._said.clear()
    yield
    tensor_module._said.update(before)


def test_it_tells_the_truth(mode: str) -> None:
    dense = weight(96, 64, dtype=torch.bfloat16)
    tensor = coded(dense, mode)
    assert (tensor.shape, tensor.dtype, tensor.device, tensor.stride()) == (
        (96, 64),
        torch.bfloat16,
        dense.device,
        (64, 1),
    )
    assert tensor.is_contiguous()
    assert not tensor.t().is_contiguous()
    assert "split packed(4)" in repr(tensor)
    assert f"mode={mode}" in repr(tensor)
    assert 1.2 < tensor.ratio < 1.4
    assert not tensor.requires_grad
    assert isinstance(nn.Parameter(tensor, requires_grad=False), nn.Parameter)


def products(x: Any, y: Any, w: Any, s: Any, dense: Any, stack: Any, bias_in: Any, bias_out: Any) -> list[Any]:
    """Pairs of products that must be equal: by the codes, and by the dense weight."""
    return [
        (F.linear(x, w), F.linear(x, dense)),
        (F.linear(x, w, bias_out), F.linear(x, dense, bias_out)),
        (F.linear(y, w.t(), bias_in), F.linear(y, dense.t(), bias_in)),
        (y @ w, y @ dense),
        (x @ w.T, x @ dense.T),
        (torch.mm(y, w), torch.mm(y, dense)),
        (torch.addmm(bias_in, y, w), torch.addmm(bias_in, y, dense)),
        (torch.addmm(bias_out, x, w.mT), torch.addmm(bias_out, x, dense.mT)),
        (torch.addmm(bias_in, y, w, beta=0.5, alpha=2), torch.addmm(bias_in, y, dense, beta=0.5, alpha=2)),
        (torch.mv(w, x[0]), torch.mv(dense, x[0])),
        (y[0] @ w, y[0] @ dense),
        (x.t().contiguous().t() @ w.t(), x @ dense.t()),
        (torch.bmm(y.expand(3, -1, -1), s), torch.bmm(y.expand(3, -1, -1), stack)),
        (y.expand(3, -1, -1) @ s, y.expand(3, -1, -1) @ stack),
        (F.linear(x, s[1]), F.linear(x, stack[1])),
    ]


@pytest.mark.parametrize("options", [{"code": "packed"}, {"code": "layered", "widths": (2, 2)}])
@pytest.mark.parametrize("dtype", DTYPES)
def test_products_in_either_orientation(dtype: Any, options: dict[str, Any], under: Callable[[], Any]) -> None:
    dense, bias_out, bias_in = weight(80, 72, dtype=dtype), weight(80, dtype=dtype), weight(72, dtype=dtype)
    stack = weight(3, 80, 72, dtype=dtype)
    for orientation in ("out_in", "in_out"):
        w = coded(dense, orientation=orientation, **options)
        s = coded(stack, **options)
        for batch in (1, 2, 5, 9, 17, 40):
            x, y = weight(batch, 72, dtype=dtype) * 20, weight(batch, 80, dtype=dtype) * 20
            with under():
                pairs = products(x, y, w, s, dense, stack, bias_in, bias_out)
            tolerance = 1e-5 if dtype is torch.float32 else 2e-2
            for place, (actual, expected) in enumerate(pairs):
                assert actual.dtype == expected.dtype
                assert torch.allclose(actual.float(), expected.float(), atol=tolerance, rtol=tolerance), (place, batch)


def test_products_of_many_rows_use_panels_and_the_tile_loop_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    from tersely.tensors import handoff

    dense, bias = weight(1040, 320), weight(1040)
    x = torch.randn(40, 320)
    tiles = F.linear(x, coded(dense), bias)
    monkeypatch.setattr(handoff, "torch_max_rows", lambda dtype: 8)
    monkeypatch.setattr(handoff, "TORCH_BLOCK_BYTES", 1 << 16)
    for options in ({"orientation": "out_in"}, {"orientation": "in_out"}):
        panels = F.linear(x, coded(dense, **options), bias)
        assert torch.allclose(tiles, panels, atol=1e-5)
        assert torch.allclose(F.linear(x, dense, bias), panels, atol=1e-5)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    w, x = coded(weight(512, 300)), torch.randn(3, 300)
    torch.set_num_threads(1)
    one = F.linear(x, w)
    torch.set_num_threads(2)
    assert torch.equal(one, F.linear(x, w))


def test_embeddings_pick_rows(under: Callable[[], Any]) -> None:
    dense = weight(500, 48)
    w = coded(dense)
    for indices in (torch.tensor(7), torch.randint(0, 500, (3, 40)), torch.randint(0, 500, (9,), dtype=torch.int32)):
        with under():
            assert same(F.embedding(indices, w, padding_idx=3), F.embedding(indices, dense))
    assert F.embedding(torch.empty(0, dtype=torch.int64), w).shape == (0, 48)
    with pytest.raises(IndexError, match="out of range"):
        F.embedding(torch.tensor([1, 500]), w)
    with pytest.raises(TerselyError, match="embedding_renorm_"):
        F.embedding(torch.tensor([1]), w, max_norm=0.001)


def test_views_stay_compressed_and_exact(mode: str, under: Callable[[], Any]) -> None:
    dense, stack = weight(1536, 256), weight(4, 96, 64)
    w, s = coded(dense, mode), coded(stack, mode)
    views: list[Callable[[Any], Any]] = [
        lambda t: t.t(),
        lambda t: t.T,
        lambda t: t.mT,
        lambda t: t.transpose(-2, -1),
        lambda t: t.detach(),
        lambda t: t[128:640],
        lambda t: t[5:9],
        lambda t: t.chunk(3)[1],
        lambda t: t.split([512, 1024])[1],
        lambda t: t.T[:, 128:256],
        lambda t: t.view(1536, 256),
        lambda t: t.clone(),
        lambda t: t.data,
        lambda t: torch.cat([t, t[:32]]),
    ]
    stack_views: list[Callable[[Any], Any]] = [
        lambda t: t[1],
        lambda t: t[-1].t(),
        lambda t: t.select(0, 2),
        lambda t: t.unbind()[3],
        lambda t: t[1:3],
        lambda t: t[1:3][1],
        lambda t: t.mT[2],
        lambda t: t.permute(0, 2, 1),
        lambda t: torch.stack([t[0], t[3]]),
    ]
    for tensor, plain, some in ((w, dense, views), (s, stack, stack_views)):
        for place, view in enumerate(some):
            with under():
                result = view(tensor)
            assert isinstance(result, TerselyTensor), place
            assert result.formulation != "dense", place
            assert same(result, view(plain)), place
            assert result.stride() == view(plain).stride(), place
    x = torch.randn(2, 256)
    assert torch.allclose(F.linear(x, w[512:1024]), F.linear(x, dense[512:1024]), atol=1e-5)


def test_everything_else_decodes(mode: str, under: Callable[[], Any]) -> None:
    dense = weight(64, 48)
    w = coded(dense, mode)
    for operator in (
        lambda t: t + 1,
        lambda t: t.sum(0),
        lambda t: t[3, 4],
        lambda t: t[:, 5],
        lambda t: torch.linalg.norm(t),
        lambda t: torch.einsum("ij,kj->ik", t, t),
        lambda t: F.softmax(t, -1),
        lambda t: t.reshape(-1)[::7],
        lambda t: torch.where(t > 0, t, 0.0),
    ):
        with under():
            assert same(operator(w), operator(dense))
    assert w.tolist() == dense.tolist()
    assert w[3, 4].item() == dense[3, 4].item()
    assert torch.empty_like(w).shape == w.shape
    assert type(torch.zeros_like(w)) is torch.Tensor


def test_writes_are_refused_by_name(mode: str, under: Callable[[], Any]) -> None:
    w = nn.Parameter(coded(weight(64, 48), mode), requires_grad=False)
    before = w.decode()
    for write in (
        lambda: w.mul_(2),
        lambda: w.data.zero_(),
        lambda: w.view(-1).fill_(1),
        lambda: w[3].add_(1),
        lambda: w[:, 2].zero_(),
        lambda: w.__setitem__((1, 1), 0.0),
        lambda: nn.init.normal_(w),
        lambda: torch.add(before, 1, out=w),
    ):
        with (
            under(),
            pytest.raises(TerselyError, match="would write into a compressed weight|slice of a compressed weight"),
        ):
            write()
    assert same(w, before)
    with pytest.raises(TerselyError, match="slice of a compressed weight"):
        w[:32].copy_(before[:32])
    with pytest.raises(TerselyError, match="flatten_state_dict"):
        w.data_ptr()
    for use in (w.numpy, lambda: np.asarray(w)):
        with pytest.raises(TerselyError, match="without decoding"):
            use()
    assert w.untyped_storage() is not None
    assert w.untyped_storage().data_ptr() == w.detach().untyped_storage().data_ptr()


def test_copy_replaces_the_codes(mode: str, under: Callable[[], Any]) -> None:
    w, fresh = coded(weight(64, 48), mode), weight(64, 48)
    alias, kept = w.detach(), w.clone()
    with under():
        w.copy_(fresh)
        assert same(w, fresh)
        assert same(alias, fresh)
        assert not same(kept, fresh)
        w.copy_(coded(fresh * 2, mode))
        assert same(w, fresh * 2)
        w.copy_(fresh.double())
        assert same(w, fresh)
        dense = torch.empty(64, 48)
        dense.copy_(w)
    assert same(dense, fresh)


def test_moves_are_dense_and_say_so_once(mode: str, fresh_warnings: None) -> None:
    model = nn.Sequential(nn.Linear(128, 64), nn.Linear(64, 64), nn.Linear(64, 64))
    model[2].weight = model[1].weight
    dense = copy.deepcopy(model)
    tersely.torch.compress_(model, mode=mode, config={"_default": {"minimum_bytes": 0}})
    x = torch.randn(2, 128)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.half()
    assert [str(w.message) for w in caught if "compressed weights are moved" in str(w.message)] == [
        "compressed weights are moved to dtype torch.float16 as dense weights: compress the model after it is moved"
    ]
    assert isinstance(model[0].weight, TerselyTensor)
    assert model[0].weight.formulation == "dense"
    assert model[0].weight.dtype == torch.float16
    assert model[2].weight is model[1].weight
    with torch.no_grad():
        assert torch.equal(model(x.half()), dense.half()(x.half()))
        model[0].weight.copy_(dense[0].weight * 2)
    assert same(model[0].weight, dense[0].weight * 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.to("meta")
    assert model[1].weight.device.type == "meta"


def test_moves_to_where_it_is_do_nothing(compressed: Callable[..., Any]) -> None:
    model = compressed(nn.Linear(64, 64))
    storage = model.weight.storage_
    model.cpu().float().to(torch.float32)
    assert model.weight.storage_ is storage


def test_copies_and_pickles(mode: str, compressed: Callable[..., Any]) -> None:
    dense = nn.Linear(64, 64)
    model = compressed(dense, mode=mode)
    model.weight.tag = 1
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), copy.copy(model)):
        assert type(other.weight) is type(model.weight)
        assert isinstance(other.weight, nn.Parameter)
        assert same(other.weight, dense.weight.detach())
    damaged = model.weight.__reduce_ex__(2)
    spec, parts = damaged[1][1], [part.clone()[:-1] for part in damaged[1][2]]
    with pytest.raises(TerselyError):
        damaged[0](mode, spec, parts, damaged[1][3]).decode()
    shared = copy.deepcopy(model).share_memory()
    assert shared.weight.is_shared()
    assert same(shared.weight, dense.weight.detach())


def test_compressed_weights_stay_frozen(fresh_warnings: None, compressed: Callable[..., Any]) -> None:
    model = compressed(nn.Linear(64, 64))
    with pytest.warns(UserWarning, match="stay frozen"):
        model.requires_grad_(True)
    assert not model.weight.requires_grad
    assert model.bias.requires_grad


def test_bad_input() -> None:
    model = nn.Linear(128, 128)
    for wrong in ({"objective": "best"}, {"mode": "fast"}, {"profile": "z80"}, {"config": {"weight": {"cod": 1}}}):
        with pytest.raises(ArgumentError):
            tersely.torch.compress_(model, **wrong)  # type: ignore[arg-type]
    model.weight.grad = torch.zeros_like(model.weight)
    with pytest.raises(ArgumentError, match="hold gradients: weight"):
        tersely.torch.compress_(model)
    model.weight.grad = None
    tersely.torch.compress_(model)
    with pytest.raises(ArgumentError, match="already compressed"):
        tersely.torch.compress_(model)
    with pytest.raises(ArgumentError, match="meta device"):
        tersely.torch.compress_(nn.Linear(128, 128, device="meta"))
    with pytest.raises(RuntimeError, match="shapes|dtype"):
        model(torch.randn(2, 64))
    with pytest.raises(RuntimeError, match="dtype"):
        model(torch.randn(2, 128, dtype=torch.float64))


def test_settings_by_name() -> None:
    model = nn.Sequential(*(nn.Linear(128, 128) for _ in range(5)), nn.Linear(8, 8))
    config = {
        "0": "size",
        "1.weight": None,
        "re:[23]\\..*": {"mode": "identical", "formulation": "split", "code": "layered", "widths": (2, 2)},
        "_default": "balanced",
    }
    seen: list[tuple[int, int, str]] = []
    summary = tersely.torch.compress_(
        model, config=config, exclude="4.*", progress=lambda done, total, name: seen.append((done, total, name))
    )
    reasons = summary.skipped
    assert reasons["1.weight"] == "left dense by config"
    assert reasons["4.weight"] == "excluded"
    assert reasons["0.bias"] == "a vector"
    assert "smaller than" in reasons["5.weight"]
    assert type(model[2].weight) is TerselyTensor
    assert type(model[0].weight) is FusedTensor
    assert "layered(2,2)" in model[3].weight.formulation
    assert seen[-1][0] == seen[-1][1] == summary.bytes_before
    assert summary.bytes_after < summary.bytes_before
    assert "3 of 12" in str(summary)
    assert set(summary.frozen) == set(summary.compressed)
    tersely.torch.decompress_(model)
    assert all(type(parameter) is nn.Parameter and parameter.requires_grad for parameter in model.parameters())


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_tensors_that_only_look_plain_are_multiplied_as_what_they_show() -> None:
    """torch marks negatives without computing them, and hands out their memory as it lies; nested ones have no shape."""
    dense, x, bias = weight(48, 32), torch.randn(3, 32), torch.randn(48)
    w = coded(dense)
    negated = torch._neg_view(x)
    assert negated.is_neg()
    assert negated.is_contiguous()
    for given, own_bias in (
        (negated, None),
        (x, torch._neg_view(bias)),
        (torch.complex(x, x).conj().imag, bias),
        (x.to_sparse(), None),
        (x.to_sparse_csr(), None),
        (x.to_mkldnn(), bias.to_mkldnn()),
        (x[:, ::2].repeat(1, 2), bias[::2].repeat_interleave(2)),
    ):
        found, expected = F.linear(given, w, own_bias), F.linear(given, dense, own_bias)
        assert found.layout is expected.layout
        assert torch.allclose(found.to_dense(), expected.to_dense(), atol=1e-5)
    found = F.linear(torch.nested.nested_tensor([x, x[:1]], layout=torch.jagged), w)
    assert torch.allclose(found.values(), F.linear(torch.cat([x, x[:1]]), dense), atol=1e-5)


def test_errors_inside_of_products_are_not_taken_for_a_reason_to_go_another_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tersely.torch.weight import multiply

    w = coded(weight(48, 32))

    def fail() -> int:
        raise RuntimeError("no workers today")

    monkeypatch.setattr(multiply, "get_num_threads", fail)
    for call in (lambda: F.linear(torch.randn(3, 32), w), lambda: F.embedding(torch.tensor([3]), w)):
        with pytest.raises(RuntimeError, match="no workers today"):
            call()


def test_embeddings_of_indices_without_memory_read_none() -> None:
    dense = weight(500, 48)
    w, indices = coded(dense), torch.tensor([3, 7])
    assert F.embedding(indices.to("meta"), w).device == F.embedding(indices.to("meta"), dense).device
    found = torch.func.functionalize(lambda given: F.embedding(given, w))(indices)
    assert same(found, F.embedding(indices, dense))
