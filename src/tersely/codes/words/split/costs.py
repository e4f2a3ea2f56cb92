"""What products of `split`, and values under it, take by shipped figures: the longer of dense time at one row of x
times a measured share, and weights x (decoding + rows of x).
"""

from __future__ import annotations

from dataclasses import dataclass

from tersely.codes.machine import BYTES_PER_NS, CALL_NS, MULTIPLY_NS
from tersely.codes.protocol import KernelKey, Work
from tersely.codes.words.split.layout import Parameters
from tersely.core.dtypes import by_name


@dataclass(frozen=True)
class Kernel(KernelKey):
    """code: of the symbols. levels: of 'layered', else 0."""

    formulation = "split"
    code: str
    levels: int = 0

    def words(self) -> tuple[object, ...]:
        return (self.code, self.levels or "")


def kernel_of(parameters: Parameters) -> Kernel:
    """The row of the cost model for a code. Bytes that are all alike have no kernel of their own either."""
    if parameters.byte is not None:
        return Kernel("constant")
    return Kernel(parameters.code, len(parameters.widths))


# MEASURED: candidates.py has the figures.
PACKED_SHARE = {
    "avx2": {"float32": 1 / 1.2, "bfloat16": 1 / 1.3, "float16": 1 / 0.72},
    "avx512": {"float32": 1 / 1.06, "bfloat16": 1 / 1.27, "float16": 1 / 0.95},
}
"""Time of packed codes as a share of dense time."""
LAYERED_SHARE = {
    "avx2": {"float32": 1 / 0.95, "bfloat16": 1 / 0.6, "float16": 1 / 0.45},
    "avx512": {"float32": 1 / 1.1, "bfloat16": 1 / 1.33, "float16": 1 / 0.85},
}
"""Time of layered codes as a share of dense time."""
ONE_LEVEL_SHARE = {"float32": 1 / 1.12, "bfloat16": 1 / 1.4, "float16": 1 / 0.88}
"""Time of layered codes of one level under AVX-512 as a share of dense time."""
# MEASURED with AVX2: one exponent for all weights takes 27 x dense time in bfloat16; no kernel of its own, on any
# machine.
CONSTANT_SHARE = 27.0
SLOW_SHARE = 1 / 0.6
"""Every other form, such as all of float8."""
DECODE_NS = {"avx2": 0.05, "avx512": 0.025}
"""A weight, from the cache: what more rows of x share."""
# MEASURED with two threads: AVX2 on Zen 3, AVX-512 on Zen 4.
VALUE_NS = {
    "avx2": {
        "packed": {"float32": 6.5, "bfloat16": 2.9, "float16": 4.4},
        "layered": {"float32": 7.0, "bfloat16": 6.2, "float16": 7.6},
    },
    "avx512": {
        "packed": {"float32": 7.2, "bfloat16": 4.2, "float16": 5.2},
        "layered": {"float32": 7.0, "bfloat16": 4.2, "float16": 5.2},
    },
}
"""A group of 64 coded values."""
# MEASURED with AVX-512 and AVX2 alike, values that share every bit of the mantissa: 28 ns in float32, 42 in bfloat16.
SLOW_VALUE_NS = 40.0
"""Every other coding of values: one by one, without a kernel of its own."""


def predict_ns(work: Work, dtype: str, machine: str, batch: int) -> float:
    kernel, multiply = work.kernel, MULTIPLY_NS[machine] * batch
    assert isinstance(kernel, Kernel)
    dense = work.padded_weights * by_name(dtype).bits / 8 / BYTES_PER_NS
    if kernel.code == "constant":
        return CALL_NS + max(dense * CONSTANT_SHARE, work.padded_weights * multiply)
    shares = PACKED_SHARE[machine] if kernel.code == "packed" else LAYERED_SHARE[machine]
    if machine == "avx512" and kernel.levels == 1:
        shares = ONE_LEVEL_SHARE
    once = dense * shares.get(dtype, SLOW_SHARE)
    return CALL_NS + max(once, work.padded_weights * (DECODE_NS[machine] + multiply))


def value_ns(kernel: KernelKey, dtype: str, machine: str) -> float:
    assert isinstance(kernel, Kernel)
    return VALUE_NS[machine].get(kernel.code, {}).get(dtype, SLOW_VALUE_NS)
