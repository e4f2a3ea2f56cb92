"""Tensors of golden files whose rows, or groups of columns, have something of their own. None of this ever changes."""

from __future__ import annotations

import itertools

import numpy as np

import tersely
from golden.arithmetic import DTYPES, noise, weights


def affine_1_0() -> dict[str, tersely.Tensor]:
    """`affine`: every dtype, bits and code, groups, zeros of their own, -0.0, views."""

    def quantised(shape: tuple[int, ...], dtype: str, seed: int, most: int, columns: int = 0) -> np.ndarray:
        """(number - 1) x a scale for each row, or so many of its columns; numbers from -most to most, thinning out."""
        count = int(np.prod(shape))
        throws = sum(noise(count, seed + k).astype(np.int64) % (2 * most + 1) for k in range(3))
        numbers = (throws // 3 - most).reshape(-1, columns or int(np.prod(shape[1:]) if len(shape) != 3 else shape[2]))
        numbers[:, :2] = 1, -1
        scales = (1 + noise(len(numbers), seed + 7).astype(np.int64) % 100).astype(np.float32) * np.float32(2.0**-9)
        return (numbers.astype(np.float32) * scales[:, None]).reshape(shape).astype(DTYPES[dtype])

    options = {"formulation": "affine", "profile": "portable"}
    found = {}
    for k, (dtype, most) in enumerate(itertools.product(("float32", "bfloat16", "float16"), (1, 7, 100))):
        array = quantised((48, 200), dtype, 1100 + 10 * k, most)
        found[f"{dtype}.{most}"] = tersely.encode(array, **options)
        negative = np.where((array == 0) & (noise(array.size, 1190 + k).reshape(array.shape) % 2 == 0), -array, array)
        found[f"{dtype}.{most}.packed"] = tersely.encode(negative, code="packed", **options)
    wide = quantised((32, 2112), "float32", 1200, 7, 32)
    wide[:, :64] = np.abs(wide[:, :64])
    wide[3, ::5] = -0.0
    found["groups"] = tersely.encode(wide, columns=32, **options)
    found["layered"] = tersely.encode(
        quantised((700, 48), "bfloat16", 1210, 3), code="layered", widths=(2, 1), **options
    )
    found["binary"] = tersely.encode(np.abs(quantised((16, 600), "float32", 1220, 1)), **options)
    found["stack"] = tersely.encode(quantised((3, 32, 48), "float16", 1230, 7, 16), **options)
    found["convolution"] = tersely.encode(quantised((32, 16, 3, 3), "float32", 1240, 100), **options)
    turned = np.ascontiguousarray(quantised((64, 48), "float32", 1250, 7).T)
    found["in_out"] = tersely.encode(turned, orientation="in_out", **options)
    return found


def row_palettes_1_0() -> dict[str, tersely.Tensor]:
    """`row_palette`: every dtype and bits, codes, groups, infinities and NaN, views."""

    def by_rows(shape: tuple[int, ...], dtype: str, seed: int, entries: int, columns: int = 0) -> np.ndarray:
        """So many words for each row, or so many of its columns, the first ones more often."""
        count = int(np.prod(shape))
        length = columns or int(np.prod(shape[1:]) if len(shape) != 3 else shape[2])
        tables = weights((count // length, entries), dtype, seed)
        throws = [noise(count, seed + 2 + k).astype(np.int64) % entries for k in range(2)]
        return np.take_along_axis(tables, np.minimum(*throws).reshape(-1, length), axis=1).reshape(shape)

    options = {"formulation": "row_palette", "profile": "portable"}
    found = {}
    for k, (dtype, entries) in enumerate(itertools.product(("float32", "bfloat16", "float16"), (2, 4, 13, 40))):
        array = by_rows((48, 200), dtype, 1300 + 10 * k, entries)
        found[f"{dtype}.{entries}"] = tersely.encode(array, **options)
        found[f"{dtype}.{entries}.packed"] = tersely.encode(array, code="packed", **options)
    found["groups"] = tersely.encode(by_rows((32, 2112), "float32", 1430, 8, 32), columns=32, **options)
    found["layered"] = tersely.encode(by_rows((700, 48), "bfloat16", 1440, 7), code="layered", widths=(2, 1), **options)
    endless = by_rows((16, 96), "float16", 1450, 6)
    endless.view("<u2")[3] = 0x7C00 + noise(96, 1456).astype(np.uint16) % 3
    endless.view("<u2")[4, ::3] = 0xFE01
    found["endless"] = tersely.encode(endless, **options)
    found["constant"] = tersely.encode(by_rows((32, 64), "bfloat16", 1460, 1), code="constant", **options)
    found["stack"] = tersely.encode(by_rows((3, 32, 80), "float16", 1470, 4, 16), columns=16, **options)
    found["convolution"] = tersely.encode(by_rows((32, 16, 3, 3), "float32", 1480, 16), **options)
    turned = np.ascontiguousarray(by_rows((64, 48), "float32", 1490, 12).T)
    found["in_out"] = tersely.encode(turned, orientation="in_out", **options)
    return found


def sparse_numbers_1_0() -> dict[str, tersely.Tensor]:
    """`affine` and `row_palette` over `sparse`: every dtype, positions, coded values, zeros that signed bytes do not fit."""

    def pruned_numbers(
        shape: tuple[int, ...], dtype: str, seed: int, low: int, high: int, columns: int = 0
    ) -> np.ndarray:
        """About one in four a number from low to high x a scale for each row, or so many of its columns."""
        count, length = int(np.prod(shape)), columns or int(np.prod(shape[1:]))
        numbers = noise(count, seed).astype(np.int64).reshape(-1, length) % (high - low + 1) + low
        numbers[:, :2] = low, 1
        numbers[noise(count, seed + 1).reshape(-1, length) % 4 > 0] = 0
        numbers[:, 2:4] = high, 1
        scales = (1 + noise(len(numbers), seed + 2).astype(np.int64) % 100).astype(np.float32) * np.float32(2.0**-9)
        return (numbers.astype(np.float32) * scales[:, None]).reshape(shape).astype(DTYPES[dtype])

    found = {}
    forms = {
        "bitmap": {"positions": "bitmap"},
        "elias_fano": {"positions": "elias_fano"},
        "coded": {
            "positions": "bitmap",
            "values": "integer",
            "bit_layout": "index",
            "code": "layered",
            "widths": (2, 1),
        },
    }
    for k, (dtype, form) in enumerate(itertools.product(("float32", "bfloat16", "float16"), forms)):
        array = pruned_numbers((48, 200), dtype, 1500 + 10 * k, -7, 7)
        options = {"profile": "portable", **forms[form]}
        found[f"affine.{dtype}.{form}"] = tersely.encode(array, formulation="affine", numbers="sparse", **options)
        found[f"row_palette.{dtype}.{form}"] = tersely.encode(
            array, formulation="row_palette", indices="sparse", **options
        )
    options = {"formulation": "affine", "numbers": "sparse", "positions": "bitmap", "profile": "portable"}
    found["bytes"] = tersely.encode(pruned_numbers((32, 2112), "float32", 1600, -127, 127), **options)
    found["unsigned"] = tersely.encode(pruned_numbers((32, 200), "float32", 1610, -20, 220), **options)
    found["groups"] = tersely.encode(pruned_numbers((32, 256), "float32", 1620, -7, 7, 32), columns=32, **options)
    found["stack"] = tersely.encode(pruned_numbers((3, 32, 48), "float16", 1630, -7, 7), **options)
    found["convolution"] = tersely.encode(pruned_numbers((32, 16, 3, 3), "float32", 1640, -100, 100), **options)
    turned = np.ascontiguousarray(pruned_numbers((64, 48), "float32", 1650, -7, 7).T)
    found["in_out"] = tersely.encode(turned, orientation="in_out", **options)
    return found


def gap_numbers_1_0() -> dict[str, tersely.Tensor]:
    """`affine` over gaps: every dtype, groups, coded values, distances beyond 255, views."""

    def pruned_bytes(shape: tuple[int, ...], dtype: str, seed: int, columns: int = 0, kept: int = 8) -> np.ndarray:
        """About one in `kept` a signed byte x a power of two for each row, or so many of its columns."""
        count, length = int(np.prod(shape)), columns or int(np.prod(shape[1:]))
        numbers = noise(count, seed).astype(np.int8).astype(np.float32).reshape(-1, length)
        numbers[noise(count, seed + 1).reshape(-1, length) % kept > 0] = 0
        numbers[:, 1] = 1
        scales = np.exp2(-4 - (noise(len(numbers), seed + 2) % 5).astype(np.float32))
        return (numbers * scales[:, None]).reshape(shape).astype(DTYPES[dtype])

    options = {"formulation": "affine", "numbers": "sparse", "positions": "gaps", "profile": "portable"}
    found = {}
    for k, dtype in enumerate(("float32", "bfloat16", "float16")):
        array = pruned_bytes((304, 200), dtype, 1700 + 10 * k)
        found[dtype] = tersely.encode(array, **options)
        found[f"{dtype}.coded"] = tersely.encode(
            array, values="integer", bit_layout="index", code="layered", widths=(2, 1), **options
        )
        found[f"{dtype}.groups"] = tersely.encode(
            pruned_bytes((48, 256), dtype, 1750 + 10 * k, 32), columns=32, **options
        )
    found["far"] = tersely.encode(pruned_bytes((32, 2112), "float32", 1800, kept=250), **options)
    found["stack"] = tersely.encode(pruned_bytes((3, 32, 48), "float16", 1810, 48), columns=0, **options)
    found["convolution"] = tersely.encode(pruned_bytes((32, 16, 3, 3), "float32", 1820), **options)
    turned = np.ascontiguousarray(pruned_bytes((64, 48), "float32", 1830).T)
    found["in_out"] = tersely.encode(turned, orientation="in_out", **options)
    return found
