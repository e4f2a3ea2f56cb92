"""Operators on images, from torch.export to the executor, against torch in float64 on every instruction set."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from image_networks import executed
from torch import nn

import tersely
from tersely.torch.networks.pipeline import pipeline

pytestmark = pytest.mark.kernels

X = (2, 24, 11, 13)
"""A batch, channels that are no whole blocks, odd images."""


class Of(nn.Module):
    """A function of images as a module."""

    def __init__(self, function: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleDict(parts)

    def forward(self, *images: torch.Tensor) -> Any:
        return self.function(*images, **self.parts)


def check(module: nn.Module, *shapes: tuple[int, ...], bound: float = 2e-6, scale: float = 3.0) -> list[str]:
    """Compares, in units of the greatest number; returns the operators of the program's steps."""
    generator = torch.Generator().manual_seed(3)
    inputs = tuple(scale * torch.randn(shape, generator=generator) for shape in shapes)
    module = module.eval()
    made = executed(module, inputs)
    with torch.no_grad():
        expected = module.double()(*(one.double() for one in inputs)).numpy()
    for threads in (1, 3):
        found = made.run(*(one.numpy() for one in inputs), threads=threads)[0]
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=bound * max(1.0, abs(expected).max()))
    return [step["operator"] for step in made.program(*shapes).steps]


POOLS = {
    "max": lambda x: F.max_pool2d(x, 3, 2, 1),
    "max of one row": lambda x: F.max_pool2d(x, (1, 4), (3, 1), (0, 2)),
    "max, dilated": lambda x: F.max_pool2d(x, 3, 1, 1, dilation=2),
    "max, dilated and padded": lambda x: F.max_pool2d(x, (3, 2), 2, 1, dilation=(3, 5)),
    "max, ceil": lambda x: F.max_pool2d(x, 3, 2, 0, ceil_mode=True),
    "max, ceil and padded": lambda x: F.max_pool2d(x, (2, 3), (2, 3), 1, ceil_mode=True),
    "mean": lambda x: F.avg_pool2d(x, 2),
    "mean, padding counts": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "mean, padding does not count": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "mean, ceil": lambda x: F.avg_pool2d(x, 3, 2, 0, ceil_mode=True),
    "mean, ceil, padding counts": lambda x: F.avg_pool2d(x, (3, 4), (2, 3), 1, ceil_mode=True),
    "adaptive, one": lambda x: F.adaptive_avg_pool2d(x, 1),
    "adaptive, not even": lambda x: F.adaptive_avg_pool2d(x, (3, 5)),
    "adaptive, more pixels than there are": lambda x: F.adaptive_avg_pool2d(x, (14, 20)),
    "adaptive, one axis": lambda x: F.adaptive_avg_pool2d(x, (None, 2)),
    "mean of pixels": lambda x: x.mean((2, 3)),
    "mean of pixels, kept": lambda x: x.mean([-1, -2], keepdim=True),
}


@pytest.mark.parametrize("kind", POOLS)
def test_pools(each_isa: str, kind: str) -> None:
    check(Of(POOLS[kind]), X)


REGIONS = {
    "cat": lambda x: torch.cat([x, x[:, :5], x], 1),
    "cat of rows": lambda x: torch.cat([x, x], 2),
    "cat of columns": lambda x: torch.cat([x, x[..., ::3]], -1),
    "pad": lambda x: F.pad(x, (1, 2, 3, 0)),
    "pad with a number": lambda x: F.pad(x, (0, 1), value=-2.5),
    "pad channels": lambda x: F.pad(x, (0, 0, 0, 0, 8, 7)),
    "cut off": lambda x: F.pad(x, (-1, 2, -3, -2)),
    "every other pixel, more channels": lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 12, 12)),
    "channels": lambda x: x[:, 3:21],
    "every other channel": lambda x: x[:, ::2],
    "images one after another": lambda x: torch.cat([x, x], 0),
    "last rows": lambda x: x[:, :, -4:],
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "nearest, to a size": lambda x: F.interpolate(x, size=(7, 31)),
    "nearest, by a fraction": lambda x: F.interpolate(x, scale_factor=(1.7, 0.6)),
    "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "bilinear, corners": lambda x: F.interpolate(x, size=(20, 6), mode="bilinear", align_corners=True),
    "bilinear, one pixel": lambda x: F.interpolate(x, size=(1, 1), mode="bilinear", align_corners=True),
    "bilinear, by a fraction": lambda x: F.interpolate(x, scale_factor=1.3, mode="bilinear"),
    "flatten": lambda x: torch.flatten(x, 1),
    "view": lambda x: x.view(2, -1),
}


