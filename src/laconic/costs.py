"""How long a product with one batch row would take, by two threads, without running it.

    dense            stored bytes / bandwidth
    split            dense time of the same weights x a measured share
    sparse bitmap    the longer of bytes / bandwidth and chunks x time per chunk; n_of_m likewise
    sparse deltas    the longer of bytes / bandwidth and entries x time per entry
    sparse elias_fano  a bitmap's chunks, and values x time per value
    ... + VALUES     as without, and groups of 64 values x time per group

Profiles are shipped, not measured here, so that every machine makes the same plan. They are for choosing, not for promises: what counts
is which candidate is faster, on machines whose memory and cores differ by less than the candidates do.
"""

from __future__ import annotations

from laconic.dtypes import by_name
from laconic.formulations.protocol import Candidate

# MEASURED: two cores of Zen 3 and of a server with AVX-512 read 28 to 32 GB/s.
BYTES_PER_NS = 30.0
# What a call costs whatever the weights: below it, differences in time mean nothing and the smallest form wins.
CALL_NS = 2000.0

# MEASURED with AVX2 on Zen 3 (one thread, halved), with AVX-512 by the sketches that the kernels follow (two threads);
# float16 with AVX-512 is taken to be bfloat16.
CHUNK_NS = {
    "avx2": {"float32": 3.5, "bfloat16": 2.8, "float16": 3.9},
    "avx512": {"float32": 2.0, "bfloat16": 1.4, "float16": 1.4},
}
"""A bitmap's chunk of 64 places."""
SELECT_NS = {
    "avx2": {"float32": 2.5, "bfloat16": 1.5, "float16": 1.6},
    "avx512": {"float32": 2.5, "bfloat16": 1.5, "float16": 1.6},
}
"""64 places of n_of_m; both sets use the same kernels."""
VALUE_NS = {
    "avx2": {
        "split packed": {"float32": 6.5, "bfloat16": 3.5, "float16": 6.0},
        "split layered": {"float32": 7.5, "bfloat16": 6.5, "float16": 8.5},
    },
    "avx512": {
        "split packed": {"float32": 3.3, "bfloat16": 1.2, "float16": 1.6},
        "split layered": {"float32": 3.5, "bfloat16": 1.6, "float16": 2.0},
    },
}
"""A group of 64 coded values."""
PLACE_NS = 1.5
"""A value behind Elias-Fano positions, decoded."""
SLOW_VALUE_NS = 30.0
"""Every other coding of values."""
ENTRY_NS = {"avx2": 0.22, "avx512": 0.12}
"""An entry of gaps, fillers and padding of lanes among them."""

# MEASURED: candidates.py of split has the figures.
SPLIT_SHARE = {
    "avx2": {"split packed": {"float32": 1 / 1.2, "bfloat16": 1 / 1.3, "float16": 1 / 0.7}},
    "avx512": {
        "split packed": {"float32": 1 / 1.13, "bfloat16": 1 / 1.28, "float16": 1 / 1.02},
        "split layered 1": {"float32": 1 / 1.03, "bfloat16": 1 / 1.37, "float16": 1 / 1.04},
        "split layered 2": {"float32": 1 / 1.02, "bfloat16": 1 / 1.3, "float16": 1 / 0.9},
        "split layered": {"float32": 1.0, "bfloat16": 1 / 1.22, "float16": 1 / 0.8},
    },
}
"""Time of a split form as a share of dense time."""
CONSTANT_SHARE = 0.25
SLOW_SHARE = 1 / 0.6
"""Every other form: layered codes under AVX2, float8 everywhere."""


def predict_ns(candidate: Candidate, dtype: str, profile: str) -> float:
    """Nanoseconds of a product with one batch row under a (resolved) profile; `portable` is the slower class, AVX2."""
    machine = "avx512" if profile in ("avx512", "amx") else "avx2"
    kernel, memory = candidate.kernel, candidate.nbytes / BYTES_PER_NS
    if kernel == "dense":
        return CALL_NS + memory
    positions, _, values = kernel.partition(" + ")
    if positions in ("sparse bitmap", "sparse n_of_m"):
        places = CHUNK_NS if positions == "sparse bitmap" else SELECT_NS
        compute = candidate.places / 64 * places[machine][dtype]
        if values:
            name = "split layered" if values.startswith("split layered") else values
            compute += candidate.entries / 64 * VALUE_NS[machine].get(name, {}).get(dtype, SLOW_VALUE_NS)
        return CALL_NS + max(memory, compute)
    if positions == "sparse elias_fano":
        return CALL_NS + candidate.places / 64 * CHUNK_NS[machine][dtype] + candidate.entries * PLACE_NS
    if kernel == "sparse deltas":
        return CALL_NS + max(memory, candidate.entries * ENTRY_NS[machine])
    dense = candidate.places * by_name(dtype).bits / 8 / BYTES_PER_NS
    if kernel == "split constant":
        return CALL_NS + dense * CONSTANT_SHARE
    shares = SPLIT_SHARE[machine]
    share = shares.get(kernel) or (shares.get("split layered", {}) if kernel.startswith("split layered") else {})
    return CALL_NS + dense * share.get(dtype, SLOW_SHARE)
