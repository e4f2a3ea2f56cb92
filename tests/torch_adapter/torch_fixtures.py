"""What the tests of tersely.torch share: each imports by name what it uses, so that folders run alone and in any order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

import tersely.torch
from tersely.torch import TerselyTensor

EVERYTHING = {"_default": {"minimum_bytes": 0}}
"""A config under which small weights are compressed too."""


class Tied(nn.Module):
    """embed and head, which are one weight or two."""

    def __init__(self, tied: bool = True) -> None:
        super().__init__()
        self.embed = nn.Embedding(300, 96)
        self.head = nn.Linear(96, 300, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(tokens))


def weight(*shape: int, dtype: Any = torch.float32) -> torch.Tensor:
    """Weights drawn as networks have them."""
    return (torch.randn(*shape) * 0.05).to(dtype)


def coded(dense: torch.Tensor, mode: str = "fused", **options: Any) -> TerselyTensor:
    """Coded even where that does not make it smaller."""
    return tersely.torch.encode(dense, mode=mode, formulation="split", **options)


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal as unsigned integers, in shape and dtype; compressed ones are decoded."""
    a, b = (t.decode() if isinstance(t, TerselyTensor) else t for t in (a, b))
    words = {1: torch.uint8, 2: torch.int16, 4: torch.int32}[a.dtype.itemsize]
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a.view(words), b.view(words))


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(2)


@pytest.fixture(params=["fused", "identical"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["no_grad", "inference_mode"])
def under(request: pytest.FixtureRequest) -> Callable[[], Any]:
    """What people run models under: `with under(): ...`. Views and writes take other ways in torch under each."""
    return getattr(torch, request.param)  # type: ignore[no-any-return]


@pytest.fixture
def compressed() -> Callable[..., Any]:
    """A deep copy of a module, compressed down to its smallest matrix."""
    import copy

    def make(module: Any, **arguments: Any) -> Any:
        module = copy.deepcopy(module)
        summary = tersely.torch.compress_(module, **{"config": EVERYTHING, **arguments})
        assert summary.compressed
        return module

    return make


@pytest.fixture(params=["float32", "bfloat16"])
def dtype(request: pytest.FixtureRequest) -> Any:
    return getattr(torch, request.param)
