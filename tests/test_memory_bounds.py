"""Kernels against memory that ends: components that stop at a protected page, with payload from an enemy."""

from __future__ import annotations

import ctypes
import dataclasses
import itertools
import mmap

import numpy as np
import pytest
from conftest import CODES, DTYPES, normal
from test_split import encode_or_none

import tersely
from tersely.backends.cpu import native
from tersely.tensors.linear import linear, linear_transposed
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.skipif(not native.available(), reason="needs the native module")

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


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("hostile", [False, True], ids=["honest", "hostile"])
def test_no_kernel_reads_past_a_component(
    dtype: np.dtype, hostile: bool, each_isa: str, rng: np.random.Generator
) -> None:
    for shape in ((48, 100), (32, 2100), (64, 32), (5,)):
        for code in CODES:
            encoded = encode_or_none(normal(rng, shape, dtype), "out_in", code)
            if encoded is None:
                continue
            guards = {name: GuardedBytes(data) for name, data in encoded.components.items()}
            for fill in (None, 0xFF, 0x00, "random") if hostile else (None,):
                for name, guard in guards.items():
                    if name == "directory" or fill is None:
                        continue  # the directory is checked when a file is opened; payload is not
                    guard.array[:] = rng.integers(256, size=guard.array.size) if fill == "random" else fill
                components = {name: guard.array for name, guard in guards.items()}
                tensor = Tensor(dataclasses.replace(encoded, components=components))
                run_everything(tensor, rng)


def test_impossible_directories_are_refused(rng: np.random.Generator) -> None:
    encoded = tersely.encode(
        normal(rng, (64, 4096), np.dtype(np.float32)), formulation="split", code="layered", widths=(2, 2)
    ).encoded
    for word in range(encoded.components["directory"].nbytes // 8):
        for value in (2**20, 2**31, 2**63, 2**64 - 2**20):
            directory = encoded.components["directory"].copy()
            directory.view("<u8")[word] += np.uint64(value)
            components = {**encoded.components, "directory": directory}
            damaged = dataclasses.replace(encoded, components=components)
            used = 2 * (Tensor(encoded).geometry.segments + 1)
            if word < used:
                with pytest.raises(tersely.CorruptError, match=r"component"):
                    Tensor(damaged)
