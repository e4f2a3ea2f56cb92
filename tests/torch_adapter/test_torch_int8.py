"""`Int8Linear`: outputs are the same to the bit on codes, in files, in state dicts; gradients are torch's."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tersely.torch
from tersely.core.errors import ArgumentError
from tersely.torch import Int8Linear, TerselyTensor
from tersely.torch.weight.coded import Coded


def network() -> nn.Sequential:
    """Weights of which int8 coding saves something: normal ones under one scale for each output."""
    layers = [nn.Linear(256, 512), nn.Linear(512, 256)]
    for layer in layers:
        nn.init.normal_(layer.weight, std=0.02)
        with torch.no_grad():
            layer.weight[:, 0] = 0.4  # an outlier in each row, so that the others take few steps
    return nn.Sequential(Int8Linear.from_linear(layers[0]), nn.ReLU(), Int8Linear.from_linear(layers[1]))


def real_weight(layer: Int8Linear) -> torch.Tensor:
    weight = layer.weight.decode() if isinstance(layer.weight, TerselyTensor) else layer.weight
    return weight.double() * layer.scale.double()[:, None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_products_are_those_of_the_quantised_weight(dtype: torch.dtype) -> None:
    layer = network()[0]
    for batch in (1, 3, 100):
        x = torch.randn(2, batch, 256).to(dtype)
        y = layer(x)
        exact = nn.functional.linear(x.double(), real_weight(layer), layer.bias.double())
        assert y.dtype == dtype
        assert y.shape == (2, batch, 512)
        assert torch.allclose(y.double(), exact, rtol=2 * torch.finfo(dtype).eps, atol=1e-5)


def test_quantising_takes_the_nearest_step() -> None:
    dense = nn.Linear(40, 24)
    with torch.no_grad():
        dense.weight[3] = 0
    layer = Int8Linear.from_linear(dense)
    assert (real_weight(layer) - dense.weight.double()).abs().le(layer.scale[:, None].double() * 0.5001).all()
    assert layer.weight.abs().amax(dim=1).tolist() == [127] * 3 + [0] + [127] * 20


@pytest.mark.parametrize("mode", ["fused", "identical"])
def test_compressing_changes_no_bit_and_keeps_no_dense_weight(mode: str) -> None:
    model = network()
    x = torch.randn(5, 256)
    with torch.no_grad():
        before = model(x)
    dense = [model[0].weight.clone(), model[2].weight.clone()]
    summary = tersely.torch.compress_(model, mode=mode)
    assert summary.compressed == ("0.weight", "2.weight")
    assert summary.frozen == ()
    assert isinstance(model[0].weight, TerselyTensor)
    assert model[0].weight.formulation.startswith("integer")
    assert model[0].weight.nbytes_stored < dense[0].nbytes * 0.9
    assert "weight" in dict(model[0].named_buffers())
    with torch.no_grad():
        assert torch.equal(model(x), before)
    with pytest.raises(ArgumentError, match="already compressed"):
        tersely.torch.compress_(model)
    tersely.torch.decompress_(model)
    assert type(model[0].weight) is torch.Tensor
    assert torch.equal(model[0].weight, dense[0])
    assert torch.equal(model[2].weight, dense[1])
    assert torch.equal(model(x), before)


def pruned(what: str) -> Int8Linear:
    """Half of the inputs or outputs empty, or nine in ten chunks."""
    dense = nn.Linear(1024, 512)
    with torch.no_grad():
        if what == "inputs":
            dense.weight[:, torch.randperm(1024)[:512]] = 0
        elif what == "outputs":
            dense.weight[torch.randperm(512)[:256]] = 0
        else:
            dense.weight.mul_((torch.rand(32, 256) < 0.1).repeat_interleave(16, 0).repeat_interleave(4, 1))
    return Int8Linear.from_linear(dense)


@pytest.mark.parametrize("what", ["inputs", "outputs", "chunks"])
@pytest.mark.parametrize("objective", ["size", "balanced", "speed"])
def test_pruned_channels_and_blocks_are_left_out(what: str, objective: str, tmp_path: Path) -> None:
    """Outputs keep their bits; compilers see the same operators; files open to what was saved."""
    model = nn.Sequential(pruned(what))
    x = torch.randn(5, 1024)
    expected, dense = model(x), model[0].weight.clone()
    tersely.torch.compress_(model, objective=objective)
    weight = model[0].weight
    assert weight.formulation.startswith("block_sparse" if what == "chunks" else "submatrix")
    assert weight.nbytes_stored < dense.nbytes * (0.15 if what == "chunks" else 0.55)
    for run in (model, torch.compile(model, backend="eager", fullgraph=True)):
        assert torch.equal(run(x), expected)
    assert torch.equal(weight[3:77].clone(), dense[3:77])
    x.requires_grad_()
    model(x).sum().backward()
    exact = (dense.double() * model[0].scale.double()[:, None]).sum(dim=0).expand(5, -1)
    assert torch.allclose(x.grad.double(), exact, rtol=1e-4, atol=1e-4)
    tersely.torch.save_model(model, tmp_path / "model.safetensors")
    again = nn.Sequential(Int8Linear(1024, 512))
    tersely.torch.load_model(again, tmp_path / "model.safetensors")
    assert again[0].weight.formulation == weight.formulation
    assert torch.equal(again(x), expected)
    tersely.torch.decompress_(model)
    assert torch.equal(model[0].weight, dense)


def test_settings_apply_by_name() -> None:
    model = network()
    summary = tersely.torch.compress_(model, exclude="2.*", config={"0": {"minimum_bytes": 1 << 30}})
    assert summary.compressed == ()
    assert "smaller than" in summary.skipped["0.weight"]
    assert summary.skipped["2.weight"] == "excluded"


@pytest.mark.parametrize("source", [False, True])
@pytest.mark.parametrize("target", [False, True])
def test_state_dicts_in_all_pairs(source: bool, target: bool) -> None:
    give, take = network(), network()
    expected = give(torch.ones(2, 256))
    for model, wanted in ((give, source), (take, target)):
        if wanted:
            tersely.torch.compress_(model)
    take.load_state_dict(give.state_dict())
    assert isinstance(take[0].weight, TerselyTensor) == target
    assert torch.equal(take(torch.ones(2, 256)), expected)


def test_files_and_pickles(tmp_path: Path) -> None:
    model = network()
    x = torch.randn(2, 256)
    expected = model(x)
    tersely.torch.compress_(model)
    assert torch.equal(copy.deepcopy(model)(x), expected)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    again = network()
    again.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True), assign=True)
    assert isinstance(again[0].weight, TerselyTensor)
    assert torch.equal(again(x), expected)
    tersely.torch.save_model(model, tmp_path / "model.safetensors")
    with torch.device("meta"):
        loaded = nn.Sequential(Int8Linear(256, 512), nn.ReLU(), Int8Linear(512, 256))
    tersely.torch.load_model(loaded, tmp_path / "model.safetensors")
    assert loaded[0].weight.formulation.startswith("integer")
    assert torch.equal(loaded(x), expected)


@pytest.mark.parametrize("compressed", [False, True])
def test_gradients_reach_x_and_bias(compressed: bool) -> None:
    model = network()
    if compressed:
        tersely.torch.compress_(model)
    layer = model[0]
    x = torch.randn(4, 256, requires_grad=True)
    again = x.detach().double().requires_grad_()
    bias = layer.bias.detach().double().requires_grad_()
    layer(x).square().sum().backward()
    nn.functional.linear(again, real_weight(layer), bias).square().sum().backward()
    assert torch.allclose(x.grad.double(), again.grad, rtol=1e-4, atol=1e-4)
    assert torch.allclose(layer.bias.grad.double(), bias.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", ["dense", "fused", "identical"])
def test_compilers_exports_and_transforms_give_the_same_bits(mode: str) -> None:
    model = network()
    if mode != "dense":
        tersely.torch.compress_(model, mode=mode)
    x = torch.randn(6, 256)
    with torch.no_grad():
        expected = model(x)
        program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("rows")},))
        assert torch.equal(program.module()(x), expected)
        assert torch.equal(program.module()(x[:3]), model(x[:3]))
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert sum("tersely.int8_linear" in target for target in targets) == 2
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    compiled(one).square().sum().backward()
    gradient, model[0].bias.grad = model[0].bias.grad, None
    model(other).square().sum().backward()
    assert torch.equal(one.grad, other.grad)
    assert torch.equal(gradient, model[0].bias.grad)
    assert torch.equal(compiled(x), expected)
    assert torch.allclose(torch.func.vmap(model)(x), expected, atol=1e-6)
    assert torch.allclose(torch.func.vmap(model, in_dims=1)(x[:, None]), expected[None], atol=1e-6)
    of_x = torch.func.vmap(torch.func.grad(lambda row: model(row).square().sum()))(x)
    assert torch.allclose(of_x, other.grad, atol=1e-4)
    several = {name: torch.stack([one, one * 2]) for name, one in model.named_parameters()}
    found = torch.func.vmap(lambda own: torch.func.functional_call(model, own, (x,)))(several)
    for place in range(2):
        own = {name: one[place] for name, one in several.items()}
        assert torch.allclose(found[place], torch.func.functional_call(model, own, (x,)), atol=1e-5)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own jvp
@pytest.mark.parametrize("transform", ["vjp", "grad", "jacrev", "jvp", "vmap"])
def test_the_first_call_of_all_may_be_under_a_transform(compressed: bool, transform: str) -> None:
    layer = Int8Linear.from_linear(nn.Linear(24, 40)).requires_grad_(False)
    warm = copy.deepcopy(layer)
    model = nn.Sequential(layer)
    if compressed:
        tersely.torch.compress_(model, config={"_default": {"minimum_bytes": 0, "formulation": "integer"}})
    x = torch.randn(2, 24)
    expected = warm(x)

    def transformed(module: Any) -> Any:
        if transform in ("grad", "jacrev"):
            return getattr(torch.func, transform)(lambda rows: module(rows).sum())(x)
        if transform == "vmap":
            return torch.func.vmap(module)(x)
        return torch.func.vjp(module, x)[0] if transform == "vjp" else torch.func.jvp(module, (x,), (x,))[0]

    assert torch.allclose(transformed(model), transformed(warm), atol=1e-5)
    assert torch.allclose(model(x), expected, atol=1e-5)


@pytest.mark.parametrize("compressed", [False, True])
def test_casts_leave_the_scale_as_it_is(compressed: bool) -> None:
    model = network()
    if compressed:
        tersely.torch.compress_(model)
    x, scale, real = torch.randn(3, 256), model[0].scale.clone(), real_weight(model[0])
    for cast in (model.half, model.bfloat16, model.double, model.float):
        cast()
        assert model[0].scale.dtype is torch.float32
        assert torch.equal(model[0].scale, scale)
        assert model[0].weight.dtype is torch.int8
    assert model[0].bias.dtype is torch.float32
    y = model.bfloat16()[0](x.bfloat16())
    assert y.dtype is torch.bfloat16
    exact = nn.functional.linear(x.bfloat16().double(), real, model[0].bias.double())
    assert torch.allclose(y.double(), exact, rtol=2 * torch.finfo(torch.bfloat16).eps, atol=1e-5)
    if not compressed:  # of a coded weight that says that it becomes dense
        assert model.to("meta")[0].scale.device.type == "meta"


def test_weights_that_cannot_be_quantised() -> None:
    dense = nn.Linear(32, 16)
    for wrong in (float("nan"), float("inf")):
        with torch.no_grad():
            dense.weight[3, 4] = wrong
        with pytest.raises(ArgumentError, match="NaN or infinity.*nan_to_num"):
            Int8Linear.from_linear(dense)
    with torch.no_grad():
        dense.weight.zero_()
        dense.weight[2, 3] = 1e-45  # less than a step of float32 can be
    layer = Int8Linear.from_linear(dense)
    assert (layer.weight == 0).all()
    assert (layer.scale == 1).all()


def test_assigned_weights_are_used() -> None:
    layer = Int8Linear(32, 16, bias=False)
    x = torch.ones(1, 32)
    assert (layer(x) == 0).all()
    layer.weight[:] = 2
    assert (layer(x) == 64).all()
    layer.weight = torch.ones(16, 32, dtype=torch.int8)
    assert (layer(x) == 32).all()


def test_what_does_not_fit_is_refused() -> None:
    layer = Int8Linear(32, 16)
    with pytest.raises(ArgumentError, match="takes float32"):
        layer(torch.ones(1, 32, dtype=torch.int8))
    with pytest.raises(ArgumentError, match="last dimension must be 32"):
        layer(torch.ones(1, 31))
    layer.weight = torch.ones(16, 31, dtype=torch.int8)
    with pytest.raises(ArgumentError, match="it must be torch.int8"):
        layer(torch.ones(1, 32))
    layer = Int8Linear(32, 16)
    layer.scale = torch.ones(3)
    with pytest.raises(ArgumentError, match="scale has shape"):
        layer(torch.ones(1, 32))


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.uint8], ids=lambda dtype: np.dtype(dtype).name)
def test_codes_without_kernels_of_their_own_are_read_like_others(dtype: type) -> None:
    """Distances and, as uint8, pairs of 4-bit values: decoded, cut into rows, taken over by a copy."""
    array = np.random.default_rng(4).integers(3, 60, (40, 64)).astype(dtype)
    options = {"code": "nibbles", "int4_columns": 128} if dtype is np.uint8 else {"code": "distances"}
    weight = TerselyTensor(Coded.of(tersely.encode(array, "integer", **options)))
    dense = torch.from_numpy(array.copy())
    assert torch.equal(weight.decode(), dense)
    assert torch.equal(weight[5:21].decode(), dense[5:21])
    if dtype is not np.uint16:  # torch cannot add them
        assert torch.equal(weight + 1, dense + 1)
    assert torch.equal(torch.nn.functional.embedding(torch.tensor([3, 39]), weight), dense[[3, 39]])
    assert torch.equal(copy.deepcopy(weight).decode(), dense)
