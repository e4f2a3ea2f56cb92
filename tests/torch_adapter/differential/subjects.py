"""The twins: a module around one weight, dense or compressed, and the names that expressions may use."""

from __future__ import annotations

import contextlib
import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

KINDS = ("float32", "bfloat16", "transposed", "stack", "conv", "embedding", "int8")
"""Kinds of weights. 'transposed' is square besides, for what linear algebra asks of square matrices alone."""
CONTEXTS: dict[str, Callable[[], Any]] = {
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
    "grad": contextlib.nullcontext,
}
"""What calls run under."""
SIDES = ("fused", "identical")
"""Numeric modes of the compressed twin."""


VALUES = 7
"""Different values that twins have: stale memory of an earlier call has the wrong ones."""


ALIASES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "detach": lambda w: w.detach(),
    "transposed": lambda w: w.mT,
    "rows": lambda w: w[1:3],
}
"""Made of the weight before the call, and looked at after it."""


class Stack(nn.Module):
    """Matrices on top of each other, multiplied one by one."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.bmm(x, self.weight)


@dataclass
class Subject:
    """One twin. module: owner of `weight`. names: of expressions. aliases: made before the call, looked at after it."""

    module: nn.Module
    weight: torch.Tensor
    x: torch.Tensor
    names: dict[str, Any]
    aliases: dict[str, torch.Tensor]


def _module(kind: str) -> tuple[nn.Module, torch.Tensor]:
    """A module with random weights, and an x for it."""
    if kind == "stack":
        module, x = Stack(3, 40, 24), torch.randn(3, 2, 40)
    elif kind == "conv":
        module, x = nn.Conv2d(12, 16, 3), torch.randn(1, 12, 5, 5)
    elif kind == "embedding":
        module, x = nn.Embedding(64, 24), torch.randint(0, 64, (2, 3))
    elif kind == "transposed":
        module, x = nn.Linear(40, 40), torch.randn(2, 40)
    else:
        module, x = nn.Linear(24, 40), torch.randn(2, 24)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.05)
    if kind == "transposed":
        module.weight = nn.Parameter(module.weight.detach().t().contiguous().t())
    if kind == "bfloat16":
        module, x = module.bfloat16(), x.bfloat16()
    if kind == "int8":
        import tersely.torch

        module = tersely.torch.Int8Linear.from_linear(module)  # type: ignore[arg-type]
    return module.requires_grad_(False).eval(), x


def _compress(module: nn.Module, mode: str, kind: str) -> None:
    import tersely.torch

    form = {"formulation": "integer"} if kind == "int8" else {"formulation": "split", "code": "packed", "bits": 4}
    config = {"_default": {"minimum_bytes": 0, **form}}
    dense = module.weight
    summary = tersely.torch.compress_(module, mode=mode, config=config, progress=False)
    assert len(summary.compressed) == 1, summary
    dense.data.view(torch.uint8).fill_(0xA5) if dense.is_contiguous() else dense.data.fill_(
        -77
    )  # nobody may read it now


@cache
def _original(kind: str, side: str, number: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """(a twin that is only copied, its x, a dense tensor like its weight)"""
    torch.manual_seed(number)
    module, x = _module(kind)
    weight = module.weight.detach()
    other = torch.roll(weight, 1, 0).clone() if kind == "int8" else (torch.randn(weight.shape) * 0.05).to(weight.dtype)
    if side != "dense":
        _compress(module, side, kind)
    return module, x, other.contiguous()


def make(kind: str, side: str, seed: int) -> Subject:
    """A twin with the same values on every side; different seeds have different ones. Made outside of any context."""
    original, x, other = _original(kind, side, seed % VALUES)
    module, x, o = copy.deepcopy(original), x.clone(), other.clone()
    w = module.weight
    first, last = o.shape[0], o.shape[-1]
    names: dict[str, Any] = {
        "o": o,
        "x": x,
        "v": o.flatten()[:last].clone(),
        "r": o.flatten()[-first:].clone(),
        "i": torch.tensor([2, 0]),
        "j": torch.arange(o.numel()).mul_(7).remainder_(min(o.shape)).view(o.shape),
        "k": o > 0,
        "d": {name: value.detach().clone() for name, value in module.state_dict().items() if name != "weight"},
    }
    names["d"]["weight"] = o.clone()
    twin = copy.copy(module)  # the same parameter in another module
    twin._parameters, twin._buffers = dict(module._parameters), dict(module._buffers)
    with torch.no_grad():
        aliases = {name: view(w) for name, view in ALIASES.items()}
    names |= {"m": module, "w": w, "tied": twin, **_known}
    return Subject(module, w, x, names, aliases)


def make_known(adapters: bool) -> None:
    """Import what expressions name, once. adapters: peft and accelerate too."""
    import operator

    import safetensors.torch as safe
    import torch.func
    import torch.jit
    import torch.multiprocessing.reductions
    import torch.nn.utils.parametrizations
    import torch.nn.utils.parametrize
    import torch.optim.swa_utils

    from differential import helpers

    _known.update(torch=torch, nn=nn, F=F, np=np, operator=operator, copy=copy, pickle=pickle, safe=safe)
    modules = [helpers]
    if adapters:
        from differential import helpers_adapters

        modules.append(helpers_adapters)
    for module in modules:
        _known.update({name: value for name, value in vars(module).items() if not name.startswith("_")})


_known: dict[str, Any] = {}
