"""What `compress_` works through: a parameter with its places, how it is to be compressed, and how its memory lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from tersely.backends.cpu.threads import get_num_threads
from tersely.codes.protocol import Candidate, Request
from tersely.core.dtypes import raw_bytes
from tersely.core.errors import ArgumentError
from tersely.core.geometry import choose
from tersely.planner import choose as plan
from tersely.planner.profiles import Profile
from tersely.torch.modules.int8_linear import Int8Linear
from tersely.torch.weight.dtypes import as_array
from tersely.torch.weight.layouts import LAYOUTS, strides_of

_ORIENTED = ("Conv1D",)
"""Classes (of transformers) whose weights are stored [inputs, outputs]."""


@dataclass(frozen=True)
class Settings:
    """How one parameter is compressed. options: of `tersely.encode`. minimum_bytes: smaller ones stay dense."""

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

    @property
    def only_decoded(self) -> bool:
        """Whether every operator that takes it decodes all of it first, so that codes save memory and no time."""
        return all(_is_only_decoded(owner, self.parameter) for owner, _ in self.places)

    @property
    def is_convolution(self) -> bool:
        """Whether it is the kernel of a convolution that products cannot compute."""
        return self.only_decoded and not any(isinstance(owner, _LOOKUPS) for owner, _ in self.places)

    def wrap(self, tensor: Tensor, requires_grad: bool) -> Tensor:
        """Returns the tensor as its places take it."""
        return tensor if self.is_buffer else nn.Parameter(tensor, requires_grad=requires_grad)


_LOOKUPS = (nn.EmbeddingBag, nn.Bilinear)
"""Layers besides convolutions whose operators decode their weight."""


def _is_only_decoded(owner: nn.Module, parameter: Tensor) -> bool:
    if isinstance(owner, _LOOKUPS):
        return True
    if not isinstance(owner, _ConvNd):  # a kernel that some module keeps for itself is known by its shape alone
        return choose(tuple(parameter.shape)).view == "convolution" and set(parameter.shape[2:]) != {1}
    padded = not isinstance(owner.padding, str) and any(owner.padding)
    return owner.transposed or owner.groups != 1 or padded or set(owner.kernel_size) != {1}


def layout_of(parameter: Tensor) -> str | None:
    for layout in ("channels_last", "channels_last_3d"):
        # Kernels of one tap lie in memory in either way, and torch goes by their strides.
        if parameter.stride() == strides_of(parameter.shape, layout) != strides_of(parameter.shape, LAYOUTS[0]):
            return layout
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


def request_of(use: Use, own: Settings, view: str = "") -> Request:
    """Returns what the formulations are asked about a parameter."""
    _, base, orientation = prepared(use)
    array = as_array(base)
    return Request(
        raw_bytes(array).view(f"<u{array.itemsize}").reshape(array.shape),
        array.dtype.name,
        orientation,
        own.objective,
        own.profile.machine,
        own.threads or get_num_threads(),
        view,
        own.batch,
        own.profile.costs,
    )


def forced(use: Use, own: Settings) -> Candidate:
    """Returns the candidate that a parameter's own formulation and options name, not coded yet.

    Raises ArgumentError naming the parameter where there is none.
    """
    options = dict(own.options or {})
    formulation = options.pop("formulation")
    request = request_of(use, own, options.pop("view", ""))
    try:
        return plan.candidate_for(replace(request, formulation=formulation, parameters=options))
    except ArgumentError as error:
        raise ArgumentError(f"config for {use.name!r}: {error}") from None
