"""Which formulation a tensor gets: candidates of every formulation with exact sizes, then one rule per objective.

    size        the smallest candidate, whatever its speed
    speed       the fastest by the cost model (`laconic.costs`) of those that are smaller than dense
    balanced    the smallest of those within 10 % of the fastest, and never slower than dense
    any         dense where nothing is smaller

Profiles name a class of machine, not this machine's clock, so the same tensor gets the same bytes everywhere;
`native` is resolved to the class of this machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from laconic import isa
from laconic.costs import predict_ns
from laconic.dtypes import DType, of_array
from laconic.encoded import Encoded
from laconic.errors import ArgumentError
from laconic.formulations import registry
from laconic.formulations.protocol import Candidate, Request
from laconic.threads import get_num_threads

BALANCED_SLACK = 1.1
"""How much slower than the fastest candidate a smaller one may be, by the cost model, under `balanced`."""

OBJECTIVES = ("size", "speed", "balanced")
PROFILES = ("portable", "avx2", "avx512", "amx", "native")


def resolve_profile(profile: str) -> str:
    """The profile's own name; for 'native' that of this machine's class. Raises ArgumentError."""
    if profile not in PROFILES:
        raise ArgumentError(f"unknown profile {profile!r}: use one of {', '.join(PROFILES)}")
    if profile != "native":
        return profile
    active = isa.active()
    return "amx" if active == "amx" else "avx512" if active.startswith("avx512") else "portable"


def raw_bytes(array: np.ndarray) -> np.ndarray:
    """The array's bytes, row-major and little-endian: a view where it is contiguous, else a copy."""
    if array.dtype.byteorder == ">":
        raise ArgumentError(
            f"big-endian array of dtype {array.dtype}: convert it with array.astype(array.dtype.newbyteorder('<'))"
        )
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def encode(
    array: np.ndarray,
    *,
    objective: str = "balanced",
    profile: str = "portable",
    orientation: str = "out_in",
    formulation: str | None = None,
    threads: int | None = None,
    view: str = "",
    **parameters: Any,
) -> Encoded:
    """Code one tensor.

    Args:
        array: any shape; dtypes of `laconic.dtypes`. Never modified; copied only where it is not contiguous.
        objective, profile: see the module. orientation: 'in_out' for weights stored [inputs, outputs].
        formulation: None lets the planner choose; 'dense', or 'split' with optional parameters
            code='packed', bits=4 | code='layered', widths=(3,) | code='constant'; or
            'sparse' with positions='bitmap' | 'deltas'; or
            'palette' with code='fixed' or a code of 'split' for its indices. view: 'folded' codes the tensor as a flat sequence.
        threads: workers; None for `get_num_threads()`.

    Raises ArgumentError for arguments that do not fit the array.
    """
    dtype = of_array(array)
    if objective not in OBJECTIVES:
        raise ArgumentError(f"unknown objective {objective!r}: use one of {', '.join(OBJECTIVES)}")
    if orientation not in ("out_in", "in_out"):
        raise ArgumentError(f"unknown orientation {orientation!r}: use 'out_in' or 'in_out'")
    profile = resolve_profile(profile)
    if formulation is not None and formulation not in registry.NAMES:
        raise ArgumentError(f"unknown formulation {formulation!r}: use one of {', '.join(registry.NAMES)}")
    words = raw_bytes(array).view(dtype.word).reshape(array.shape)
    request = Request(words, dtype.name, orientation, objective, profile, threads or get_num_threads(), view)
    if formulation is None:
        if parameters:
            raise ArgumentError(
                f"parameter {next(iter(parameters))!r} needs formulation='split' or another that takes it"
            )
        chosen = decide(request)[0].candidate
    else:
        row = registry.BY_NAME[formulation]
        if dtype.name not in row.DTYPES:
            raise ArgumentError(
                f"formulation {formulation!r} codes {', '.join(row.DTYPES)}, not {dtype.name}: use 'dense'"
            )
        chosen = row.forced(request, parameters)
    geometry = chosen.geometry
    return Encoded(
        words.shape,
        dtype.name,
        geometry.view,
        geometry.orientation,
        geometry.column_order,
        chosen.node,
        chosen.components(request.threads),
        profile,
    )


def candidates(request: Request) -> list[Candidate]:
    """What every formulation offers for one tensor, dense among them; nothing is coded yet."""
    return [found for row in registry.ROWS if request.dtype in row.DTYPES for found in row.candidates(request)]


@dataclass(frozen=True)
class Verdict:
    """One candidate, its predicted time for one batch row, and why it lost; '' for the one that was chosen."""

    candidate: Candidate
    ns: float
    lost: str


def decide(request: Request) -> list[Verdict]:
    """Every candidate, the chosen one first, the others in the order of the registry."""
    found = candidates(request)
    times = [predict_ns(candidate, request.dtype, request.profile) for candidate in found]
    dense, dense_ns = found[0], times[0]
    fit = [k for k, one in enumerate(found) if k == 0 or one.nbytes < dense.nbytes]
    fastest = min(times[k] for k in fit)
    limit = {"size": float("inf"), "speed": fastest, "balanced": min(fastest * BALANCED_SLACK, dense_ns)}
    allowed = [k for k in fit if times[k] <= limit[request.objective]]
    best = min(allowed, key=lambda k: (found[k].nbytes, times[k]))

    def lost(k: int) -> str:
        if k == best:
            return ""
        if k not in fit:
            return "not smaller than dense"
        if k not in allowed:
            return "slower than dense" if times[k] > dense_ns else f"{times[k] / fastest:.2f} x the fastest's time"
        return f"{found[k].nbytes / max(1, found[best].nbytes):.2f} x the chosen one's size"

    order = [best, *(k for k in range(len(found)) if k != best)]
    return [Verdict(found[k], times[k], lost(k)) for k in order]


def why_dense(dtype: DType, objective: str, profile: str = "portable") -> str:
    """Why `encode` left a tensor of this dtype as it is."""
    profile = resolve_profile(profile)
    reasons = [row.why_not(dtype.name, objective, profile) for row in registry.ROWS if dtype.name in row.DTYPES]
    return next(filter(None, reasons), "no code makes it smaller")


def slow_here(encoded: Encoded) -> bool:
    """Whether products of this tensor are slower than dense ones on this machine's class."""
    row = registry.BY_NAME.get(encoded.node.formulation)
    return row is not None and row.slow_under(encoded, resolve_profile("native"))
