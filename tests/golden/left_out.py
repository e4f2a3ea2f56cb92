"""Tensors of golden files that are integers with empty rows, columns and blocks. None of this ever changes."""

from __future__ import annotations

import numpy as np

import tersely
from golden.arithmetic import noise


def integers_left_out_1_0() -> dict[str, tersely.Tensor]:
    """`block_sparse` and `submatrix` of integers: every dtype and child, views, blocks that are full, and none."""

    def even(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
        """Integers of 6 bits, about zero or, unsigned, about 100."""
        found = noise(int(np.prod(shape)), seed).astype(np.int64) % 64 - (32 if dtype[0] == "i" else -68)
        return found.reshape(shape).astype(dtype)

    def holed(array: np.ndarray, seed: int) -> np.ndarray:
        """About a third of the rows, and of the places of the second dimension, empty."""
        array = array.copy()
        array[noise(len(array), seed) % 3 == 0] = 0
        array[:, noise(array.shape[1], seed + 1) % 3 == 0] = 0
        return array

    def in_blocks(shape: tuple[int, int], dtype: str, seed: int, tall: int, wide: int) -> np.ndarray:
        """About two in three blocks empty."""
        down, across = -(-shape[0] // tall), -(-shape[1] // wide)
        kept = noise(down * across, seed).reshape(down, across) % 3 == 0
        mask = np.kron(kept, np.ones((tall, wide), bool))[: shape[0], : shape[1]]
        return np.where(mask, even(shape, dtype, seed + 1), 0).astype(dtype)

    blocks = {"formulation": "block_sparse", "profile": "portable"}
    options = {"formulation": "submatrix", "profile": "portable"}
    found = {}
    for k, dtype in enumerate(("int8", "uint8")):
        for j, (block, tall, wide) in enumerate((("row", 1, 99), ("16x1", 16, 1), ("chunk", 16, 4))):
            array = in_blocks((47, 99), dtype, 2000 + 20 * k + 5 * j, tall, wide)
            found[f"{block}.{dtype}"] = tersely.encode(array, block=block, **blocks)
        for kept, own in (
            ("integer", {"bits": 5}),
            ("integer", {"code": "distances", "bit_layout": "index"}),
            ("dense", {}),
            ("sparse", {"positions": "bitmap"}),
            ("sparse", {"positions": "gaps"}),
            ("block_sparse", {"block": "chunk"}),
        ):
            name = ".".join(map(str, (kept, *own.values(), dtype)))
            array = holed(even((64, 96), dtype, 2050 + 10 * k), 2055 + 10 * k)
            found[f"submatrix.{name}"] = tersely.encode(array, kept=kept, **own, **options)
    for k, dtype in enumerate(("int16", "uint16")):
        array = holed(even((64, 96), dtype, 2080 + 10 * k), 2085 + 10 * k)
        found[f"submatrix.dense.{dtype}"] = tersely.encode(array, kept="dense", **options)
        coded = {"code": "distances", "bit_layout": "index"}
        found[f"submatrix.distances.{dtype}"] = tersely.encode(array, kept="integer", **coded, **options)
    found["wide"] = tersely.encode(in_blocks((33, 4100), "int8", 2100, 16, 4), block="chunk", **blocks)
    found["stack"] = tersely.encode(even((3, 31, 40), "int8", 2110), block="16x1", **blocks)
    found["none"] = tersely.encode(np.zeros((32, 32), np.int8), block="chunk", **blocks)
    turned = holed(even((96, 64), "int8", 2120), 2125)
    found["in_out"] = tersely.encode(turned, orientation="in_out", kept="dense", **options)
    filters = holed(even((64, 32, 3, 3), "uint8", 2130), 2135)
    found["convolution"] = tersely.encode(filters, kept="integer", **options)
    return found
