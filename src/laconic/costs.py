"""How long a product with one batch row would take, by two threads, without running it.

    dense            stored bytes / bandwidth
    split            dense time of the same weights x a measured share
    sparse bitmap    the longer of bytes / bandwidth and chunks x time per chunk
    sparse deltas    the longer of bytes / bandwidth and entries x time per entry
    palette          the longer of bytes / bandwidth and chunks x time per chunk
    integer          the longer of bytes / bandwidth and chunks x time per chunk + escapes x time per escape

Profiles are shipped, not measured here, so that every machine makes the same plan. They are for choosing, not for promises: what counts
is which candidate is faster, on machines whose memory and cores differ by less than the candidates do.
"""

from __future__ import annotations

from laconic.dtypes import by_name
from laconic.formulations.protocol import Candidate, Work

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
ENTRY_NS = {"avx2": 0.22, "avx512": 0.12}
"""An entry of gaps, fillers and padding of lanes among them."""

# MEASURED with AVX2 on Zen 3 (one thread, halved); with AVX-512 by the sketches where there is one (4, 5 and 8 bits), the
# others by their instructions.
PALETTE_CHUNK_NS: dict[str, dict[str, tuple[float, ...]]] = {
    "avx2": {
        "float32": (1.9, 2.0, 3.5, 2.4, 4.8, 7.2, 13.5, 13.5),
        "bfloat16": (1.9, 2.0, 2.5, 1.7, 3.4, 4.4, 13.5, 13.5),
        "float16": (1.9, 2.0, 3.5, 2.4, 4.8, 7.2, 13.5, 13.5),
    },
    "avx512": dict.fromkeys(("float32", "bfloat16", "float16"), (1.0, 1.1, 1.4, 1.1, 1.5, 2.2, 6.0, 6.0)),
}
"""A palette's chunk of 64 places, by bits of an index from 1 on."""
INDEX_CODE_NS = {"avx2": 40.0, "avx512": 1.5}
"""What decoding a chunk of coded indices adds: planes where AVX-512 takes them apart, symbol by symbol elsewhere."""
# MEASURED with AVX2 on Zen 3, one thread, halved; two slices of x.
INTEGER_CHUNK_NS = 1.5
"""A chunk of 64 fields of 8-bit weights."""
ESCAPE_NS = 1.0
"""A weight that is listed beside the fields."""
DECODED_NS = 0.0
"""8-bit weights that no kernel multiplies: dense ones are then copied as often."""

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


def predict_ns(candidate: Candidate | Work, dtype: str, profile: str) -> float:
    """Nanoseconds of a product with one batch row under a (resolved) profile; `portable` is the slower class, AVX2."""
    machine = "avx512" if profile in ("avx512", "amx") else "avx2"
    kernel, memory = candidate.kernel, candidate.nbytes / BYTES_PER_NS
    if kernel == "dense":
        return CALL_NS + memory
    if kernel == "sparse bitmap":
        return CALL_NS + max(memory, candidate.places / 64 * CHUNK_NS[machine][dtype])
    if kernel == "sparse deltas":
        return CALL_NS + max(memory, candidate.entries * ENTRY_NS[machine])
    if kernel.startswith("palette"):
        _, bits, *code = kernel.split()
        chunk = PALETTE_CHUNK_NS[machine][dtype][int(bits) - 1] + (INDEX_CODE_NS[machine] if code else 0.0)
        return CALL_NS + max(memory, candidate.places / 64 * chunk)
    if kernel == "integer":
        return CALL_NS + max(memory, candidate.places / 64 * INTEGER_CHUNK_NS + candidate.entries * ESCAPE_NS)
    if kernel == "integer decoded":
        return CALL_NS + memory + candidate.places * DECODED_NS
    dense = candidate.places * by_name(dtype).bits / 8 / BYTES_PER_NS
    if kernel == "split constant":
        return CALL_NS + dense * CONSTANT_SHARE
    shares = SPLIT_SHARE[machine]
    share = shares.get(kernel) or (shares.get("split layered", {}) if kernel.startswith("split layered") else {})
    return CALL_NS + dense * share.get(dtype, SLOW_SHARE)
