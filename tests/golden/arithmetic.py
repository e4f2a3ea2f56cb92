"""Arrays by arithmetic alone, which golden files hold: no random generator's stream matters, and none of this ever changes."""

from __future__ import annotations

import ml_dtypes
import numpy as np

DTYPES = {
    "float32": np.float32,
    "bfloat16": ml_dtypes.bfloat16,
    "float16": np.float16,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e5m2": ml_dtypes.float8_e5m2,
}


def noise(count: int, seed: int) -> np.ndarray:
    """uint32 [count]: a fixed mixing function of the position (the finaliser of MurmurHash3)."""
    state = np.arange(seed * 1_000_003, seed * 1_000_003 + count, dtype=np.uint64) & np.uint64(0xFFFFFFFF)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        state = ((state ^ (state >> np.uint64(shift))) * np.uint64(factor)) & np.uint64(0xFFFFFFFF)
    return (state ^ (state >> np.uint64(16))).astype(np.uint32)


def weights(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    """Weights whose exponents thin out as those of real layers do: sign x 2^-(leading zeros) x [1, 2)."""
    bits = noise(int(np.prod(shape, dtype=np.int64)), seed)
    fraction = (noise(bits.size, seed + 1) >> np.uint32(9)).astype(np.float64) / 2**23
    zeros = 31 - np.floor(np.log2((bits >> np.uint32(1)) + 1.0)).astype(int)
    values = np.where(bits & 1, -1.0, 1.0) * (1.0 + fraction) * np.exp2(-zeros.astype(np.float64))
    return values.reshape(shape).astype(np.float32).astype(DTYPES[dtype])


def pruned(shape: tuple[int, ...], dtype: str, seed: int, kept: int) -> np.ndarray:
    """`weights` of which about one in `kept` stays, some of them -0.0; the others are +0.0."""
    array = weights(shape, dtype, seed)
    places = noise(array.size, seed + 2).reshape(shape)
    array[places % kept != 0] = 0
    array[places % (31 * kept) == 0] = -0.0
    return array


def holed(array: np.ndarray, seed: int, keep: int) -> np.ndarray:
    """The array with one of `keep` weights kept."""
    array.reshape(-1).view(f"u{array.itemsize}")[noise(array.size, seed) % keep != 0] = 0
    return array


def n_of_m(shape: tuple[int, int], dtype: str, seed: int, n: int, m: int) -> np.ndarray:
    """`pruned` with at most n values in each m columns."""
    array = pruned(shape, dtype, seed, 2)
    for first in range(0, shape[1], m):
        block = array[:, first : first + m]
        block[np.cumsum(block.view(f"u{array.itemsize}") != 0, axis=1) > n] = 0
    return array


def shared(shape: tuple[int, ...], dtype: str, seed: int, words: int, skew: int = 1) -> np.ndarray:
    """Few distinct weights; with a skew, the first ones more often: their number is the least of as many throws."""
    table = weights((words,), dtype, seed)
    throws = [noise(int(np.prod(shape, dtype=np.int64)), seed + 2 + k) % np.uint32(words) for k in range(skew)]
    return table[np.minimum.reduce(throws)].reshape(shape)


def repeated(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    """Weights of which rows, columns and chunks are alike or empty."""
    array = weights((shape[0], int(np.prod(shape[1:], dtype=np.int64))), dtype, seed)
    rows, columns = np.arange(array.shape[0]), np.arange(array.shape[1])
    array = array[np.where(rows % 5 == 1, 0, rows)][:, np.where(columns % 12 >= 8, columns % 4, columns)]
    array[(rows[:, None] // 16 * 7 + columns // 4) % 3 == 1] = 0
    array[rows % 7 == 3] = 0
    array[:, columns % 11 == 5] = 0
    return np.ascontiguousarray(array.reshape(shape))
