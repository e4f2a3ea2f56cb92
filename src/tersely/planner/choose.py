"""Which formulation a tensor gets: candidates of every formulation with exact sizes, then one rule per objective.

    size        the smallest candidate, whatever its speed
    speed       the fastest by the cost model (`tersely.planner.cost_model`) of those that are smaller than dense, or larger by no more
                than their formulation allows (fields of 4-bit pairs, which dense ones are never multiplied as fast as)
    balanced    the smallest of those within 10 % of the fastest, and never slower than dense
    any         dense where nothing is smaller

Times are those of a product with `batch` rows of x. Profiles (`tersely.planner.profiles`) name a class of machine, not this
machine's clock, so the same tensor gets the same bytes everywhere; `native` is resolved to the class of this machine,
and only a profile that was measured depends on one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tersely.backends.cpu.float_environment import under_default
from tersely.backends.cpu.threads import workers_of
from tersely.codes import registry
from tersely.codes.protocol import Candidate, Formulation, Request
from tersely.core.choices import OBJECTIVES, ORIENTATIONS
from tersely.core.dtypes import of_array
from tersely.core.encoded import Encoded
from tersely.core.errors import ArgumentError
from tersely.core.geometry import choose
from tersely.planner.cost_model import predict_ns
from tersely.planner.profiles import NAMES as PROFILES
from tersely.planner.profiles import Profile, resolve

BALANCED_SLACK = 1.1
"""How much slower than the fastest candidate a smaller one may be, by the cost model, under `balanced`."""

_PLANNED_TWICE = 1 << 16
"""Up to so many bytes a tensor that stays dense is looked at once more, for what objective 'size' would make of it."""
LARGER = "x the chosen one's size"
TOO_SMALL = "its description would cost more than the code saves"

VIEWS = ("", "folded")
"""That a caller may ask for: as the shape suggests, or as a flat sequence."""
__all__ = ["OBJECTIVES", "PROFILES", "Profile", "check_batch", "decide", "encode", "resolve_profile"]


def resolve_profile(profile: str | os.PathLike[str] | Profile) -> str:
    """The class of machines that a profile is for. Raises ArgumentError."""
    return resolve(profile).machine


def check_batch(batch: object) -> int:
    """Rows of x that products will have. Raises ArgumentError."""
    if isinstance(batch, bool) or not isinstance(batch, (int, np.integer)) or batch < 1:
        raise ArgumentError(f"batch must be a whole number of rows, at least 1, not {batch!r}")
    return int(batch)


def raw_bytes(array: np.ndarray) -> np.ndarray:
    """The array's bytes, row-major and little-endian: a view where it is contiguous, else a copy."""
    if array.dtype.byteorder == ">":
        raise ArgumentError(
            f"big-endian array of dtype {array.dtype}: convert it with array.astype(array.dtype.newbyteorder('<'))"
        )
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


@under_default
def encode(
    array: np.ndarray,
    *,
    objective: str = "balanced",
    profile: str | os.PathLike[str] | Profile = "portable",
    batch: int = 1,
    orientation: str = "out_in",
    formulation: str | None = None,
    threads: int | None = None,
    view: str = "",
    int4_columns: int | None = None,
    **parameters: Any,
) -> Encoded:
    """Code one tensor.

    Args:
        array: any shape; dtypes of `tersely.core.dtypes`. Never modified; copied only where it is not contiguous.
        objective, profile, batch: see the module. orientation: 'in_out' for weights stored [inputs, outputs].
        formulation: None lets the planner choose; 'dense', or 'split' with optional parameters
            code='packed', bits=4 | code='layered', widths=(3,) | code='constant'; or
            'sparse' with positions='bitmap' | 'deltas'; or
            'palette' with code='fixed', a code of 'split' for its indices, or 'grid' for words scale x (number - zero). view: 'folded' codes the tensor as a flat sequence.
        threads: workers; None for `get_num_threads()`. int4_columns: says that each byte of a uint8 array holds two 4-bit
            values, so many a row: twice the last dimension.

    Raises ArgumentError for arguments that do not fit the array.
    """
    dtype = of_array(array)
    if objective not in OBJECTIVES:
        raise ArgumentError(f"unknown objective {objective!r}: use one of {', '.join(OBJECTIVES)}")
    if orientation not in ORIENTATIONS:
        raise ArgumentError(f"unknown orientation {orientation!r}: use 'out_in' or 'in_out'")
    if view not in VIEWS and view != choose(array.shape, orientation).view:
        raise ArgumentError(
            f"view {view!r} does not fit a tensor of shape {list(array.shape)}: use 'folded', or leave it out"
        )
    target = resolve(profile)
    if formulation is not None:
        _row_of(formulation)
    if int4_columns is not None:
        _check_int4(array, int4_columns, formulation)
    words = raw_bytes(array).view(dtype.word).reshape(array.shape)
    workers = workers_of(threads)
    rows = check_batch(batch)
    request = Request(
        words, dtype.name, orientation, objective, target.machine, workers, view, rows, target.costs, int4_columns
    )
    if formulation is None:
        if parameters:
            raise ArgumentError(
                f"parameter {next(iter(parameters))!r} needs formulation='split' or another that takes it"
            )
        chosen = decide(request)[0].candidate
    else:
        chosen = forced(request, formulation, parameters)
    return encoded(chosen, words.shape, dtype.name, target.name, workers)


