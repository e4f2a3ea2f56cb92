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

# An escape takes its three bytes and, in a product, about the time of reading fifteen more.
FAST_ESCAPE_BYTES = 18.0
MOST_BITS_PER_WEIGHT = 7.25
"""MEASURED by the sketches that the kernels follow: above it coded 8-bit weights multiply no faster than dense ones."""


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
    return [one for one in found if one.nbytes * 8 <= MOST_BITS_PER_WEIGHT * words.size]


def forced(request: Request, parameters: dict[str, Any]) -> Candidate:
    """`integer` with the caller's bits for all groups, or the cheapest for each."""
    bits = parameters.pop("bits", None)
    if parameters:
        raise ArgumentError(f"formulation 'integer' takes no parameter {next(iter(parameters))!r}")
    if bits is not None and (type(bits) is not int or not 0 <= bits <= MOST_BITS):
        raise ArgumentError(f"bits of 'integer' are 0 to {MOST_BITS}, not {bits!r}")
    return _candidate(request, request.geometry(), bits)


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
        "integer" if geometry.view == "matrix" else "integer decoded",
        {} if bits is None else {"bits": bits},
        geometry.panels * blocks_per_panel(geometry) * BLOCK_WEIGHTS,
        int(groups.escapes.sum()),
    )
