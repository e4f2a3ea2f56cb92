"""Convolutions with kernels of one tap: products on the codes, in every shape and layout that torch takes them in."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch_fixtures import compressed, mode, two_threads

import tersely.torch
from tersely.tensors import handoff
from tersely.torch import FusedTensor
from tersely.torch.weight.coded import Coded

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
PLACES = {1: (9,), 2: (5, 6), 3: (3, 4, 5)}


def layer(
    dims: int = 2, dtype: torch.dtype = torch.float32, inputs: int = 48, outputs: int = 80, **options: Any
) -> Any:
    kind = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims]
    return kind(inputs, outputs, 1, **options).to(dtype)


def close(actual: torch.Tensor, expected: torch.Tensor) -> bool:
    tolerance = 1e-5 if expected.dtype is torch.float32 else 2e-2
    assert actual.dtype is expected.dtype
    assert actual.shape == expected.shape
    return torch.allclose(actual.float(), expected.float(), atol=tolerance, rtol=tolerance)


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding a weight is an error."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a dense copy was made")

    monkeypatch.setattr(Coded, "decode_into", refuse)


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_they_are_products_on_the_codes(
    compressed: Callable[..., Any], refused: None, dims: int, dtype: torch.dtype, inference: bool
) -> None:
    for options in ({}, {"bias": False}, {"stride": 2}, {"padding": "same"}, {"dilation": 3}):
        dense = layer(dims, dtype, **options)
        small = compressed(dense, objective="size")  # codes of float16 are slower than dense ones on some machines
        for shape in ((2, 48), (1, 48), (48,)):
            x = torch.randn(*shape, *PLACES[dims]).to(dtype)
            with torch.inference_mode(inference), torch.set_grad_enabled(False):
                expected, actual = dense(x), small(x)
            assert close(actual, expected), (options, shape)
            assert actual.is_contiguous()
            assert actual.stride() == expected.contiguous().stride()


@pytest.mark.parametrize("dims", [2, 3])
def test_channels_stay_last(compressed: Callable[..., Any], refused: None, dims: int) -> None:
    layout: Any = {2: torch.channels_last, 3: torch.channels_last_3d}[dims]
    for stride in (1, 2):
        dense = layer(dims, stride=stride)
        small = compressed(dense)
        x = torch.randn(2, 48, *PLACES[dims]).to(memory_format=layout)
        with torch.no_grad():
            expected, actual = dense(x), small(x)
        assert close(actual, expected)
        assert actual.stride() == expected.stride()


@pytest.mark.parametrize("dims", [2, 3])
def test_layouts_of_weights_decide_those_of_results(compressed: Callable[..., Any], mode: str, dims: int) -> None:
    """In memory, channels are last either way where there is one tap: torch goes by strides alone."""
    layout: Any = {2: torch.channels_last, 3: torch.channels_last_3d}[dims]
    for format in (torch.contiguous_format, layout):
        dense = layer(dims, inputs=256, outputs=128).requires_grad_(False).to(memory_format=format)
        small = compressed(dense, mode=mode)
        assert small.weight.stride() == small.weight.decode().stride() == dense.weight.stride()
        for places in (PLACES[dims], (1,) * dims):
            x = torch.randn(2, 256, *places)
            expected, actual = dense(x), small(x)
            assert close(actual, expected)
            assert actual.stride() == expected.stride()
            if mode == "identical":
                assert torch.equal(actual, expected)
        tersely.torch.decompress_(small)
        assert small.weight.stride() == dense.weight.stride()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dims", [1, 2])
def test_gradients_reach_x_and_bias(compressed: Callable[..., Any], refused: None, dims: int, stride: int) -> None:
    dense = layer(dims, stride=stride)
    small = compressed(dense)
    one, other = (torch.randn(3, 48, *PLACES[dims]).requires_grad_() for _ in range(2))
    with torch.no_grad():
        other.copy_(one)
    dense(one).square().sum().backward()
    small(other).square().sum().backward()
    assert small.weight.grad is None
    assert torch.allclose(one.grad, other.grad, atol=1e-4)
    assert torch.allclose(dense.bias.grad, small.bias.grad, atol=1e-3)
    (alone,) = torch.autograd.grad(small(one.detach()[:1]).sum(), small.bias)
    assert torch.equal(alone, torch.full((80,), float(small(one.detach()[:1])[0, 0].numel())))


@pytest.mark.filterwarnings("ignore")
def test_transforms_and_autocast(compressed: Callable[..., Any]) -> None:
    dense = layer(stride=2).requires_grad_(False)
    small = compressed(dense)
    x = torch.randn(4, 48, 5, 5, requires_grad=True)
    found = []
    for model in (dense, small):
        each = torch.func.vmap(torch.func.grad(lambda image, model=model: model(image).square().sum()))(x.detach())
        (once,) = torch.autograd.grad(model(x).pow(3).sum(), x, create_graph=True)
        (twice,) = torch.autograd.grad(once.square().sum(), x)
        forward = torch.func.jvp(model, (x.detach(),), (torch.ones_like(x),))[1]
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            found.append((torch.func.vmap(model)(x.detach()), each, once, twice, forward, model(x)))
    for expected, actual in zip(*found, strict=True):
        tolerance = 1e-3 if expected.dtype is torch.float32 else 3e-2
        assert torch.allclose(actual, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(
    "formulation", ["split", "sparse", "palette", "affine", "row_palette", "blocks", "block_sparse", "submatrix"]
)
def test_every_formulation(compressed: Callable[..., Any], refused: None, formulation: str) -> None:
    dense = layer(inputs=64)
    with torch.no_grad():
        weight = (torch.randn(80, 64).clamp(-1.7, 1.7) * 4).round() / 32
        weight[::2, :32] = 0
        weight[16:] = weight[:16].repeat(4, 1)  # few distinct blocks
        dense.weight.copy_(weight[:, :, None, None])
    small = compressed(dense, config={"_default": {"minimum_bytes": 0, "formulation": formulation}})
    assert small.weight.formulation.startswith(formulation)
    x = torch.randn(2, 64, 5, 5)
    with torch.no_grad():
        assert close(small(x), dense(x))
        assert close(small(x[:, :, :1, :1]), dense(x[:, :, :1, :1]))


@pytest.mark.parametrize("options", [{"groups": 2}, {"padding": 1}, {"kernel_size": 3}], ids=str)
def test_other_convolutions_decode(compressed: Callable[..., Any], mode: str, options: dict[str, Any]) -> None:
    dense = nn.Conv2d(64, 96, **{"kernel_size": 1, **options})
    small = compressed(dense, mode=mode, objective="size")
    x = torch.randn(2, 64, 7, 7, requires_grad=True)
    with torch.no_grad():
        assert torch.equal(small(x), dense(x))
    (expected,) = torch.autograd.grad(dense(x).square().sum(), x)
    (actual,) = torch.autograd.grad(small(x).square().sum(), x)
    assert torch.allclose(actual, expected, atol=1e-5)


def test_weights_that_no_product_takes_decode(compressed: Callable[..., Any]) -> None:
    """Too few outputs for a panel (folded), parts of a weight, and what the transposed convolution does."""
    x, many = torch.randn(2, 48, 5, 5), torch.randn(2, 512, 5, 5)
    few = layer(inputs=512, outputs=8)
    turned = nn.ConvTranspose2d(48, 64, 1)
    whole = layer()
    part = compressed(whole).weight[:32]
    assert isinstance(part, FusedTensor)
    with torch.no_grad():
        assert torch.equal(compressed(few)(many), few(many))
        assert torch.equal(compressed(turned, objective="size")(x), turned(x))
        assert close(torch.conv2d(x, part), torch.conv2d(x, whole.weight[:32]))


def test_many_places_are_torchs(compressed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    dense = layer()
    small = compressed(dense)
    called: list[int] = []
    monkeypatch.setattr("tersely.torch.operators.pointwise.product", lambda *given: called.append(1))
    x = torch.randn(1, 48, 20, 20, requires_grad=True)
    assert x[0, 0].numel() > handoff.POINTWISE_FLOAT_PLACES
    assert torch.equal(small(x), dense(x))
    (expected,) = torch.autograd.grad(dense(x).square().sum(), x)
    (actual,) = torch.autograd.grad(small(x).square().sum(), x)
    assert torch.equal(actual, expected)
    assert not called
    for wrong in (torch.randn(1, 47, 4, 4), torch.randn(48, 4), torch.randn(1, 48, 4, 4).double()):
        with pytest.raises(RuntimeError):
            small(wrong)
    assert small(torch.randn(0, 48, 4, 4)).shape == (0, 80, 4, 4)


def test_copies_and_new_weights(compressed: Callable[..., Any]) -> None:
    dense = layer()
    small = compressed(dense)
    x = torch.randn(1, 48, 3, 3)
    with torch.no_grad():
        expected = small(x)
        again = copy.deepcopy(small)
        assert torch.equal(again(x), expected)
        small.weight.copy_(dense.weight * 2)
        assert close(small(x) - small.bias[:, None, None], (dense(x) - dense.bias[:, None, None]) * 2)
        assert torch.equal(again(x), expected)


@pytest.mark.filterwarnings("ignore")
def test_compiled_and_exported(compressed: Callable[..., Any], mode: str) -> None:
    dense = nn.Sequential(layer(), nn.ReLU(), layer(inputs=80, outputs=48, stride=2, bias=False))
    small = compressed(dense, mode=mode)
    called: list[str] = []

    def backend(graph: Any, inputs: Any) -> Any:
        called.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    from torch._dynamo.backends.common import aot_autograd

    torch._dynamo.reset()
    fast = torch.compile(small, fullgraph=True, backend=aot_autograd(fw_compiler=backend))
    x = torch.randn(2, 48, 7, 7)
    with torch.no_grad():
        assert close(fast(x), dense(x))
        assert close(fast(torch.randn(3, 48, 6, 6).contiguous(memory_format=torch.channels_last))[:0], x[:0, :, :3, :3])
    assert any("tersely.product" in name for name in called) == (mode == "fused")
    torch._dynamo.reset()
    x.requires_grad_()
    (expected,) = torch.autograd.grad(dense(x).square().sum(), x)
    (actual,) = torch.autograd.grad(torch.compile(small, fullgraph=True, backend="aot_eager")(x).square().sum(), x)
    assert torch.allclose(actual, expected, atol=1e-4)
    with torch.no_grad():
        program = torch.export.export(small, (x.detach(),))
        assert close(program.module()(x.detach()), dense(x))
