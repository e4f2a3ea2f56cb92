"""What products of `integer` take by shipped figures: the longer of bytes / bandwidth and chunks x time per chunk, or
weights x (decoding + rows of x).
"""

from __future__ import annotations

from dataclasses import dataclass

from tersely.codes.machine import BYTES_PER_NS, CALL_NS, MULTIPLY_NS, call_ns
from tersely.codes.protocol import KernelKey, Work
from tersely.codes.words.integer.layout import BLOCK_WEIGHTS, BYTES, DISTANCES, NIBBLES, blocks_per_panel
from tersely.core.geometry import Geometry

# MEASURED with AVX2 on Zen 3, one thread, halved: float x, 6 bits 2.5 ns, 7 bits 3.7 ns.
CHUNK_NS = 1.5
"""A chunk of 64 fields of 8-bit weights; the few listed beside them are in it."""
# MEASURED with two threads on Zen 5, AVX2 forced there: 2048 x 4096 of int8, normal with sigma 3, 12 and 30 (3.8, 5.7
# and 7.1 bits), each time as a share of the time of dense ones in turn with them. One row of x: 1.5 to 1.7 with
# AVX-512, 3.3 to 3.6 with AVX2; 4 rows 0.85 and 2; 16 rows 0.55 and 1.2. Decoded ones take 3 and 5 times as long as
# dense ones are read.
DISTANCE_NS = {"avx2": (0.105, 0.009), "avx512": (0.051, 0.002)}
"""An integer under a code of `split`, and one row of x by it."""
DECODED_NS = {"avx2": (0.16, 0.0125), "avx512": (0.11, 0.0075)}
"""An integer under a code of `split` that is decoded anew for each product, and one row of x by it."""
# MEASURED with AVX2 on Zen, two threads, 2048 x 2048: most of it is putting bytes together, which is one thread's.
NIBBLES_NS = 0.6
"""A byte of two values under a code of `split`, decoded anew for each product."""


@dataclass(frozen=True)
class Kernel(KernelKey):
    """child: of the node, '' for fields. decoded: for each product, because no kernel multiplies it as it is."""

    formulation = "integer"
    child: str = ""
    decoded: bool = False

    def words(self) -> tuple[object, ...]:
        return (self.child, "decoded" if self.decoded else "")


def kernel_of(geometry: Geometry, dtype: str, child: str = "") -> Kernel:
    """The row of the cost model: only matrices of 8 bits are multiplied as they are, as fields or distances."""
    if child == NIBBLES:
        return Kernel(child)
    return Kernel(child, geometry.view != "matrix" or (child == DISTANCES and dtype not in BYTES))


def padded_weights_of(geometry: Geometry) -> int:
    """Weights that a product goes through, padding included."""
    return geometry.panels * blocks_per_panel(geometry) * BLOCK_WEIGHTS


def predict_ns(work: Work, dtype: str, machine: str, batch: int) -> float:
    kernel, weights, row = work.kernel, work.padded_weights, MULTIPLY_NS[machine]
    assert isinstance(kernel, Kernel)
    if kernel.child == NIBBLES:
        return CALL_NS + weights * (NIBBLES_NS + row * batch)
    if kernel.child == DISTANCES:
        decode, row = (DECODED_NS if kernel.decoded else DISTANCE_NS)[machine]
        return call_ns(work, weights * (decode + batch * row))
    if kernel.decoded:
        return CALL_NS + work.nbytes / BYTES_PER_NS + weights * row * (batch - 1)
    return call_ns(work, weights / 64 * CHUNK_NS + weights * row * (batch - 1))
