"""Memory for decoded weights that operators take, use and forget: one piece a thread, used again."""

from __future__ import annotations

import math
import threading

import torch
from torch import Tensor

from tersely.torch.weight.coded import Coded, RowSlice
from tersely.torch.weight.concatenated import Concatenated
from tersely.torch.weight.placement import LINE, at_residue
from tersely.torch.weight.weight_storage import WeightStorage, traced

_local = threading.local()


def scratch(shape: tuple[int, ...], dtype: torch.dtype, residue: int = 0) -> Tensor:
    """Returns uninitialised memory of this thread, which the next call of `scratch` overwrites.

    Args:
        residue: its address, in bytes modulo `placement.LINE`.
    """
    count = math.prod(shape) * dtype.itemsize + 2 * LINE
    kept: Tensor | None = _local.__dict__.get("kept")
    if kept is None or kept.numel() < count:
        with torch.inference_mode(False):  # used again outside of the mode that it may have been made in
            kept = _local.kept = torch.empty(count, dtype=torch.uint8, device="cpu")
    return at_residue(kept, residue, shape, dtype)


def decode_to_scratch(storage: WeightStorage) -> Tensor:
    """Returns the decoded storage, in `scratch` where it is not dense anyway; while tracing, an operator's result."""
    if traced(storage) or not isinstance(storage, (Coded, RowSlice, Concatenated)):
        return storage.decode()
    out = scratch(storage.shape, storage.dtype, storage.residue)
    storage.decode_into(out)
    return out
