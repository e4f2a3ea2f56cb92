"""What products of `blocks` and `block_sparse` take by shipped figures: the longer of bytes / bandwidth and weights
of blocks that are there x time per weight.
"""

from __future__ import annotations

from dataclasses import dataclass

from tersely.codes.machine import MULTIPLY_NS, call_ns
from tersely.codes.protocol import KernelKey, Work

# MEASURED with AVX2 on Zen 3, two threads, each time as a share of dense time in the same run.
FROM_TABLE_NS = {"row": 0.05, "1x4": 0.065, "1x8": 0.034, "16x1": 0.05, "chunk": 0.026}
"""A weight of a block of a dictionary."""
FAR_NS = {"1x4": 0.13, "1x8": 0.062}
"""A weight of a block of a large dictionary: one-row blocks wait for it."""
IN_ORDER_NS = {"row": 0.05, "16x1": 0.17, "chunk": 0.08}
"""A weight of a block that lies in order."""
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
        visit, one_high = IN_ORDER_NS[kernel.shape] * SHARE[machine], False
    # Blocks of one row are read anew for every row of x, or decoded for all of them, which costs as much as several.
    anew = float(batch) if batch <= 4 else batch / 2
    each = visit * anew if one_high else visit + MULTIPLY_NS[machine] * (batch - 1)
    return call_ns(work, work.entries * each)
