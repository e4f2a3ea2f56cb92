"""PyTorch's own product of dense weights: `torch.nn.functional.linear`, in the dtype of the weights."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import Stored
from tersely.report.bench import huge_copy

_DTYPES = ("float32", "float16", "bfloat16")


def version() -> str:
    import torch  # noqa: F401

    return importlib.metadata.version("torch")


def tensor_of(array: np.ndarray) -> Any:
    """The same bits as a tensor of torch, in memory of its own, on huge pages where there are any."""
    import torch

    words = huge_copy(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return torch.from_numpy(words).view(getattr(torch, array.dtype.name)).reshape(array.shape)


def encode(array: np.ndarray) -> Stored:
    return Stored(tensor_of(array), array.nbytes, array.shape, array.dtype)


def decode(stored: Stored) -> Any:
    import torch

    return stored.data.contiguous().reshape(-1).view(torch.uint8).numpy()


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    import torch

    if stored.dtype.name not in _DTYPES:
        return None
    rows = tensor_of(x)
    return lambda: torch.nn.functional.linear(rows, stored.data)