@pytest.mark.parametrize("kind", REGIONS)
def test_regions(each_isa: str, kind: str) -> None:
    check(Of(REGIONS[kind]), X)


NUMBERS = {
    "relu": F.relu,
    "relu6": F.relu6,
    "hardtanh": lambda x: F.hardtanh(x, 0, 6),
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "twice": lambda x: x + x,
    "square": lambda x: x * x,
    "less than itself": lambda x: F.relu(x - x[..., :1]),
    "gate": lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)),
    "gate from the left": lambda x: torch.sigmoid(x.mean((2, 3), keepdim=True)) * x,
    "a row for all": lambda x: x + x[:, :, 4:5],
    "a channel for all": lambda x: x * x[:, 2:3],
    "a channel's pixel for all": lambda x: x - x[:, 23:24, 3:4, 4:5],
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_number_by_number(each_isa: str, kind: str) -> None:
    check(Of(NUMBERS[kind]), X)


@pytest.mark.parametrize("activation", [torch.sigmoid, F.silu], ids=["sigmoid", "silu"])
def test_exponentials_far_out(each_isa: str, activation: Callable[[torch.Tensor], torch.Tensor]) -> None:
    check(Of(activation), X, scale=60.0)


@pytest.mark.parametrize("function", [torch.sigmoid, F.silu, F.hardsigmoid, F.hardswish], ids=lambda one: one.__name__)
def test_activations_where_numbers_end(each_isa: str, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """As torch: after a convolution too, whose tiles an activation finishes."""
    edge = torch.tensor([-math.inf, -1000.0, -104.0, -90.0, -0.0, 0.0, 90.0, 1000.0, math.inf, math.nan])
    x = torch.zeros(1, 16, 2, 5)
    x[0, :] = edge.reshape(2, 5)
    once = nn.Conv2d(16, 16, 1, groups=16, bias=False)
    once.weight.data.fill_(1.0)
    for model in (Of(function), nn.Sequential(once, Of(function))):
        with torch.no_grad():
            expected = model(x)
        found = pipeline(model.eval(), (x,))(x)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-37, equal_nan=True)


