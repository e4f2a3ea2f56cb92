"""The ways in which the dimensions of a decoded weight lie in memory: coding knows one, torch goes by strides."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tersely.torch.weight.placement import laid_at

LAYOUTS = ("contiguous", "transposed", "channels_last", "channels_last_3d")
FORMATS = {"channels_last": torch.channels_last, "channels_last_3d": torch.channels_last_3d}
"""torch's names of the layouts that have one."""


def strides_of(shape: Sequence[int], layout: str) -> tuple[int, ...]:
    """Returns strides as torch gives them to a tensor of that layout; contiguous ones where the layout is for other shapes."""
    order = list(range(len(shape)))
    if len(shape) == {"channels_last": 4, "channels_last_3d": 5}.get(layout):
        order.append(order.pop(1))
    strides, step = [0] * len(shape), 1
    for dim in reversed(order):
        strides[dim] = step
        step *= max(shape[dim], 1)
    return tuple(strides)


def laid_out(dense: Tensor, layout: str, residue: int = 0) -> Tensor:
    """Returns a decoded tensor with the strides of `layout`, its memory at that residue where it is copied for them."""
    if layout == "transposed":
        return dense.transpose(-2, -1)
    if layout in FORMATS and set(dense.shape[2:]) == {1}:  # `contiguous` would leave the strides as they are
        return dense.view(dense.shape[0], *dense.shape[2:], dense.shape[1]).movedim(-1, 1)
    if layout in FORMATS:
        return laid_at(dense.contiguous(memory_format=FORMATS[layout]), residue)
    return dense
