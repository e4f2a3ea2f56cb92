"""Kernels against memory that ends: components that stop at a protected page, with payload from an enemy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.arrays import CODES, DTYPES, needs_native, normal
from support.guarded import GuardedBytes, run_everything
from support.split_codes import encode_or_none

import tersely
from tersely.tensors.tensor import Tensor

pytestmark = [needs_native, pytest.mark.kernels, pytest.mark.bfloat16_kernels]


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
