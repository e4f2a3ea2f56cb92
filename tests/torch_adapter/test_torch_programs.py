"""Exported programs on dense weights, where they hold slices of weights and int8 layers."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn
from torch.nn import functional as F
from torch_fixtures import EVERYTHING, two_threads

import tersely.torch

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stack = nn.Parameter(torch.randn(3, 48, 64), requires_grad=False)
        self.int8 = tersely.torch.Int8Linear.from_linear(nn.Linear(64, 48))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        chosen = F.linear(x, self.stack[1]) + F.linear(x, self.stack[2][:, :])
        return torch.cat([chosen, x @ self.stack[0].t(), self.int8(x), F.linear(x, self.stack[1:].reshape(96, 64))], 1)


@pytest.mark.parametrize("codes", [False, True])
@pytest.mark.parametrize("decomposed", [False, True])
def test_programs_of_parts_and_of_whole_numbers(codes: bool, decomposed: bool) -> None:
    model = Experts().eval().requires_grad_(False)
    x = torch.randn(4, 64)
    expected = model(x)
    config: Any = {"int8": {"formulation": "integer", "minimum_bytes": 0} if codes else None, **EVERYTHING}
    assert "stack" in tersely.torch.compress_(model, objective="size", config=config).compressed
    program = torch.export.export(model, (x,))
    made = tersely.torch.dense_program(program.run_decompositions() if decomposed else program)
    assert not tersely_operators(made)
    torch.testing.assert_close(made.module()(x), expected)


def tersely_operators(program: Any) -> list[str]:
    return [str(node.target) for node in program.graph.nodes if "tersely" in str(node.target)]
