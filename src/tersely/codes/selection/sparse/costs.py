"""What products of `sparse` take by shipped figures, two threads, b rows of x:

bitmap, elias_fano, n_of_m    the longer of bytes / bandwidth and chunks x time per chunk + weights x further rows
gaps                        the longer of bytes / bandwidth and entries x time per entry, which grows with b
integers                      likewise in gaps; under masks weights x (spreading + b multiplications), likewise where
                              matrices are decoded
"""

from __future__ import annotations

from dataclasses import dataclass

from tersely.codes.machine import MULTIPLY_NS, call_ns
from tersely.codes.protocol import KernelKey, Work
from tersely.codes.selection.sparse.layout import Positions
from tersely.codes.selection.sparse.values import BY_NAME as VALUES
from tersely.core.dtypes import by_name

# MEASURED with two threads, each time as a share of dense time in the same run: AVX2 on Zen 3, 2048 x 4096; AVX-512 on
# Zen 4, 4096 x 4096, where not said otherwise.
CHUNK_NS = {
    "avx2": {"float32": 4.0, "bfloat16": 3.4, "float16": 4.6},
    "avx512": {"float32": 2.4, "bfloat16": 1.85, "float16": 2.4},
}
"""A bitmap's chunk of 64 weights."""
SELECT_NS = {
    "avx2": {
        (1, 4): {"float32": 2.0, "bfloat16": 1.25, "float16": 1.25},
        (2, 4): {"float32": 3.6, "bfloat16": 2.2, "float16": 2.2},
        (4, 8): {"float32": 3.8, "bfloat16": 3.4, "float16": 3.3},
    },
    "avx512": {
        (1, 4): {"float32": 2.65, "bfloat16": 1.5, "float16": 1.5},
        (2, 4): {"float32": 1.7, "bfloat16": 0.6, "float16": 0.8},
        (4, 8): {"float32": 4.6, "bfloat16": 2.8, "float16": 2.7},
    },
}
"""64 weights of n_of_m. Kernels are the same; those of AVX-512 were fitted together with coded values."""
POSITION_NS = 1.5
"""A value behind Elias-Fano positions, decoded."""
ENTRY_NS = {"avx2": 0.235, "avx512": 0.21}
"""An entry of gaps, fillers and padding of lanes among them."""
ENTRY_ROW_NS = {"avx2": 0.12, "avx512": 0.19}
"""An entry, for each further row of x up to four; above, 16 rows cost as much as four."""
# MEASURED with AVX2 on Zen, two threads, 2048 x 4096 of int8 with 80, 90 and 95 % zeros, each time as a share of dense
# int8 in turn with them: a bitmap takes 5 to 6 times as long, Elias-Fano 8 to 11 times.
INTEGER_NS = {"avx2": 0.16, "avx512": 0.11}
"""A weight of sparse integers, which are decoded anew for each product."""
# MEASURED on Zen 4, 4096 x 4096 of int8 with 80 % zeros, one row of float x, as shares of the time of dense int8 in turn
# with it: AVX-512 0.98 with one thread, 0.63 with two (int8 x: 0.62); AVX2 3.1. Later, another Zen 4: AVX-512 0.75 to 0.88 with
# one thread, 0.73 to 0.84 with two; AVX2 2.6 to 3.3 and 2.1 to 3.1.
MASKED_NS = {"avx2": (0.095, 0.009), "avx512": (0.024, 0.002)}
"""A weight under masks, spread, and one row of x by it."""
# MEASURED on Zen 4, one thread, as `SPARSE_NS` of affine.
CODED_BYTE_NS = {"avx2": 0.15, "avx512": 0.08}
"""A value of one byte under a code, decoded."""
# MEASURED as INTEGER_NS, one thread, halved; AVX-512 has the same kernels. One row of x with 90 % zeros takes 0.35 to 0.9 of the
# time of dense int8, 16 rows half; with 95 % 0.2 to 0.5 and a third.
GAP_INTEGER_NS = (0.27, 0.46, 0.95)
"""An entry of gaps of integers by one row of x, by two, and by more, in blocks of eight."""


@dataclass(frozen=True)
class Kernel(KernelKey):
    """kind: of positions; n, m: of n_of_m, whose time is a matter of both. values: what decodes them, None for dense."""

    formulation = "sparse"
    kind: str
    n: int = 0
    m: int = 0
    values: KernelKey | None = None

    def words(self) -> tuple[object, ...]:
        own = (self.kind, f"{self.n}:{self.m}" if self.m else "")
        return own if self.values is None else (*own, "+", self.values)


def kernel_of(positions: Positions, values: KernelKey | None = None) -> Kernel:
    return Kernel(positions.kind, positions.n, positions.m, values)


def predict_ns(work: Work, dtype: str, machine: str, batch: int) -> float:
    kernel = work.kernel
    assert isinstance(kernel, Kernel)
    if by_name(dtype).bits == 8:
        return call_ns(work, _integer_ns(work, kernel, machine, batch))
    lanes = kernel.kind == "gaps"
    value = 0.0
    if kernel.values is not None:
        value = VALUES[kernel.values.formulation].value_ns(kernel.values, dtype, machine, kernel.kind) / 64
    if lanes:
        return call_ns(work, work.entries * (gaps_ns(machine, batch) + value))
    first = (SELECT_NS[machine][kernel.n, kernel.m] if kernel.m else CHUNK_NS[machine])[dtype]
    compute = work.padded_weights / 64 * (first + 64 * MULTIPLY_NS[machine] * (batch - 1)) + work.entries * value
    if kernel.kind == "elias_fano":
        compute += work.entries * POSITION_NS
    return call_ns(work, compute)


def gaps_ns(machine: str, batch: int) -> float:
    """An entry of gaps, its word at hand."""
    further = batch - 1 if batch <= 4 else 3 * -(-batch // 16)
    return ENTRY_NS[machine] + further * ENTRY_ROW_NS[machine]


def is_gaps(kernel: KernelKey | None) -> bool:
    return isinstance(kernel, Kernel) and kernel.kind == "gaps"


def _integer_ns(work: Work, kernel: Kernel, machine: str, batch: int) -> float:
    """Sparse integers: gaps with dense values and masks as they are, everything else decoded."""
    by_rows = work.geometry.view == "matrix" and work.geometry.orientation == "out_in"
    if kernel == Kernel("gaps") and by_rows:
        blocks, left = divmod(batch, 8)
        return work.entries * (blocks * GAP_INTEGER_NS[2] + (GAP_INTEGER_NS[min(left, 3) - 1] if left else 0.0))
    if by_rows:
        spread, row = MASKED_NS[machine]
        return numbers_ns(kernel, work.entries, machine) + work.padded_weights * (spread + row * batch)
    positions = work.entries * POSITION_NS if kernel.kind == "elias_fano" else 0.0
    return positions + work.padded_weights * (INTEGER_NS[machine] + MULTIPLY_NS[machine] * batch)


def numbers_ns(kernel: KernelKey | None, entries: int, machine: str) -> float:
    """What values that are bytes add to masks: decoding them and Elias-Fano positions. None: nothing is sparse."""
    if not isinstance(kernel, Kernel):
        return 0.0
    positions = POSITION_NS if kernel.kind == "elias_fano" else 0.0
    return entries * (positions + (CODED_BYTE_NS[machine] if kernel.values is not None else 0.0))