def _row_of(formulation: object) -> Formulation:
    if not isinstance(formulation, str) or formulation not in registry.BY_NAME:
        raise ArgumentError(f"unknown formulation {formulation!r}: use one of {', '.join(registry.NAMES)}")
    return registry.BY_NAME[formulation]


@under_default
def forced(request: Request, formulation: str, parameters: Mapping[str, Any]) -> Candidate:
    """The form that a caller or a plan names, none of whose parameters can be mistaken for an argument of `encode`.

    Raises ArgumentError.
    """
    row, own = _row_of(formulation), dict(parameters)
    if request.dtype not in row.DTYPES:
        raise ArgumentError(
            f"formulation {formulation!r} codes {', '.join(row.DTYPES)}, not {request.dtype}: use 'dense'"
        )
    if "int4_columns" in own:  # as candidates say it of themselves
        columns = own.pop("int4_columns")
        _check_int4(request.words, columns, formulation)
        request = replace(request, int4_columns=int(columns))
    return row.forced(request, own)


@under_default
def encoded(candidate: Candidate, shape: tuple[int, ...], dtype: str, profile: str, threads: int) -> Encoded:
    """A candidate of a tensor of that shape and dtype, coded now. profile: the name to record."""
    geometry = candidate.geometry
    return Encoded(
        shape,
        dtype,
        geometry.view,
        geometry.orientation,
        geometry.column_order,
        candidate.node,
        candidate.components(threads),
        profile,
    )


def _check_int4(array: np.ndarray, columns: object, formulation: str | None) -> None:
    """Raises ArgumentError where an array cannot hold rows of so many 4-bit values, two a byte."""
    if formulation not in (None, "integer", "dense"):
        raise ArgumentError(f"int4_columns belongs to formulation 'integer', not to {formulation!r}")
    if array.dtype != np.uint8 or not array.ndim:
        raise ArgumentError(
            f"int4_columns is for uint8 arrays that hold two 4-bit values a byte, not for {array.dtype} of "
            f"{array.ndim} dimensions"
        )
    if isinstance(columns, bool) or not isinstance(columns, (int, np.integer)):
        raise ArgumentError(f"int4_columns must be a whole number, not {columns!r}")
    if columns % 2:
        raise ArgumentError(
            f"int4_columns is {columns}: an odd number of 4-bit values does not fill the bytes of a row; pad each row "
            "with one value"
        )
    if columns != 2 * array.shape[-1]:
        raise ArgumentError(
            f"int4_columns is {columns}, and rows of {array.shape[-1]} bytes hold {2 * array.shape[-1]} 4-bit values"
        )


@under_default
def candidates(request: Request) -> list[Candidate]:
    """What every formulation offers for one tensor, dense among them; nothing is coded yet."""
    return [found for row in registry.ROWS if request.dtype in row.DTYPES for found in row.candidates(request)]


@dataclass(frozen=True)
class Verdict:
    """One candidate, its predicted time for the request's batch, and why it lost; '' for the one that was chosen.

    note: why that one was chosen, where neither size nor time says so.
    """

    candidate: Candidate
    ns: float
    lost: str
    note: str = ""


@under_default
def decide(request: Request) -> list[Verdict]:
    """Every candidate, the chosen one first, the others in the order of the registry."""
    found = candidates(request)
    times = [predict_ns(one, request.dtype, request.profile, request.batch, request.costs) for one in found]
    dense, dense_ns = found[0], times[0]
    fit = [k for k, one in enumerate(found) if k == 0 or one.nbytes < dense.nbytes + one.allowance]
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
        return f"{found[k].nbytes / max(1, found[best].nbytes):.2f} {LARGER}"

    order = [best, *(k for k in range(len(found)) if k != best)]
    return [Verdict(found[k], times[k], lost(k)) for k in order]


def why_dense(verdicts: Sequence[Verdict], request: Request, stored: Callable[[Candidate], int]) -> str:
    """Why the first of these verdicts, dense, was chosen: what the other candidates say.

    stored: bytes that a candidate takes where the tensor is kept, at most, whatever belongs to it.
    """
    dense = stored(verdicts[0].candidate)
    found = [one.candidate for one in verdicts[1:]]
    whole = request.objective == "size"
    if not whole and request.words.nbytes <= _PLANNED_TWICE:
        found, whole = candidates(replace(request, objective="size")), True
    smallest = min(map(stored, found), default=dense)
    if smallest < dense and request.objective != "size":
        return f"smaller codes are slower; objective 'size': {dense / smallest:.1f} x smaller"
    if any(one.nbytes < verdicts[0].candidate.nbytes for one in found):
        return f"too small: {TOO_SMALL}"
    if whole:
        return "no code makes it smaller"
    rows = [row for row in registry.ROWS if request.dtype in row.DTYPES]
    reasons = (row.why_not(request.dtype, request.objective, request.profile) for row in rows)
    return next(filter(None, reasons), f"no code for objective {request.objective!r} makes it smaller")


def slow_here(encoded: Encoded) -> bool:
    """Whether products of this tensor are slower than dense ones on this machine's class."""
    row = registry.BY_NAME.get(encoded.node.formulation)
    return row is not None and row.slow_under(encoded, resolve_profile("native"))
