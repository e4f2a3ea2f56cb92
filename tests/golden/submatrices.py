"""Tensors of golden files with empty rows and columns. None of this ever changes."""

from __future__ import annotations

import itertools

import numpy as np

import tersely
from golden.arithmetic import noise, pruned, repeated, weights


def submatrices_1_0() -> dict[str, tersely.Tensor]:
    """`submatrix`: every dtype, every formulation inside, views, rows that are kept though they are empty."""

    def holed(array: np.ndarray, seed: int) -> np.ndarray:
        """About a third of the rows, and of the places of the second dimension, empty."""
        array = array.copy()
        array[noise(len(array), seed) % 3 == 0] = 0
        array[:, noise(array.shape[1], seed + 1) % 3 == 0] = 0
        return array

    options = {"formulation": "submatrix", "profile": "portable"}
    found = {}
    dtypes = ("float32", "bfloat16", "float16")
    split = ({"code": "packed"}, {"code": "layered", "widths": (2, 1)})
    for k, (dtype, code) in enumerate(itertools.product(dtypes, split)):
        array = holed(weights((64, 96), dtype, 1600 + 10 * k), 1605 + 10 * k)
        found[f"{dtype}.{code['code']}"] = tersely.encode(array, kept="split", **code, **options)
    for k, (dtype, positions) in enumerate(itertools.product(dtypes, ("bitmap", "gaps"))):
        array = holed(pruned((64, 160), dtype, 1700 + 10 * k, 3), 1705 + 10 * k)
        values = {"values": "split", "code": "packed"} if k % 2 else {}
        found[f"{dtype}.{positions}"] = tersely.encode(array, kept="sparse", positions=positions, **values, **options)
    for k, kept in enumerate(("blocks", "block_sparse")):
        array = holed(repeated((96, 120), "bfloat16", 1800 + 10 * k), 1805 + 10 * k)
        found[kept] = tersely.encode(array, kept=kept, **options)
    for k, kept in enumerate(("palette", "row_palette", "affine")):
        numbers = noise(96 * 120, 1840 + k).astype(np.int64).reshape(96, 120) % 7 - 3
        found[kept] = tersely.encode(holed(numbers.astype(np.float32), 1850 + 10 * k), kept=kept, **options)
    found["wide"] = tersely.encode(holed(weights((32, 4200), "bfloat16", 1900), 1905), **options)
    found["convolution"] = tersely.encode(holed(weights((64, 32, 3, 3), "float32", 1910), 1915), **options)
    turned = holed(weights((96, 64), "float32", 1920), 1925)
    found["in_out"] = tersely.encode(turned, orientation="in_out", **options)
    few = np.zeros((64, 64), np.float32)
    few[5:22, 3:44] = weights((17, 41), "float32", 1930)
    found["filled"] = tersely.encode(few, **options)
    return found
