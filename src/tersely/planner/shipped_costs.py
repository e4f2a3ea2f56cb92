"""The figures by which `tersely.planner.cost_model` predicts times where no measured profile says better: two threads, by the class of a
machine's instruction set, in nanoseconds where not said otherwise.

They are for choosing, not for promises, and the same everywhere, so that a plan does not depend on the machine that made it.
"""

from __future__ import annotations

from collections.abc import Mapping

# MEASURED: two cores of Zen 3 and of a server with AVX-512 read 28 to 32 GB/s.
BYTES_PER_NS = 30.0
# What a call costs whatever the weights: below it, differences in time mean nothing and the smallest form wins.
CALL_NS = 2000.0

# MEASURED with two threads, each time as a share of dense time in the same run: AVX2 on Zen 3, 2048 x 4096; AVX-512 on
# Zen 4, 4096 x 4096, where not said otherwise.
CHUNK_NS = {
    "avx2": {"float32": 4.0, "bfloat16": 3.4, "float16": 4.6},
    "avx512": {"float32": 2.4, "bfloat16": 1.85, "float16": 2.4},
}
"""A bitmap's chunk of 64 places."""
SELECT_NS = {
    "avx2": {
        "1:4": {"float32": 2.0, "bfloat16": 1.25, "float16": 1.25},
        "2:4": {"float32": 3.6, "bfloat16": 2.2, "float16": 2.2},
        "4:8": {"float32": 3.8, "bfloat16": 3.4, "float16": 3.3},
    },
    "avx512": {
        "1:4": {"float32": 2.65, "bfloat16": 1.5, "float16": 1.5},
        "2:4": {"float32": 1.7, "bfloat16": 0.6, "float16": 0.8},
        "4:8": {"float32": 4.6, "bfloat16": 2.8, "float16": 2.7},
    },
}
"""64 places of n_of_m. Kernels are the same; those of AVX-512 were fitted together with coded values."""
VALUE_NS = {
    "avx2": {
        "split packed": {"float32": 6.5, "bfloat16": 2.9, "float16": 4.4},
        "split layered": {"float32": 7.0, "bfloat16": 6.2, "float16": 7.6},
    },
    "avx512": {
        "split packed": {"float32": 7.2, "bfloat16": 4.2, "float16": 5.2},
        "split layered": {"float32": 7.0, "bfloat16": 4.2, "float16": 5.2},
    },
}
"""A group of 64 coded values."""
PLACE_NS = 1.5
"""A value behind Elias-Fano positions, decoded."""
# MEASURED with AVX-512 and AVX2 alike, values that share every bit of the mantissa: 28 ns in float32, 42 in bfloat16.
SLOW_VALUE_NS = 40.0
"""Every other coding of values: one by one, without a kernel of its own."""
ENTRY_NS = {"avx2": 0.235, "avx512": 0.21}
"""An entry of gaps, fillers and padding of lanes among them."""

