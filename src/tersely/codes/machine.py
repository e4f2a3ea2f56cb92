"""Figures of machines that the shipped costs of all formulations share: two threads, nanoseconds, by the class of a
machine's instruction set.

They are for choosing, not for promises, and the same everywhere, so that a plan does not depend on the machine that
made it. Each formulation has its own figures in its module `costs`.
"""

from __future__ import annotations

from tersely.codes.protocol import Work

# MEASURED: two cores of Zen 3 and of a server with AVX-512 read 28 to 32 GB/s.
BYTES_PER_NS = 30.0
# What a call costs whatever the weights: below it, differences in time mean nothing and the smallest form wins.
CALL_NS = 2000.0
MULTIPLY_NS = {"avx2": 0.0125, "avx512": 0.0075}
"""One row of x by one weight."""
INDEX_CODE_NS = {"avx2": 40.0, "avx512": 1.5}
"""What decoding a chunk of coded indices adds: planes where AVX-512 takes them apart, symbol by symbol elsewhere."""


def call_ns(work: Work, compute: float) -> float:
    """A call of so much computing: the longer of that and reading what is stored."""
    return CALL_NS + max(work.nbytes / BYTES_PER_NS, compute)
