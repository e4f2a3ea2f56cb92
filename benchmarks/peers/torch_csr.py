"""PyTorch's compressed sparse rows, float32, one row of x: the sparse product that its users have."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import Stored, torch_linear

version = torch_linear.version


def encode(array: np.ndarray) -> Stored:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's CSR is in beta
        csr = torch_linear.tensor_of(array).to_sparse_csr()
    parts = (csr.crow_indices(), csr.col_indices(), csr.values())
    return Stored(csr, sum(part.nbytes for part in parts), array.shape, array.dtype)


def decode(stored: Stored) -> Any:
    return stored.data.to_dense().numpy()  # -0.0 becomes 0.0: CSR keeps what is not equal to zero


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    import torch

    if len(x) != 1 or stored.dtype != np.float32:
        return None
    column = torch_linear.tensor_of(x[0])
    return lambda: torch.mv(stored.data, column)
