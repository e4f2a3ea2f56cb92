"""Which forms of `integer` are worth considering, and the form that a caller asks for."""

from __future__ import annotations

from typing import Any

from laconic.encoded import Node
from laconic.errors import ArgumentError
from laconic.formulations.integer import codec
from laconic.formulations.integer.layout import (
    BLOCK_WEIGHTS,
    MOST_BITS,
    NAME,
    VERSION,
    blocks_per_panel,
)
from laconic.formulations.protocol import Candidate, Request
from laconic.geometry import Geometry, folded

# MEASURED with AVX2 on Zen 3, one thread: an escape takes 4.5 ns of a float product; a chunk of 64 weights with 7 bits
# takes 1.1 ns and 8 bytes more than with 6. So an escape is worth as much as four chunks' eight bytes.
FAST_ESCAPE_BYTES = 32.0
# MEASURED with AVX2 on Zen 3, two threads, float x and int8 x against dense int8: 6.04 bits 1.04 and 1.08, 7.03 bits 0.83
# and 0.93; with AVX-512 by the sketches that the kernels follow.
MOST_BITS_PER_WEIGHT = {"avx512": 7.25, "amx": 7.25}
"""Above it coded 8-bit weights multiply no faster than dense ones, by (resolved) profile."""
MOST_BITS_ELSEWHERE = 6.5


def fast(nbytes: int, weights: int, profile: str) -> bool:
    """Whether so many bytes for 8-bit weights are few enough to pay for taking fields apart."""
    return nbytes * 8 <= MOST_BITS_PER_WEIGHT.get(profile, MOST_BITS_ELSEWHERE) * max(1, weights)


def why_not(dtype: str, objective: str, profile: str) -> str:
    return ""


def candidates(request: Request) -> list[Candidate]:
    words = request.words
    if words.size == 0:
        return []
    natural = request.geometry()
    found = [_candidate(request, natural)]
    flat = folded(words.shape)
    if natural.view != "folded" and (request.objective == "size" or natural.view == "convolution"):
        found.append(_candidate(request, flat))
    if request.objective == "size":
        return found
    return [one for one in found if fast(one.nbytes, words.size, request.profile)]


def forced(request: Request, parameters: dict[str, Any]) -> Candidate:
    """`integer` with the caller's bits for all groups, or the cheapest for each."""
    bits = parameters.pop("bits", None)
    if parameters:
        raise ArgumentError(f"formulation 'integer' takes no parameter {next(iter(parameters))!r}")
    if bits is not None and (type(bits) is not int or not 0 <= bits <= MOST_BITS):
        raise ArgumentError(f"bits of 'integer' are 0 to {MOST_BITS}, not {bits!r}")
    return _candidate(request, request.geometry(), bits)


def kernel_of(geometry: Geometry) -> str:
    """The row of the cost model: only matrices are multiplied as they are."""
    return "integer" if geometry.view == "matrix" else "integer decoded"


def places_of(geometry: Geometry) -> int:
    """Weights that a product goes through, padding included."""
    return geometry.panels * blocks_per_panel(geometry) * BLOCK_WEIGHTS


def _candidate(request: Request, geometry: Geometry, bits: int | None = None) -> Candidate:
    words = request.words
    cost = codec.SMALLEST if request.objective == "size" else FAST_ESCAPE_BYTES
    counts = codec.statistics(words, geometry, request.dtype, request.threads)
    groups = codec.choose(counts, geometry, request.dtype, cost, bits)
    return Candidate(
        Node(NAME, VERSION),
        geometry,
        groups.total(),
        lambda threads: codec.encode(words, groups, threads),
        kernel_of(geometry),
        {} if bits is None else {"bits": bits},
        places_of(geometry),
    )
