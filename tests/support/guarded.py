"""Memory that ends: a copy of bytes whose last one lies before a protected page, and everything that reads it."""

from __future__ import annotations

import ctypes
import itertools
import mmap

import numpy as np
from support.arrays import normal

from tersely.tensors.linear import linear, linear_transposed
from tersely.tensors.tensor import Tensor

_libc = ctypes.CDLL(None, use_errno=True)


class GuardedBytes:
    """A copy of bytes that ends where a protected page begins: reading one byte further kills the process."""

    def __init__(self, data: np.ndarray) -> None:
        pages = -(-data.nbytes // mmap.PAGESIZE)
        self._map = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
        whole = np.frombuffer(self._map, np.uint8)
        guard = whole.ctypes.data + pages * mmap.PAGESIZE
        assert _libc.mprotect(ctypes.c_void_p(guard), mmap.PAGESIZE, 0) == 0
        end = pages * mmap.PAGESIZE
        self.array = whole[end - data.nbytes : end]
        self.array[:] = data


def run_everything(tensor: Tensor, rng: np.random.Generator) -> None:
    tensor.decode()
    if tensor.ndim == 2 and tensor.geometry.view == "matrix":
        x_dtypes = [np.dtype(np.float32)] + ([tensor.dtype] if tensor.dtype.itemsize == 2 else [])
        for dtype, batch in itertools.product(x_dtypes, (1, 2, 4, 9, 20)):
            with np.errstate(all="ignore"):
                linear(normal(rng, (batch, tensor.shape[1]), dtype), tensor)
                linear_transposed(normal(rng, (batch, tensor.shape[0]), dtype), tensor)
    for _ in range(20):
        tensor[tuple(int(rng.integers(length)) for length in tensor.shape)]
