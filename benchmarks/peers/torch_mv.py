"""PyTorch's product with one row of x: `torch.mv`, which some versions multiply by another kernel than `F.linear`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import Stored, torch_linear

version, encode, decode = torch_linear.version, torch_linear.encode, torch_linear.decode


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    import torch

    if len(x) != 1 or torch_linear.product(stored, x) is None:
        return None
    column = torch_linear.tensor_of(x[0])
    return lambda: torch.mv(stored.data, column)