def normed(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    generator = torch.Generator().manual_seed(5)
    for one in (norm.running_mean, norm.bias.data, norm.weight.data):
        one.normal_(generator=generator)
    norm.running_var.uniform_(0.5, 2, generator=generator)
    return norm


def test_a_norm_that_follows_no_convolution(each_isa: str) -> None:
    steps = check(Of(lambda x, norm: F.relu(norm(F.max_pool2d(x, 2))), norm=normed(24)), X)
    assert steps == ["input", "pool", "scale_shift", "output"]


def test_a_norm_beside_another_reader_of_the_convolution(each_isa: str) -> None:
    def both(x: torch.Tensor, conv: nn.Module, norm: nn.Module) -> torch.Tensor:
        y = conv(x)
        return norm(y) + y

    assert "scale_shift" in check(Of(both, conv=nn.Conv2d(24, 40, 1), norm=normed(40)), X)


def test_squeeze_and_excitation(each_isa: str) -> None:
    def gated(x: torch.Tensor, conv: nn.Module, norm: nn.Module, less: nn.Module, more: nn.Module) -> torch.Tensor:
        y = F.silu(norm(conv(x)))
        return y * torch.sigmoid(more(F.silu(less(y.mean((2, 3), keepdim=True)))))

    parts = {"conv": nn.Conv2d(24, 24, 5, 2, 2, groups=24), "norm": normed(24)}
    steps = check(Of(gated, **parts, less=nn.Conv2d(24, 6, 1), more=nn.Conv2d(6, 24, 1)), X)
    steps = [step for step in steps if step != "clear"]
    assert steps == ["input", "convolution", "pool", "convolution", "convolution", "combine", "output"]


def test_zeros_around_images_are_a_convolution_s_padding(each_isa: str) -> None:
    steps = check(Of(lambda x, conv: conv(F.pad(x, (0, 1, 2, 3))), conv=nn.Conv2d(24, 8, 3, 2)), X)
    assert "assemble" not in steps


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_paddings_by_name(each_isa: str, padding: str) -> None:
    check(Of(lambda x, conv: conv(x), conv=nn.Conv2d(24, 8, (4, 3), padding=padding, dilation=(1, 2))), X)


def test_padding_with_another_reader_is_a_step(each_isa: str) -> None:
    def both(x: torch.Tensor, conv: nn.Module) -> torch.Tensor:
        y = F.pad(x, (1, 1, 1, 1))
        return conv(y) + y

    assert "assemble" in check(Of(both, conv=nn.Conv2d(24, 24, 1)), X)


def test_an_image_that_is_no_convolution_s(each_isa: str) -> None:
    check(Of(lambda x, conv: conv(x) * x[:, :1], conv=nn.Conv2d(3, 20, 3, padding=1)), (1, 3, 9, 10))


def test_weights_that_are_not_coded(each_isa: str) -> None:
    """Small ones stay dense; noise is never smaller."""
    linear = nn.Linear(24, 33)
    linear.weight.data.view(torch.int32).random_(0x3F000000, 0x3F7FFFFF)
    check(Of(lambda x, conv, linear: linear(conv(x).mean((2, 3))), conv=nn.Conv2d(24, 24, 1), linear=linear), X)


def test_infinities_and_nan_pass(each_isa: str) -> None:
    x = torch.randn(1, 16, 6, 6)
    x[0, 3, 2, 2], x[0, 4, 3, 3], x[0, 5, 1, 1] = float("nan"), float("inf"), -float("inf")
    for function in (F.relu, F.relu6, F.hardsigmoid, torch.sigmoid, lambda v: F.max_pool2d(v, 2), lambda v: v + v):
        found = executed(Of(function).eval(), (x,)).run(x.numpy())[0]
        np.testing.assert_allclose(found, function(x).numpy(), rtol=1e-6, atol=1e-7)


def test_what_there_is_not_is_left_to_torch_and_named() -> None:
    made = pipeline(Of(lambda x: F.avg_pool2d(x, 2, divisor_override=3)).eval(), (torch.randn(X),))
    assert any("a divisor of its own" in reason for reason in made.left.values())


@pytest.mark.parametrize(
    "arguments",
    [
        {"scale_factor": 2, "mode": "nearest"},
        {"scale_factor": 2.0, "mode": "bilinear"},
        {"size": (9, 9), "mode": "bilinear", "align_corners": True},
    ],
)
def test_resized_images_run_from_a_file(arguments: dict[str, Any], tmp_path: Path) -> None:
    class Resized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.interpolate(self.first(x), **arguments)

    model, x = Resized().eval(), torch.randn(2, 3, 10, 10)
    with torch.no_grad():
        pipe = pipeline(model, (x,))
        pipe.save(tmp_path / "net.safetensors")
        (found,) = tersely.load_pipeline(tmp_path / "net.safetensors").run(x.numpy())
        np.testing.assert_array_equal(found, pipe(x).numpy())
