"""Operators in place: what they write is seen wherever torch sees it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.arrays import needs_native
from torch import nn

from tersely.torch.networks.pipeline import pipeline

pytestmark = needs_native


class Of(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


def part_of_a_value(x: torch.Tensor) -> torch.Tensor:
    x = x * 1
    x[:, :2].add_(1)
    return x


def part_that_is_filled(x: torch.Tensor) -> torch.Tensor:
    x = x * 1
    x[:, 1:3] = 0
    x[:, 3] = x[:, 0] + 1
    return x


def seen_in_another_shape(x: torch.Tensor) -> torch.Tensor:
    y = x * 1
    flat = y.view(-1)
    y.relu_()
    return flat * 2


def read_again(x: torch.Tensor) -> torch.Tensor:
    y = x * 2
    return F.relu(y, inplace=True) + y


def through_a_dropout(x: torch.Tensor) -> torch.Tensor:
    y = x * 2
    F.dropout(y, training=False).relu_()
    return y


def one_of_several_parts(x: torch.Tensor) -> torch.Tensor:
    first, second = (x * 1).chunk(2, 1)
    first.relu_()
    return torch.cat([first, second], 1)


def a_constant(x: torch.Tensor) -> torch.Tensor:
    number = torch.zeros(4)
    y = x + number
    number.fill_(3)
    return y * number


FUNCTIONS = (
    part_of_a_value, part_that_is_filled, seen_in_another_shape, read_again, through_a_dropout, one_of_several_parts,
    a_constant,
)  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda one: one.__name__)
def test_what_is_written_is_seen(function: Callable[[torch.Tensor], Any]) -> None:
    x = torch.randn(2, 4, 5, 4)
    made = pipeline(Of(function).eval(), (x,))
    assert made.left == {}
    torch.testing.assert_close(made(x), function(x))


def test_inputs_that_are_written_to() -> None:
    made = pipeline(Of(lambda x: x.mul_(2) + 1).eval(), (torch.ones(3),))
    x = torch.ones(3)
    assert made(x).tolist() == [3.0] * 3
    assert x.tolist() == [2.0] * 3


class Counting(nn.Module):
    """A buffer that counts its calls, beside a convolution and a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.add_(1)
        return torch.relu_(self.norm(self.convolution(x))) * self.calls


def test_buffers_that_are_written_to() -> None:
    model = Counting().eval()
    other = copy.deepcopy(model)
    x = torch.randn(1, 3, 9, 9)
    made = pipeline(model, (x,))
    assert "writes to calls" in repr(made)
    for _ in range(3):
        with torch.no_grad():
            torch.testing.assert_close(made(x), other(x), rtol=1e-5, atol=1e-5)
