"""Aliases of a compressed weight show one weight; writes are seen by all of them or refused; memory is never made up."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, prune, vector_to_parameters
from torch_fixtures import coded, compressed, mode, same, two_threads, weight

import tersely.torch
from tersely.core.errors import TerselyError
from tersely.torch import TerselyTensor


@pytest.fixture(params=["no_grad", "inference_mode"])
def without_gradients(request: pytest.FixtureRequest) -> Any:
    with getattr(torch, request.param)():
        yield request.param


ALIASES: dict[str, Callable[[Tensor], Tensor]] = {
    "detach": lambda w: w.detach(),
    "data": lambda w: w.data,
    "alias": torch.ops.aten.alias,
    "view": lambda w: w.view(w.shape),
    "view_as": lambda w: w.view_as(w),
    "slice of all": lambda w: w[:],
    "ellipsis": lambda w: w[...],
    "t": lambda w: w.t(),
    "T": lambda w: w.T,
    "mT": lambda w: w.mT,
    "transpose twice": lambda w: w.transpose(0, 1).transpose(-1, -2),
    "permute": lambda w: w.permute(1, 0),
    "expand": lambda w: w.expand(w.shape),
    "detach of t": lambda w: w.t().detach(),
}
PARTS: dict[str, Callable[[Tensor], Tensor]] = {
    "rows": lambda w: w[16:48],
    "a row": lambda w: w[3],
    "columns": lambda w: w[:, 5:9],
    "rows of t": lambda w: w.t()[8:24],
    "chunk": lambda w: w.chunk(2)[1],
    "split": lambda w: w.split([16, 48])[0],
    "unbind": lambda w: w.unbind(0)[2],
    "flat": lambda w: w.view(-1),
    "reshaped": lambda w: w.reshape(2, -1),
    "diagonal": lambda w: w.diagonal(),
    "unsqueezed": lambda w: w[None],
    "expanded": lambda w: w.expand(3, *w.shape),
    "strided": lambda w: w[::2],
}


@pytest.mark.parametrize("name", ALIASES)
def test_writes_into_an_alias_are_seen_by_all(name: str, mode: str, without_gradients: str) -> None:
    first, second = weight(64, 48), weight(64, 48)
    w = coded(first, mode)
    others = {other: make(w) for other, make in ALIASES.items()}
    alias = others[name]
    alias.copy_(ALIASES[name](second))
    assert same(w, second)
    assert torch.equal(torch.nn.functional.linear(torch.eye(48), w), second.t())
    for other, make in ALIASES.items():
        assert torch.equal(others[other] + 0, make(second)), other


@pytest.mark.parametrize("name", PARTS)
def test_parts_show_what_is_written_and_refuse_writes(name: str, mode: str, without_gradients: str) -> None:
    first, second = weight(64, 48), weight(64, 48)
    w = coded(first, mode)
    part = PARTS[name](w)
    assert torch.equal(part + 0, PARTS[name](first))
    with pytest.raises(TerselyError, match="slice of a compressed weight|would write into a compressed weight"):
        part.copy_(torch.zeros(part.shape))
    with pytest.raises(TerselyError, match="would write into a compressed weight"):
        part.zero_()
    assert same(w, first)
    w.copy_(second)
    assert torch.equal(part + 0, PARTS[name](second))
    w.copy_(torch.rand(64, 48).round(decimals=3))  # coded otherwise, or not at all
    assert torch.equal(part + 0, PARTS[name](w.decode()))


def test_matrices_of_a_stack_show_what_is_written(mode: str, without_gradients: str) -> None:
    first, second = weight(4, 64, 48), weight(4, 64, 48)
    w = coded(first, mode)
    x = torch.randn(4, 3, 64)
    ones, turned = list(w), w.transpose(-2, -1)
    assert torch.allclose(torch.bmm(x, w), torch.bmm(x, first), atol=1e-5)
    w.copy_(second)
    assert all(torch.equal(one + 0, expected) for one, expected in zip(ones, second, strict=True))
    assert torch.equal(turned + 0, second.transpose(-2, -1))
    assert torch.allclose(torch.bmm(x, w), torch.bmm(x, second), atol=1e-5)


def test_copies_are_no_aliases(mode: str, without_gradients: str) -> None:
    first = weight(64, 48)
    w = coded(first, mode)
    copies = [
        w.clone(),
        copy.deepcopy(w),
        pickle.loads(pickle.dumps(w)),
        w.contiguous().clone(),
        torch.cat([w, w])[:64],
    ]
    w.copy_(weight(64, 48))
    for one in copies:
        assert torch.equal(one + 0, first)


def test_data_takes_weights_that_fit_and_refuses_others(mode: str, compressed: Callable[..., Any]) -> None:
    layer = compressed(nn.Linear(64, 48), mode=mode)
    w, before = layer.weight, layer.weight.decode()
    alias, tied, fresh = w.detach(), nn.Linear(64, 48), weight(48, 64)
    tied.weight = w
    w.data = fresh
    x = torch.randn(2, 64)
    for shown in (w, tied.weight, layer.weight):
        assert same(shown, fresh)
    assert same(alias, before)
    assert torch.allclose(layer(x), nn.functional.linear(x, fresh, layer.bias), atol=1e-5)
    w.data = nn.Parameter(fresh * 2)
    assert same(w, fresh * 2)
    w.data = alias  # the old weights are given back
    assert same(w, before)
    for wrong in (fresh.half(), fresh.double(), fresh[:8], fresh.t(), fresh.to("meta"), fresh[None]):
        with pytest.raises(TerselyError, match="cannot become"):
            w.data = wrong
    with pytest.raises(TypeError):
        w.data = 3
    w[:8].data = fresh[:8]  # as of dense tensors: a part that nobody holds
    assert same(w, before)
    assert (w.dtype, tuple(w.shape)) == (torch.float32, (48, 64))
    assert format(w[0, 0], ".3f") == format(before[0, 0], ".3f")


def test_a_module_on_meta_takes_no_weight_from_others(mode: str, compressed: Callable[..., Any]) -> None:
    """As a dense one: it gets a new parameter, and whoever shares the old one keeps it."""
    for dense in (nn.Linear(64, 48), nn.Embedding(64, 48)):
        layer = compressed(dense, mode=mode)
        w, before, tied = layer.weight, layer.weight.decode(), copy.copy(layer)
        tied._parameters = dict(layer._parameters)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            layer.to("meta")
        assert (layer.weight.device.type, type(layer.weight)) == ("meta", nn.Parameter)
        assert tied.weight is w
        assert same(w, before)


def test_data_is_kept_exchanged_and_given_back(mode: str, compressed: Callable[..., Any]) -> None:
    """As averaging code does for the time of an evaluation."""
    net = compressed(nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64)), mode=mode)
    first, second = (layer.weight.decode() for layer in net)
    net[0].weight.data, net[1].weight.data = net[1].weight.data, net[0].weight.data
    assert same(net[0].weight, second)
    assert same(net[1].weight, first)
    kept = [parameter.data for parameter in net.parameters()]
    other = nn.Linear(64, 64, bias=False)
    other.weight = nn.Parameter(net[0].weight.data, requires_grad=False)
    for parameter in net.parameters():
        parameter.data = torch.zeros_like(parameter).detach()
    assert not any(parameter.any() for parameter in net.parameters())
    assert same(other.weight, second)
    for parameter, old in zip(net.parameters(), kept, strict=True):
        parameter.data = old
    assert same(net[0].weight, second)
    assert same(net[1].weight, first)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_code_cannot_write(backend: str, compressed: Callable[..., Any]) -> None:
    layer = compressed(nn.Linear(64, 48))
    before = layer.weight.decode()
    write = torch.compile(lambda new: (layer.weight.copy_(new), layer(torch.ones(1, 64)))[1], backend=backend)
    try:
        found = write(weight(48, 64))
    except Exception as error:
        assert "compressed weight" in str(error)
        assert same(layer.weight, before)
    else:
        assert torch.allclose(found, layer(torch.ones(1, 64)))
        assert not same(layer.weight, before)


def test_dense_tensors_cannot_be_given_codes_for_memory(mode: str) -> None:
    w, dense = coded(weight(64, 48), mode), nn.Parameter(torch.zeros(64, 48), requires_grad=False)
    for target in (dense, torch.zeros(64, 48), nn.Buffer(torch.zeros(64, 48))):
        for new in (w, w.data, w.detach(), w.t().t()):
            with pytest.raises(TerselyError, match="no dense memory"):
                target.data = new
        assert not target.any()
        target.data = torch.ones(64, 48)
        assert target.all()
    dense.data.copy_(w)
    assert torch.equal(dense, w.decode())


def test_idioms_of_training_code(mode: str, compressed: Callable[..., Any]) -> None:
    dense = nn.Linear(64, 48)
    x = torch.randn(3, 64)

    def pruned(layer: nn.Linear) -> None:
        prune.l1_unstructured(layer, "weight", amount=0.5)
        prune.remove(layer, "weight")

    def zeroed(layer: nn.Linear) -> None:
        vector_to_parameters(parameters_to_vector(layer.parameters()) * 0.5, layer.parameters())

    def swa(layer: nn.Linear) -> None:
        average = torch.optim.swa_utils.AveragedModel(layer)
        average.update_parameters(layer)
        other = copy.deepcopy(layer)
        other.weight.data = torch.zeros(48, 64)
        average.update_parameters(other)
        layer.load_state_dict(average.module.state_dict())

    def loaded(layer: nn.Linear) -> None:
        layer.load_state_dict({name: tensor * 2 for name, tensor in layer.state_dict().items()}, assign=True)

    for change in (pruned, zeroed, swa, loaded):
        expected, found = copy.deepcopy(dense), compressed(copy.deepcopy(dense), mode=mode)
        change(expected)
        change(found)
        assert torch.allclose(found(x), expected(x), atol=1e-5), change.__name__


@pytest.mark.filterwarnings("ignore:compressed weights stay frozen")
def test_thawing_an_attribute_changes_nothing(mode: str, compressed: Callable[..., Any]) -> None:
    layer = compressed(nn.Linear(64, 48), mode=mode)
    layer.weight.requires_grad = True
    assert not layer.weight.requires_grad
    before, bias = layer.weight.decode(), layer.bias.detach().clone()
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    layer(torch.randn(2, 64)).sum().backward()
    optimizer.step()
    assert same(layer.weight, before)
    assert not torch.equal(layer.bias, bias)


def test_pickles_of_either_format_keep_codes_and_ties(mode: str) -> None:
    w = coded(weight(64, 48), mode)
    for legacy in (True, False):
        file = io.BytesIO()
        torch.save({"w": w, "tied": w, "alias": w.detach()}, file, _use_new_zipfile_serialization=not legacy)
        file.seek(0)
        state = torch.load(file, weights_only=True)
        assert all(isinstance(one, TerselyTensor) and same(one, w.decode()) for one in state.values())
        state["w"].copy_(torch.zeros(64, 48))
        assert same(state["alias"], torch.zeros(64, 48))


def test_strides_that_are_asked_for(mode: str) -> None:
    first = weight(64, 48)
    turned = coded(first, mode).t()
    for found, expected in (
        (turned.contiguous(), first.t().contiguous()),
        (turned.reshape(-1), first.t().reshape(-1)),
        (turned.flatten()[:1], first.t().flatten()[:1]),
        (turned.clone(memory_format=torch.contiguous_format), first.t().contiguous()),
        (turned.clone(), first.t().clone()),
    ):
        assert found.stride() == expected.stride()
        assert torch.equal(found + 0, expected)
    kernel = weight(8, 6, 3, 3)
    conv = nn.Conv2d(6, 8, 3).requires_grad_(False)
    conv.weight = nn.Parameter(coded(kernel, mode), requires_grad=False)
    for wanted in (torch.channels_last, torch.contiguous_format):
        dense = kernel.to(memory_format=wanted)
        conv.to(memory_format=wanted)
        for found in (
            conv.weight,
            conv.weight.clone(memory_format=wanted),
            conv.weight.contiguous(memory_format=wanted),
        ):
            assert isinstance(found, TerselyTensor)
            assert found.stride() == found.decode().stride() == dense.stride()
            assert torch.equal(found.decode(), kernel)
    assert torch.equal(torch.slice_inverse(turned, turned) + 0, first.t())


def test_swapping_weights_that_are_watched(mode: str, compressed: Callable[..., Any]) -> None:
    layer = compressed(nn.Linear(64, 48), mode=mode)
    views = [layer.weight.t(), layer.weight.mT, layer.weight[1:3], layer.weight.view(-1)]
    with pytest.raises(TerselyError, match="while views of it are in use"):
        torch.utils.swap_tensors(layer.weight, nn.Parameter(torch.zeros(48, 64), requires_grad=False))
    assert isinstance(layer.weight, TerselyTensor)
    del views
    nn.utils.parametrize.register_parametrization(layer, "weight", nn.Identity())
    layer(torch.ones(1, 64))


@pytest.mark.filterwarnings("ignore:compressed weights are moved")
def test_modules_are_moved_while_views_of_their_weights_are_alive(mode: str, compressed: Callable[..., Any]) -> None:
    """As with dense weights: views keep the old ones, and a graph that was recorded before can still run backward."""
    layer = compressed(nn.Linear(64, 48), mode=mode)
    old, parameter = layer.weight.decode(), layer.weight
    views = [layer.weight.t(), layer.weight[1:3], layer.weight.view(-1), layer.weight.detach()]
    expected = [old.t(), old[1:3], old.view(-1), old]
    x = torch.randn(2, 64, requires_grad=True)
    y = layer(x)
    for move, dtype in ((nn.Module.half, torch.float16), (nn.Module.float, torch.float32)):
        move(layer)
        assert layer.weight is parameter
        assert layer.weight.dtype is layer.bias.dtype is dtype
        assert torch.equal(layer.weight.decode(), old.half().to(dtype))
        for view, dense in zip(views, expected, strict=True):
            assert torch.equal(view + 0, dense)
        more = layer.weight.t()
        assert torch.equal(more + 0, old.half().to(dtype).t())
    torch.__future__.set_swap_module_params_on_conversion(True)  # as dense ones then
    try:
        with pytest.raises(RuntimeError, match="Couldn't swap") as refused:
            layer.half()
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
    assert isinstance(refused.value.__cause__, TerselyError)
    assert layer.weight.dtype is torch.float32
    del refused
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(gradient, old.sum(0).expand(2, 64), atol=1e-5)
    del views, view, more, y, expected
    gc.collect()
    layer.bfloat16()
    with torch.no_grad():
        layer.weight.copy_(torch.ones(48, 64))
    assert torch.equal(layer.weight.decode(), torch.ones(48, 64, dtype=torch.bfloat16))


@pytest.mark.filterwarnings("ignore:compressed weights are moved")
def test_modules_are_moved_while_compiled_code_watches_them(mode: str, compressed: Callable[..., Any]) -> None:
    layer = compressed(nn.Linear(64, 48).bfloat16(), mode=mode)
    torch._dynamo.reset()
    fast = torch.compile(layer, backend="aot_eager")
    x = torch.randn(2, 64)
    with torch.no_grad():
        fast(x.bfloat16())
        layer.float()
        found = fast(x)
        tersely.torch.decompress_(layer)
        assert torch.allclose(found, nn.functional.linear(x, layer.weight, layer.bias), atol=1e-5)
    torch._dynamo.reset()


def test_parameters_made_anew_by_their_class(mode: str, compressed: Callable[..., Any]) -> None:
    """As accelerate makes them: the class of a parameter, called with a tensor and the attributes of the parameter."""
    weight = compressed(nn.Linear(64, 48), mode=mode).weight
    again = type(weight)(weight, **weight.__dict__, requires_grad=False)
    assert isinstance(again, nn.Parameter)
    assert again.is_set_to(weight)
    dense = type(weight)(torch.ones(48, 64), requires_grad=True)
    assert type(dense) is nn.Parameter
    assert dense.requires_grad
    plain = weight[None].transpose(1, 2)
    assert plain.contiguous().is_contiguous()
