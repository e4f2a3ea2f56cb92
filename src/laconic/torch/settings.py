"""What `compress_` works through: a parameter with its places, how it is to be compressed, and how its memory lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from laconic.profiles import Profile
from laconic.torch.int8 import Int8Linear
from laconic.torch.tensor import LAYOUTS

_ORIENTED = ("Conv1D",)
"""Classes (of transformers) whose weights are stored [inputs, outputs]."""


@dataclass(frozen=True)
class Settings:
    """How one parameter is compressed. options: of `laconic.encode`. minimum_bytes: smaller ones stay dense."""

    objective: str
    profile: Profile
    mode: str
    threads: int | None
    minimum_bytes: int
    options: Mapping[str, Any] | None = None
    batch: int = 1


@dataclass
class Use:
    """A parameter and every place in the module where it is used."""

    name: str
    parameter: Tensor
    places: list[tuple[nn.Module, str]]
    reason: str = ""

    @property
    def is_buffer(self) -> bool:
        """Whether it is the int8 weight of an `Int8Linear`, which is no parameter."""
        return isinstance(self.places[0][0], Int8Linear) and self.places[0][1] == "weight"

    def wrap(self, tensor: Tensor, requires_grad: bool) -> Tensor:
        """The tensor as its places take it."""
        return tensor if self.is_buffer else nn.Parameter(tensor, requires_grad=requires_grad)


def layout_of(parameter: Tensor) -> str | None:
    if parameter.is_contiguous():
        return LAYOUTS[0]
    if parameter.ndim >= 2 and parameter.transpose(-2, -1).is_contiguous():
        return LAYOUTS[1]
    if parameter.ndim == 4 and parameter.is_contiguous(memory_format=torch.channels_last):
        return LAYOUTS[2]
    if parameter.ndim == 5 and parameter.is_contiguous(memory_format=torch.channels_last_3d):
        return LAYOUTS[3]
    return None


def prepared(use: Use) -> tuple[str, Tensor, str]:
    """(layout, the dense contiguous tensor to code, its orientation) of a parameter whose layout is known."""
    layout = layout_of(use.parameter)
    assert layout is not None
    base = use.parameter.detach()
    base = base.transpose(-2, -1) if layout == "transposed" else base.contiguous()
    oriented = type(use.places[0][0]).__name__ in _ORIENTED
    if layout == "transposed":  # what is contiguous is the transpose, stored the other way round
        oriented = not oriented and use.parameter.ndim == 2
    return layout, base, "in_out" if oriented else "out_in"
