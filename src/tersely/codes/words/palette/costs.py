"""What products of `palette`, and values under it, take by shipped figures: the longer of bytes / bandwidth and
chunks x time per chunk + weights x further rows of x; numbers of a grid up to 8 rows likewise by integers, above by
words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tersely.codes.machine import INDEX_CODE_NS, MULTIPLY_NS, call_ns
from tersely.codes.protocol import KernelKey, Work

Costs = Mapping[str, Mapping[str, tuple[float, ...]]]
"""Nanoseconds by the class of a machine, dtype and bits of an index from 1 on."""
# MEASURED with two threads, each time as a share of dense time in the same run: AVX2 on Zen 3, 2048 x 4096; AVX-512 on
# Zen 4, 4096 x 4096. AVX2 for 2, 4, 6 and 8 bits, the others by their instructions.
CHUNK_NS: Costs = {
    "avx2": {
        "float32": (2.2, 2.3, 3.9, 2.6, 5.0, 7.5, 14.8, 14.8),
        "bfloat16": (2.2, 2.3, 3.0, 2.05, 3.8, 5.0, 15.3, 15.3),
        "float16": (2.2, 2.3, 4.0, 2.65, 5.4, 7.9, 15.6, 15.6),
    },
    "avx512": {
        "float32": (1.8, 1.7, 2.6, 1.75, 2.65, 3.0, 3.3, 3.3),
        "bfloat16": (1.65, 1.5, 2.3, 1.65, 2.05, 2.3, 2.35, 2.4),
        "float16": (1.6, 1.6, 2.3, 1.6, 2.5, 2.85, 3.1, 3.0),
    },
}
"""A chunk of 64 weights."""
PLANES_ROW_NS = 1.05
"""A chunk, for each further row of x, where AVX-512 looks float32 up byte by byte (Zen 5, 5 to 8 bits, 4 and 8
rows)."""
# MEASURED with two threads on Zen 5 for 2 to 8 bits, AVX2 too, each time as a share of dense float32 in the same run;
# means of two runs, fast quartiles. zen-5_avx512_bf16_quantised.json and zen-5_avx2_quantised.json: 4 to 8 bits, one
# run each.
GRID_CHUNK_NS = {
    "avx2": (1.6, 1.6, 2.2, 1.9, 2.15, 2.35, 3.1, 3.6),
    "avx512": (1.5, 1.5, 1.55, 1.65, 1.75, 1.85, 2.05, 2.7),
}
"""A chunk of numbers that are multiplied as they are, by bits of a field from 1 on."""
GRID_ROW_NS = {
    "avx2": (1.3, 1.3, 1.7, 1.3, 1.7, 1.7, 2.4, 2.9),
    "avx512": (1.2, 1.2, 1.2, 1.2, 1.2, 1.2, 1.2, 1.2),
}
"""A chunk of such numbers, for each further row of x."""
GRID_ROWS = 8
"""Rows up to which they are: grid.cpp says why."""
GRID_WORDS_NS = 3.5
"""What making a chunk of numbers indices adds to looking them up, for more rows."""
# MEASURED with AVX2 on Zen 3 (one thread, halved) with 4, 5, 6 and 8 bits behind a bitmap with 10 % of values, where
# they cost most: few groups are decoded at a time. AVX-512 likewise, two threads.
VALUE_NS: Costs = {
    "avx2": {
        "float32": (6.3, 6.3, 7.0, 6.3, 8.0, 10.2, 18.2, 18.2),
        "bfloat16": (7.4, 7.4, 8.0, 7.4, 9.2, 13.0, 18.4, 18.4),
        "float16": (6.0, 6.0, 6.8, 6.0, 7.8, 10.3, 17.5, 17.5),
    },
    "avx512": {
        "float32": (8.0, 8.0, 8.0, 8.0, 8.0, 8.5, 16.0, 16.0),
        "bfloat16": (5.5, 5.5, 5.5, 5.5, 5.5, 6.0, 14.0, 14.0),
        "float16": (5.0, 5.0, 5.0, 5.0, 5.0, 5.5, 16.0, 16.0),
    },
}
"""A group of 64 values by index."""
# MEASURED for 4, 5, 6 and 8 bits, two threads, 80 (AVX2) and 90 % zeros (AVX-512, whose 8 bits of
# float32 are by those of 6): a whole group of lanes is decoded at once.
LANE_VALUE_NS: Costs = {
    "avx2": {
        "float32": (3.2, 3.3, 4.9, 4.0, 6.0, 8.5, 15.8, 15.8),
        "bfloat16": (4.0, 4.0, 5.0, 4.4, 5.4, 10.4, 16.3, 16.3),
        "float16": (3.2, 3.3, 5.0, 3.7, 6.4, 8.9, 16.6, 16.6),
    },
    "avx512": {
        "float32": (4.5, 4.5, 4.5, 4.5, 5.0, 5.0, 5.5, 5.5),
        "bfloat16": (3.0, 3.0, 3.0, 3.0, 3.5, 3.5, 4.0, 4.0),
        "float16": (3.0, 3.0, 3.0, 3.0, 3.5, 4.0, 4.0, 4.0),
    },
}
"""A group of 64 values of gaps."""
MASKS = ("bitmap", "elias_fano")
MASKED_BITS = (4, 5)
"""Bits of indices that AVX-512 spreads by masks as they are, and looks up then, where words are float32."""
# MEASURED on Zen 5, one thread, halved, 1536 x 384 with 50, 80 and 90 % zeros: a product takes 1.2 times as long as one of
# the words themselves; 6 bits, decoded before, 1.5 times.
MASKED_NS = 1.5
"""A group of 64 such values."""
INDEX_VALUE_NS = {"avx2": 20.0, "avx512": 3.0}
"""What decoding a group of coded indices adds, low bits below them among it."""


@dataclass(frozen=True)
class Kernel(KernelKey):
    """bits: of an index, or of a field. code: of coded indices under `split`, '' for packed ones. grid: they are
    numbers.
    """

    formulation = "palette"
    bits: int
    code: str = ""
    grid: bool = False

    def words(self) -> tuple[object, ...]:
        return ("grid" if self.grid else "", self.bits, self.code)


def predict_ns(work: Work, dtype: str, machine: str, batch: int) -> float:
    kernel = work.kernel
    assert isinstance(kernel, Kernel)
    if kernel.grid:
        chunk = _grid_ns(max(1, kernel.bits), dtype, machine, batch)
    else:
        chunk = _words_ns(kernel.bits, dtype, machine, batch) + (INDEX_CODE_NS[machine] if kernel.code else 0.0)
    return call_ns(work, work.padded_weights / 64 * chunk)


def _words_ns(bits: int, dtype: str, machine: str, batch: int) -> float:
    """A chunk whose words are looked up, all rows of x."""
    by_bytes = machine == "avx512" and dtype == "float32" and bits > 4
    row = PLANES_ROW_NS if by_bytes else 64 * MULTIPLY_NS[machine]
    return CHUNK_NS[machine][dtype][bits - 1] + row * (batch - 1)


def _grid_ns(bits: int, dtype: str, machine: str, batch: int) -> float:
    """A chunk of numbers, all rows of x."""
    if batch <= GRID_ROWS:
        return GRID_CHUNK_NS[machine][bits - 1] + GRID_ROW_NS[machine][bits - 1] * (batch - 1)
    return GRID_WORDS_NS + _words_ns(bits, dtype, machine, batch)


def value_ns(kernel: KernelKey, dtype: str, machine: str, positions: str) -> float:
    assert isinstance(kernel, Kernel)
    packed = (LANE_VALUE_NS if positions == "gaps" else VALUE_NS)[machine][dtype][kernel.bits - 1]
    if machine == "avx512" and dtype == "float32" and positions in MASKS and kernel.bits in MASKED_BITS:
        packed = MASKED_NS
    return packed + (INDEX_VALUE_NS[machine] if kernel.code else 0.0)
