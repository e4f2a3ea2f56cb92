"""What products of `affine` take by shipped figures: the longer of bytes / bandwidth and chunks x time per chunk, each group
of rows and columns adding its own; many rows of x by words.
"""

from __future__ import annotations

from dataclasses import dataclass

from tersely.codes.machine import call_ns
from tersely.codes.protocol import Work
from tersely.codes.selection.sparse.costs import gaps_ns, is_gaps, numbers_ns
from tersely.codes.words.affine import row_fields
from tersely.codes.words.affine.row_fields import FIELD_ROW_NS, by_words_ns, fields_ns

# MEASURED: row_fields.py says where.
CODED_NS = {
    "avx2": {"float32": 45.0, "bfloat16": 46.0, "float16": 46.0},
    "avx512": {"float32": 4.6, "bfloat16": 5.9, "float16": 5.4},
}
"""64 coded numbers, for up to four rows of x; AVX2's by what indices of palettes take."""
# MEASURED on Zen 4, 4096 x 4096 with 80 % zeros, float32 as shares of dense time in turn with it: AVX-512 0.28 with two
# threads and 0.36 with one, AVX2 0.39 and 0.58; 16 bits, 2048 x 2048 and one thread, as shares of the time of a bitmap of
# the same words: bfloat16 3.0 and 1.75, float16 2.05 and 1.6.
SPARSE_NS = {
    "avx2": {"float32": 3.6, "bfloat16": 5.5, "float16": 5.7},
    "avx512": {"float32": 2.6, "bfloat16": 5.1, "float16": 5.0},
}
"""64 numbers under masks, for up to four rows of x, what coded values and positions add left out."""
# MEASURED on Zen 4, 4096 x 4096 with 90 and 95 % zeros, one thread and one row of x, as shares of the time of gaps of the
# same words: 0.92 and 1.02 in float32, 1.09 and 1.10 in bfloat16, 1.19 and 1.18 in float16; groups of 128 columns 2.6 and 2.2,
# of 32 columns 2.5 and 2.3, of 16 columns 3.2 and 3.0.
ROUND_NS = {
    "avx2": {"float32": 0.0, "bfloat16": 0.022, "float16": 0.043},
    "avx512": {"float32": 0.0, "bfloat16": 0.02, "float16": 0.04},
}
"""An entry of gaps that is a number, more than a word, for up to four rows of x."""
ENTRY_WORD_NS = {"avx2": (0.05, 0.25), "avx512": (0.05, 0.32)}
"""Expanding such an entry to a word, with one scale for its row, and with several."""
LANE_SCALE_NS = 0.33
"""A scale of a group of columns, put beside those of the other rows that gaps lay side by side."""
GROUP_NS = {"avx2": (30.0, 10.0), "avx512": (6.0, 6.0)}
"""What a group of 16 rows adds, where rows have several: of at least 128 columns, and shorter ones."""
WORDS_NS = {"avx2": 17.0, "avx512": 14.0}
"""Expanding 64 numbers to words: for more rows, and where numbers are coded."""


@dataclass(frozen=True)
class Kernel(row_fields.Kernel):
    formulation = "affine"


def predict_ns(work: Work, dtype: str, machine: str, batch: int) -> float:
    kernel = work.kernel
    assert isinstance(kernel, Kernel)
    if is_gaps(kernel.numbers):
        return call_ns(work, _gaps_ns(work, kernel, dtype, machine, batch))
    if kernel.numbers is not None and batch <= 4:
        group = GROUP_NS[machine][kernel.is_short] * 4 / kernel.columns if kernel.columns else 0.0
        chunk = SPARSE_NS[machine][dtype] + FIELD_ROW_NS[machine][0] * (batch - 1) + group
    elif kernel.bits is None and batch <= 4:
        chunk = CODED_NS[machine][dtype] + FIELD_ROW_NS[machine][0] * (batch - 1)
    elif batch > kernel.rows:
        chunk = by_words_ns(kernel, machine, batch, WORDS_NS[machine])
    else:  # four rows of x share what is looked up
        group = GROUP_NS[machine][kernel.is_short] * 4 / kernel.columns if kernel.columns else 0.0
        chunk = fields_ns(kernel, dtype, machine, batch) + group
    return call_ns(work, work.padded_weights / 64 * chunk + numbers_ns(kernel.numbers, work.entries, machine))


def _gaps_ns(work: Work, kernel: Kernel, dtype: str, machine: str, batch: int) -> float:
    """Numbers under gaps: as they lie, or expanded to words where rows have several scales, and 16-bit ones for more rows of x."""
    walked = work.entries * gaps_ns(machine, batch) + numbers_ns(kernel.numbers, work.entries, machine)
    if kernel.columns:
        groups = work.padded_weights / kernel.columns
        return walked + work.entries * ENTRY_WORD_NS[machine][1] + groups * LANE_SCALE_NS
    if batch > 4 and dtype != "float32":
        return walked + work.entries * ENTRY_WORD_NS[machine][0]
    return walked + work.entries * ROUND_NS[machine][dtype]
