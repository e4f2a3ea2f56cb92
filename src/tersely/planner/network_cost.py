"""What a convolution takes in the executor of networks, two threads: with all its weights, or by those that are not zero."""

from __future__ import annotations

NETWORK_NS = {"avx2": 0.0095, "avx512": 0.009}
"""One weight by one pixel. MEASURED: Zen 4, 210 to 220 GFLOP/s."""
WINOGRAD_SHARE = 0.6
"""The same by Winograd's method, as a share of it. MEASURED: Zen 4, 1.5 to 1.9 times as fast."""
PAIRS_SHARE = 0.5
"""The same of bfloat16, directly, where the processor multiplies its pairs: vdpbf16ps has two products for an FMA's one."""
WINOGRAD_PIXELS = 144
"""MEASURED (Zen 4): with 14 x 14 pixels and more Winograd's transforms pay (1.5 to 1.9 x), with 7 x 7 they do not."""
ENTRY, LIST = {"avx2": 1.5, "avx512": 2.6}, {"avx2": 32.0, "avx512": 60.0}
"""A weight that is not zero: by a pixel, and to be listed, once for all pixels. In weights by pixels of a convolution by
all of them."""
PACK, FINISH, START = 12.0, 20.0, 3e5
"""The same of a column of a pixel to pack, of a result to write, of a convolution to begin. MEASURED: Zen 5, two threads,
650 layers of ResNet-50 and MobileNet-V2 with 50 to 95 % zeros, each beside itself with dense weights, by least squares:
half of the predictions are within 12 %, nine tenths within 25 %."""
FIND = 40.0
"""The same of a weight, zero or not, that is to be found in a decoded panel: of all selections but gaps. MEASURED: Zen 5,
ResNet-50 with 80 % zeros takes 23 ms by gaps and 35 ms by bitmaps, on a busy machine."""

EXPANSION_BYTES = 1 << 19
"""Of one image between an expansion and the depthwise convolution that reads it: less stays in a second-level cache."""
EXPANSION_PIXELS = 700
"""Of a result: with fewer, decoding weights for each share of rows costs more than memory does."""
EXPANSION_COLUMNS = 256
"""Of an expansion's weights: two panels of so many stay in the first-level cache."""

INTEGER_NS = {"avx2": 0.009, "avx512": 0.0018}
"""One weight of 8 bits by one pixel of 8 bits. MEASURED (Zen 4, one thread, halved): 3 x 3 taps, 128 channels."""
INTEGER_DECODE_NS = {"avx2": 0.06, "avx512": 0.03}
"""What a coded weight of 8 bits takes beside that, once for all pixels. MEASURED likewise, fields, distances and bitmaps
of 80 % zeros: 0.01 to 0.06 under AVX2, 0.005 to 0.035 under AVX-512. With 14 x 14 pixels a layer takes 0.97 to 1.03 times
as long as with dense weights, with 7 x 7 1.0 to 1.4 times."""
INTEGER_PIXELS = 196
"""Pixels for which a convolution of integers is planned where nobody says how many it has: 14 x 14."""


def listed_share(
    outputs: int, columns: int, pixels: int, density: float, panels: bool, wide: bool, groups: int = 1
) -> float:
    """The time of a convolution by the weights that are not zero, as a share of that by all of them.

    columns: channels of a group by taps. density: the share of weights that are not zero. panels: whether lists are
    made of decoded panels. wide: whether the machine has AVX-512.
    """
    machine, outputs, columns, pixels = "avx512" if wide else "avx2", max(1, outputs), max(1, columns), max(1, pixels)
    listing = (density * LIST[machine] + (FIND if panels else 0.0)) / pixels
    once = START / (outputs * columns * pixels)
    return density * ENTRY[machine] + PACK * groups / outputs + FINISH / columns + listing + once


def may_be_joined(outputs: int, columns: int, pixels: int) -> bool:
    """Whether a convolution is one that is joined with a depthwise one where such a one reads it (`lowering.expansions`):
    by lists it cannot be."""
    large = pixels >= EXPANSION_PIXELS and 4 * outputs * pixels >= EXPANSION_BYTES
    return large and columns <= EXPANSION_COLUMNS and outputs > columns