PaletteCosts = Mapping[str, Mapping[str, tuple[float, ...]]]
# MEASURED like the above; AVX2 for 2, 4, 6 and 8 bits, the others by their instructions.
PALETTE_CHUNK_NS: PaletteCosts = {
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
"""A palette's chunk of 64 places, by bits of an index from 1 on."""
# MEASURED with two threads, 4096 x 4096: AVX2 on Zen 3, each time as a share of dense time in the same run (float16 and
# short groups by one thread from the cache); AVX-512 on two cores of Emerald Rapids, as a share of split's.
AFFINE_NS = {
    "avx2": {"float32": (2.3, 2.9), "bfloat16": (1.8, 3.6), "float16": (3.1, 5.0)},
    "avx512": {"float32": (2.2, 3.2), "bfloat16": (1.65, 2.95), "float16": (2.0, 3.4)},
}
"""64 places of numbers in lines, up to 4 bits and 8."""
AFFINE_SHORT_NS = {"float32": 3.5, "bfloat16": 3.1, "float16": 3.5}
"""The same up to 4 bits under AVX2, where groups are shorter than a line of 128 columns."""
AFFINE_ROW_NS = {"avx2": (0.45, 0.7), "avx512": (0.25, 0.65)}
"""The same, for each further row of x."""
AFFINE_CODED_NS = {
    "avx2": {"float32": 45.0, "bfloat16": 46.0, "float16": 46.0},
    "avx512": {"float32": 4.6, "bfloat16": 5.9, "float16": 5.4},
}
"""64 places of coded numbers, for up to four rows of x; AVX2's by what indices of palettes take."""
AFFINE_GROUP_NS = {"avx2": (30.0, 10.0), "avx512": (6.0, 6.0)}
"""What a group of 16 rows adds, where rows have several: of at least 128 columns, and shorter ones."""
AFFINE_WORDS_NS = {"avx2": 17.0, "avx512": 14.0}
"""Expanding 64 places to words: for more rows, and where numbers are coded."""
ROW_PALETTE_GROUP_NS = 66.0
"""What a group of 16 tables adds to lines, where rows have several (AVX2 on Zen 3)."""
ROW_PALETTE_WORDS_NS = {"avx2": 30.0, "avx512": 30.0}
"""Looking 64 places up in their tables, weight by weight."""
PLANES_ROW_NS = 1.05
"""The same, for each further row of x, where AVX-512 looks float32 up byte by byte (Zen 5, 5 to 8 bits, 4 and 8 rows)."""
INDEX_CODE_NS = {"avx2": 40.0, "avx512": 1.5}
"""What decoding a chunk of coded indices adds: planes where AVX-512 takes them apart, symbol by symbol elsewhere."""
# MEASURED with two threads on Zen 5 for 2 to 8 bits, AVX2 too, each time as a share of dense float32 in the same run; means
# of two runs, fast quartiles, for others were at work on the machine.
GRID_CHUNK_NS = {
    "avx2": (1.6, 1.6, 2.2, 1.9, 2.15, 2.35, 3.1, 3.6),
    "avx512": (1.5, 1.5, 1.55, 1.65, 1.75, 1.85, 2.05, 2.7),
}
"""A chunk of a palette's numbers that are multiplied as they are, by bits of a field from 1 on."""
GRID_ROW_NS = {
    "avx2": (1.3, 1.3, 1.7, 1.3, 1.7, 1.7, 2.4, 2.9),
    "avx512": (1.2, 1.2, 1.2, 1.2, 1.2, 1.2, 1.2, 1.2),
}
"""The same, for each further row of x."""
GRID_WORDS_NS = 3.5
"""What making a chunk of numbers indices adds to looking them up, for more rows."""
# MEASURED with AVX2 on Zen 3 (one thread, halved) with 4, 5, 6 and 8 bits behind a bitmap with 10 % of values, where they
# cost most: few groups are decoded at a time. AVX-512 likewise, two threads.
PALETTE_VALUE_NS: PaletteCosts = {
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
"""A group of 64 values by index, by bits of an index from 1 on."""
# MEASURED for 4, 5, 6 and 8 bits, two threads, 80 (AVX2) and 90 % zeros (AVX-512, whose 8 bits of
# float32 are by those of 6): a whole group of lanes is decoded at once.
LANE_VALUE_NS: PaletteCosts = {
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
INDEX_VALUE_NS = {"avx2": 20.0, "avx512": 3.0}
"""What decoding a group of coded indices adds, low bits below them among it."""

# MEASURED with AVX2 on Zen 3, one thread, halved: float x, 6 bits 2.5 ns, 7 bits 3.7 ns.
INTEGER_CHUNK_NS = 1.5
"""A chunk of 64 fields of 8-bit weights; the few listed beside them are in it."""
# MEASURED with two threads on Zen 5, AVX2 forced there: 2048 x 4096 of int8, normal with sigma 3, 12 and 30 (3.8, 5.7 and
# 7.1 bits), each time as a share of the time of dense ones in turn with them. One row of x: 1.5 to 1.7 with AVX-512, 3.3
# to 3.6 with AVX2; 4 rows 0.85 and 2; 16 rows 0.55 and 1.2. Decoded ones take 3 and 5 times as long as dense ones are read.
CODED_INTEGER_NS = {
    "avx2": {"integer distances": (0.105, 0.009), "integer distances decoded": (0.16, 0.0125)},
    "avx512": {"integer distances": (0.051, 0.002), "integer distances decoded": (0.11, 0.0075)},
}
"""A whole number under a code of `split`, and one row of x by it."""
# MEASURED with AVX2 on Zen, two threads, 2048 x 4096 of int8 with 80, 90 and 95 % zeros, each time as a share of dense
# int8 in turn with them, others at work on the machine: a bitmap takes 5 to 6 times as long, Elias-Fano 8 to 11 times.
SPARSE_INTEGER_NS = {"avx2": 0.16, "avx512": 0.11}
"""A place of sparse whole numbers, which are decoded anew for each product."""
# MEASURED likewise, one thread, halved; AVX-512 has the same kernels. One row of x with 90 % zeros takes 0.35 to 0.9 of the
# time of dense int8, 16 rows half; with 95 % 0.2 to 0.5 and a third.
GAP_INTEGER_NS = (0.27, 0.46, 0.95)
"""An entry of gaps of whole numbers by one row of x, by two, and by more, in blocks of eight."""
# MEASURED with AVX2 on Zen, two threads, 2048 x 2048: most of it is putting bytes together, which is one thread's.
NIBBLES_NS = 0.6
"""A byte of two values under a code of `split`, decoded anew for each product."""
# MEASURED with AVX2 on Zen 3, one thread, 4096 x 4096: one row of x takes 2.6 times as long as with fields of the values.
PAIRS_NS = 0.05
"""A 4-bit value of a dense pair, taken out in cache."""

# MEASURED: candidates.py of split has the figures.
SPLIT_SHARE = {
    "avx2": {
        "split packed": {"float32": 1 / 1.2, "bfloat16": 1 / 1.3, "float16": 1 / 0.72},
        "split layered": {"float32": 1 / 0.95, "bfloat16": 1 / 0.6, "float16": 1 / 0.45},
    },
    "avx512": {
        "split packed": {"float32": 1 / 1.06, "bfloat16": 1 / 1.27, "float16": 1 / 0.95},
        "split layered 1": {"float32": 1 / 1.12, "bfloat16": 1 / 1.4, "float16": 1 / 0.88},
        "split layered 2": {"float32": 1 / 1.1, "bfloat16": 1 / 1.33, "float16": 1 / 0.85},
        "split layered": {"float32": 1 / 1.1, "bfloat16": 1 / 1.33, "float16": 1 / 0.85},
    },
}
"""Time of a split form as a share of dense time."""
# MEASURED with AVX2: one exponent for all weights takes 27 x dense time in bfloat16; no kernel of its own, on any machine.
CONSTANT_SHARE = 27.0
SLOW_SHARE = 1 / 0.6
"""Every other form, such as all of float8."""

# MEASURED with AVX2 like the above.
BLOCK_NS = {
    "blocks row": 0.05,
    "blocks 1x4": 0.065,
    "blocks 1x8": 0.034,
    "blocks 1x4 far": 0.13,
    "blocks 1x8 far": 0.062,
    "blocks 16x1": 0.05,
    "blocks chunk": 0.026,
    "block_sparse row": 0.05,
    "block_sparse 16x1": 0.17,
    "block_sparse chunk": 0.08,
}
"""A weight of a block that is there."""
BLOCK_SHARE = {"avx2": 1.0, "avx512": 1.15}
"""Of that time; AVX-512 by blocks of 1 x 8, which are AVX2's."""

# MEASURED on Ice Lake, one thread, 256 x 256 and 1024 x 1024, half of the rows and columns kept: 0.2 to 0.95.
MOVED_NS = 0.4
"""A place of x or of the result of `submatrix`, which one worker picks or fills."""

MULTIPLY_NS = {"avx2": 0.0125, "avx512": 0.0075}
"""One row of x by one weight."""
DECODE_NS = {"avx2": 0.05, "avx512": 0.025}
"""A weight of split, from the cache: what more rows of x share."""
ENTRY_ROW_NS = {"avx2": 0.12, "avx512": 0.19}
"""An entry, for each further row of x up to four; above, 16 rows cost as much as four."""
