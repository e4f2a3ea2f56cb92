"""The place in memory where decoded weights lie: at the address, modulo a cache line, at which the dense weight lay.

torch's product with one row of x gives other bits for other addresses of the same weight modulo 16 (torch 2.13, MKL), and
safetensors maps weights at any multiple of 8. What is decoded in mode "identical" lies as the dense weight did.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LINE = 64
"""Bytes: memory that torch allocates begins at multiples of it, and no kernel tells finer placements apart."""


def residue_of(tensor: Tensor) -> int:
    """Returns the address of a dense tensor modulo `LINE`; 0 where it has none."""
    if tensor.device.type != "cpu":
        return 0
    try:
        return int(tensor.data_ptr()) % LINE
    except RuntimeError:  # a compiler's or a transform's tensor
        return 0


def placed_like(residue: int, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Returns uninitialised contiguous memory on the CPU, `residue` bytes behind a multiple of `LINE`."""
    if residue % dtype.itemsize or not residue:  # no dense weight that torch multiplied lay so
        return torch.empty(shape, dtype=dtype, device="cpu")
    raw = torch.empty(math.prod(shape) * dtype.itemsize + 2 * LINE, dtype=torch.uint8, device="cpu")
    return at_residue(raw, residue, shape, dtype)


def laid_at(dense: Tensor, residue: int) -> Tensor:
    """Returns the tensor, strides and all, `residue` bytes behind a multiple of `LINE`: itself where it lies there."""
    if (
        dense.device.type != "cpu"
        or residue_of(dense) == residue
        or residue % dense.dtype.itemsize
        or not dense.numel()
    ):
        return dense
    order = sorted(range(dense.ndim), key=lambda dim: -dense.stride(dim))
    memory = placed_like(residue, [dense.shape[dim] for dim in order], dense.dtype)
    moved = memory.permute([order.index(dim) for dim in range(dense.ndim)])
    return moved.copy_(dense)


def at_residue(raw: Tensor, residue: int, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Returns the first place in `raw` that lies `residue` bytes behind a multiple of `LINE`.

    Args:
        raw: uint8, 2 x `LINE` longer than what is to lie there.
    """
    first = 0 if residue % dtype.itemsize else (residue - raw.data_ptr()) % LINE
    return raw[first : first + math.prod(shape) * dtype.itemsize].view(dtype).view(tuple(shape))
