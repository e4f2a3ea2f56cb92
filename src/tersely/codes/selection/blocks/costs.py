"""What products of `blocks` and `block_sparse` take by shipped figures: the longer of bytes / bandwidth and weights
of blocks that are there x time per weight.
"""

from __future__ import annotations

from dataclasses import dataclass

from tersely.codes.machine import MULTIPLY_NS, call_ns
from tersely.codes.protocol import KernelKey, Work
from tersely.core.dtypes import by_name

# MEASURED with AVX2 on Zen 3, two threads, each time as a share of dense time in the same run.
FROM_TABLE_NS = {"row": 0.05, "1x4": 0.065, "1x8": 0.034, "16x1": 0.05, "chunk": 0.026}
"""A weight of a block of a dictionary."""
FAR_NS = {"1x4": 0.13, "1x8": 0.062}
"""A weight of a block of a large dictionary: one-row blocks wait for it."""
IN_ORDER_NS = {"row": 0.05, "16x1": 0.17, "chunk": 0.08}
"""A weight of a block that lies in order."""
# MEASURED on Zen 4, 4096 x 4096 of int8 with 50, 75 and 90 % of the blocks empty, one row of x of int8 and of float32, one
# thread, each time as a share of the time of dense int8 in turn with it, AVX2 and AVX-512 alike: chunks 0.7 to 1.0, 1.0
# to 1.4 and 2.0 to 3.4 times as fast; rows 1.0 to 1.5, 1.8 to 2.6 and 3.6 to 5.4; columns of 16 rows 0.3 to 0.5, 0.5 to
# 0.7 and 0.8 to 1.2.
INTEGER_NS = {"row": 0.055, "16x1": 0.33, "chunk": 0.12}
"""A weight of 8 bits in a block that lies in order."""
INTEGER_ROWS = {"row": 1, "16x1": 4, "chunk": 1}
"""A further row of x by it, in multiplications of dense ones: columns are brought together for each row."""
SHARE = {"avx2": 1.0, "avx512": 1.15}
"""Time of blocks as a share of AVX2's; AVX-512 by blocks of 1 x 8, which are AVX2's."""


@dataclass(frozen=True)
class Kernel(KernelKey):
    """shape: of the blocks. far: the dictionary is too large for a first cache."""

    formulation = "blocks"
    shape: str
    far: bool = False

    def words(self) -> tuple[object, ...]:
        return (self.shape, "far" if self.far else "")


@dataclass(frozen=True)
class InOrder(KernelKey):
    """shape: of the blocks, which lie in the order of a mask."""

    formulation = "block_sparse"
    shape: str

    def words(self) -> tuple[object, ...]:
        return (self.shape,)


def predict_ns(work: Work, dtype: str, machine: str, batch: int) -> float:
    kernel = work.kernel
    if isinstance(kernel, Kernel):
        visit = (FAR_NS if kernel.far else FROM_TABLE_NS)[kernel.shape] * SHARE[machine]
        one_high = kernel.shape in FAR_NS
    else:
        assert isinstance(kernel, InOrder)
        if by_name(dtype).bits == 8:
            row = INTEGER_ROWS[kernel.shape] * MULTIPLY_NS[machine]
            return call_ns(work, work.entries * (INTEGER_NS[kernel.shape] + row * (batch - 1)))
        visit, one_high = IN_ORDER_NS[kernel.shape] * SHARE[machine], False
    # Blocks of one row are read anew for every row of x, or decoded for all of them, which costs as much as several.
    anew = float(batch) if batch <= 4 else batch / 2
    each = visit * anew if one_high else visit + MULTIPLY_NS[machine] * (batch - 1)
    return call_ns(work, work.entries * each)
