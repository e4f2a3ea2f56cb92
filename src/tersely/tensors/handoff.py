"""Thresholds at which a product stops multiplying codes and hands decoded weights to somebody else, each of them once.

Kernels decode each weight once for all rows of x and multiply on the way; a library's matrix product is faster per row and
needs the weights decoded first. So few rows go to kernels and many to the library, and where they meet depends on who
is asking: NumPy's BLAS or torch's. Nothing here imports anything above `tersely.core` and `tersely.backends`, so that a
planner that predicts times on both sides can read the same numbers. Where one code's kernels hand over to others of the
same code, as grids of `palette` do to tables, that code's own folder says it, to its kernels and to its costs.

MEASURED names a file of benchmarks/records, or the machine alone where only these lines keep the figures. A threshold
without it is a guess that no record contradicts.
"""

from __future__ import annotations

from tersely.backends.cpu import isa

ALWAYS_KERNELS = 1 << 62
"""More rows than any x has."""

NUMPY_FLOAT_ROWS = 512
"""`tersely.linear` of float weights: rows of float32 x up to which kernels multiply; above, NumPy's BLAS does.

x of 16 bits has no such number: NumPy has no matrix product of it. Half of torch's, because NumPy's panels are smaller.
"""

INTEGER_ROWS = 48
"""`tersely.linear` of 8-bit and 4-bit weights: rows of float x up to which kernels multiply; above, NumPy's BLAS does.

int8 x has no such number: BLAS has no products of integers, so kernels take every row. For float x a kernel does three
products of integers for each one of BLAS, which is worth it while the weights come from memory.
"""

# MEASURED on Zen 3 (AVX2), 2 threads, 2048 x 2048, ms: float32, 1024 rows: tiles 278, decoded 292, dense 262; 2048 rows:
# 495, 438, 409. bfloat16, where torch has no matrix unit: 1024 rows: tiles 209, decoded 1142, dense 1035.
TORCH_FLOAT_ROWS = 1024
"""`F.linear` and its kin: rows of float32 x up to which kernels multiply; above, torch's product does."""

# MEASURED in zen-5_avx512_bf16_products.json, bfloat16 4096 x 4096, times torch's speed: 128
# rows 1.02 to 1.05, 256 rows 0.97 to 0.99; and in zen-3_avx2_products.json, 64 to 256 rows 7.3 to 7.5.
TORCH_NARROW_ROWS = {"avx512_bf16": 512, "amx": 512}
"""The same for 16-bit floats, by instruction set: elsewhere torch's products of them are so slow that kernels always win."""

# MEASURED with AVX2 on Zen, one thread, 1024 x 1024 and 256 x 256, ms: split, 196 places: product 10.1, decoded 11.6; 400
# places: 19.5, 17.1. 90 % zeros: 49 places: 1.9, 4.2; 196: 14.4, 12.9; 784: 52, 26. Rows that lie side by side in memory
# are worth products for longer.
POINTWISE_FLOAT_PLACES = 256
"""Convolutions of one tap in torch: places of float32 x, of all images, up to which kernels multiply."""

NUMPY_BLOCK_WEIGHTS = 1 << 22
"""Weights that are decoded at a time for NumPy's BLAS and for kernels of dense integers: 16 MB as float32."""

TORCH_BLOCK_BYTES = 1 << 26
"""Bytes of decoded weights that torch's product gets at a time. MEASURED on Zen 3: at 4 MB, half the speed."""

INT8_MAX_COLUMNS = 1 << 16
"""Columns up to which no sum of int8 products can leave int32: 255 x 128 x 65,536 < 2^31."""

INT4_MAX_COLUMNS = 1 << 20
"""Columns up to which no sum of 4-bit by int8 products can leave int32: 15 x 128 x 2^20 < 2^31."""

_PANEL_ROWS = 16


def numpy_multiplies(rows: int, dtype: str) -> bool:
    """Returns whether NumPy's BLAS gets decoded weights for so many rows of an x of this dtype, by name."""
    return dtype == "float32" and rows > NUMPY_FLOAT_ROWS


def torch_max_rows(dtype: str) -> int:
    """Returns the rows of an x of this dtype, by name, up to which torch's products are done by kernels."""
    if dtype == "float32":
        return TORCH_FLOAT_ROWS
    return TORCH_NARROW_ROWS.get(isa.active(), ALWAYS_KERNELS)


def pointwise_max_places(dtype: str) -> int:
    """Returns the places of an x of this dtype, by name, up to which convolutions of one tap are done by kernels.

    16-bit floats have as many as rows, because torch's convolutions of them are slow too.
    """
    return POINTWISE_FLOAT_PLACES if dtype == "float32" else torch_max_rows(dtype)


def block_rows(columns: int, weights: int = NUMPY_BLOCK_WEIGHTS) -> int:
    """Returns how many rows of so many columns are decoded at a time: whole panels, at least one.

    Args:
        columns: weights in a row.
        weights: how many may be decoded at a time.
    """
    return max(_PANEL_ROWS, weights // max(1, columns) // _PANEL_ROWS * _PANEL_ROWS)
