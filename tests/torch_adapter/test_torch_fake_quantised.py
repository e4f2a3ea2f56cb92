"""Weights that torch quantised and turned back: by tensor, by channel, by groups of columns; the same answers."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import tersely.torch  # noqa: E402

WORDS = {torch.float32: torch.int32, torch.bfloat16: torch.int16, torch.float16: torch.int16}


def by_channel(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """As torch.ao's fake quantisation does it, symmetric."""
    most = 2 ** (bits - 1) - 1
    scale = weight.reshape(len(weight), -1).abs().amax(dim=1) / most
    return torch.fake_quantize_per_channel_affine(weight, scale, torch.zeros(len(scale)), 0, -most - 1, most)


def by_hand(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """What most research code does; it leaves -0.0 beside 0.0."""
    most = 2 ** (bits - 1) - 1
    scale = weight.abs().amax(dim=1, keepdim=True) / most
    return torch.clamp(torch.round(weight / scale), -most - 1, most) * scale


def by_groups(weight: torch.Tensor, bits: int, columns: int, dtype: torch.dtype) -> torch.Tensor:
    """As GPTQ and AWQ checkpoints are turned back: (q - zero) x scale in 16 bits, uint8 q and zero."""
    groups = weight.reshape(len(weight), -1, columns)
    low, high = groups.amin(dim=2, keepdim=True).clamp(max=0), groups.amax(dim=2, keepdim=True).clamp(min=0)
    scale = ((high - low) / (2**bits - 1)).to(dtype)
    zero = torch.round(-low / scale.float()).clamp(0, 2**bits - 1)
    q = (torch.round(groups / scale.float()) + zero).clamp(0, 2**bits - 1)
    return ((q - zero).to(dtype) * scale).reshape(weight.shape)


@pytest.mark.parametrize(
    ("make", "dtype", "ratio"),
    [
        (lambda w: by_channel(w, 4), torch.float32, 7),
        (lambda w: by_channel(w, 8), torch.float32, 3.8),
        (lambda w: by_channel(w, 4).bfloat16(), torch.bfloat16, 3.5),
        (lambda w: by_hand(w, 4), torch.float32, 6.5),
        (lambda w: by_groups(w, 4, 128, torch.float16), torch.float16, 3.3),
        (lambda w: by_groups(w, 4, 32, torch.bfloat16), torch.bfloat16, 3),
        (lambda w: by_groups(w, 2, 64, torch.float16), torch.float16, 5),
    ],
    ids=["channel 4", "channel 8", "channel 4 bf16", "by hand", "groups 128", "groups 32", "2 bits by 64"],
)
def test_linear_layers(make, dtype, ratio):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(512, 1024), nn.ReLU(), nn.Linear(1024, 256)).to(dtype).requires_grad_(False)
    for layer in (module[0], module[2]):
        layer.weight.copy_(make(layer.weight.float()))
    before = [layer.weight.clone() for layer in (module[0], module[2])]
    x = torch.randn(2, 512, dtype=dtype)
    expected = module(x)
    summary = tersely.torch.compress_(module, objective="size", progress=False)
    for layer, weight in zip((module[0], module[2]), before, strict=True):
        assert "affine" in layer.weight.formulation
        assert torch.equal(layer.weight.decode().view(WORDS[dtype]), weight.view(WORDS[dtype]))
    assert summary.ratio > ratio
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(module(x), expected, rtol=tolerance, atol=tolerance)


def test_convolutions():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(64, 128, 3), nn.Conv2d(128, 256, 1)).requires_grad_(False)
    for layer in module:
        layer.weight.copy_(by_channel(layer.weight, 8))
    before, x = [layer.weight.clone() for layer in module], torch.randn(2, 64, 9, 9)
    expected = module(x)
    tersely.torch.compress_(module, objective="size", progress=False)
    for layer, weight in zip(module, before, strict=True):
        assert "affine" in layer.weight.formulation
        assert torch.equal(layer.weight.decode().view(torch.int32), weight.view(torch.int32))
    torch.testing.assert_close(module(x), expected, rtol=1e-5, atol=1e-5)
