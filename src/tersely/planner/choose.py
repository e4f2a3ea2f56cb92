"""Which formulation a tensor gets: candidates of every formulation with exact sizes, then one rule per objective.

    size        the smallest candidate, whatever its speed; of those that are larger by half a per cent at most, the fastest
    speed       the fastest by the cost model (`tersely.planner.cost_model`) of those that are smaller than dense, or larger by no more
                than their formulation allows (fields of 4-bit pairs, which dense ones are never multiplied as fast as)
    balanced    the smallest of those within 10 % of the fastest, and never slower than dense; a smaller one where it takes less
                room by more than the square of what it takes longer. Convolutions of 8-bit integers, which networks alone
                multiply and decode once for all pixels, may be slower than dense by 10 %
    any         dense where nothing is smaller

Times are those of a product with `batch` rows of x. Profiles (`tersely.planner.profiles`) name a class of machine, not this
machine's clock, so the same tensor gets the same bytes everywhere; `native` is resolved to the class of this machine,
and only a profile that was measured depends on one.

To choose formulations layer by layer is the idea of "Succinct Compression: Lossless Compression for Fast and
Memory-Efficient Deep Neural Network Inference", 2023 (https://openreview.net/forum?id=VNzq9PBFta).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from tersely.backends.cpu.float_environment import under_default
from tersely.backends.cpu.threads import workers_of
from tersely.codes import registry
from tersely.codes.checks import is_integer
from tersely.codes.node import Checked
from tersely.codes.protocol import Candidate, Request, is_kernel
from tersely.core.choices import OBJECTIVES, ORIENTATIONS
from tersely.core.dtypes import by_name, of_array, raw_bytes
from tersely.core.encoded import Encoded
from tersely.core.errors import ArgumentError
from tersely.core.geometry import choose
from tersely.planner.cost_model import predict_ns
from tersely.planner.network_cost import (
    INTEGER_DECODE_NS,
    INTEGER_NS,
    INTEGER_PIXELS,
    NETWORK_NS,
    WINOGRAD_PIXELS,
    WINOGRAD_SHARE,
    listed_share,
    may_be_joined,
)
from tersely.planner.profiles import NAMES as PROFILES
from tersely.planner.profiles import Profile, resolve
from tersely.storage.ans.survey import Surveyed

BALANCED_SLACK = 1.1
"""How much slower than the fastest candidate a smaller one may be, by the cost model, under `balanced`."""

SIZE_SLACK = 1.005
"""How much larger than the smallest candidate a faster one may be under `size`. Folded views come last: they save some
entries of a directory, and have no kernels, so that a matrix would be decoded anew at each product."""

_PLANNED_TWICE = 1 << 16
"""Up to so many bytes a tensor that stays dense is looked at once more, for what objective 'size' would make of it."""
LARGER = "x the chosen one's size"
TOO_SMALL = "its description would cost more than the code saves"

_MANTISSA_BITS = {"float32": 23, "bfloat16": 7, "float16": 10}
_NOISE_ELEMENTS, _NOISE_RUNS, _NOISE_RUN, _DRAWN_FROM = 1 << 15, 32, 256, 1 << 20
"""Tensors of fewer elements are looked at by every formulation; of others so many runs of so many words say what may do."""

VIEWS = ("", "folded")
"""What a caller may ask for: as the shape suggests, or as a flat sequence."""
__all__ = ["OBJECTIVES", "PROFILES", "Profile", "check_batch", "decide", "encode", "resolve_profile"]


def resolve_profile(profile: str | os.PathLike[str] | Profile) -> str:
    """The class of machines that a profile is for. Raises ArgumentError."""
    return resolve(profile).machine


def check_batch(batch: object) -> int:
    """Rows of x that products will have. Raises ArgumentError."""
    if not is_integer(batch) or batch < 1:
        raise ArgumentError(f"batch must be an integer number of rows, at least 1, not {batch!r}")
    return int(batch)


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
    pixels: int = 0,
    **parameters: Any,
) -> Encoded:
    """Codes one tensor.

    Args:
        array: any shape; dtypes of `tersely.core.dtypes`. Never modified; copied only where it is not contiguous.
        objective: see the module.
        profile: see the module.
        batch: rows of x to plan for.
        orientation: 'in_out' for weights stored [inputs, outputs].
        formulation: None lets the planner choose.
        threads: workers; None for `get_num_threads()`.
        view: 'folded' codes the tensor as a flat sequence.
        int4_columns: says that each byte of a uint8 array holds two 4-bit values, so many a row: twice the last
            dimension.
        pixels: that a whole network multiplies every decoded panel by; 0 for products of their own.
        parameters: what the formulation's `candidate_for` takes.

    Raises:
        ArgumentError: for arguments that do not fit the array.
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
    words = raw_bytes(array).view(dtype.word).reshape(array.shape)
    request = Request(
        words,
        dtype.name,
        orientation,
        objective,
        target.machine,
        workers_of(threads),
        view,
        check_batch(batch),
        target.costs,
        int4_columns,
        formulation,
        parameters,
        pixels,
    )
    return encoded(chosen(request), words.shape, dtype.name, target.name, request.threads)


def chosen(request: Request) -> Candidate:
    """The form that the request names, or else what `decide` prefers. Raises ArgumentError."""
    if request.formulation is not None:
        return candidate_for(request)
    if request.parameters:
        raise ArgumentError(
            f"parameter {next(iter(request.parameters))!r} needs formulation='split' or another that takes it"
        )
    _check_int4(request)
    return decide(request)[0].candidate


@under_default
def candidate_for(request: Request) -> Candidate:
    """The form that a request names. Raises ArgumentError."""
    row = registry.named(request.formulation)
    if "int4_columns" in request.parameters:  # as candidates say it of themselves
        own = dict(request.parameters)
        request = replace(request, int4_columns=own.pop("int4_columns"), parameters=own)
    _check_int4(request)
    if request.dtype not in row.DTYPES:
        others = ", ".join(repr(one.NAME) for one in registry.ROWS if request.dtype in one.DTYPES)
        raise ArgumentError(
            f"formulation {row.NAME!r} codes {', '.join(row.DTYPES)}, not {request.dtype}: use one of {others}"
        )
    return row.candidate_for(request)


@under_default
def encoded(candidate: Candidate, shape: tuple[int, ...], dtype: str, profile: str, threads: int) -> Encoded:
    """A candidate of a tensor of that shape and dtype, coded now. profile: the name to record."""
    return candidate.encoded(shape, dtype, profile, threads)


def _check_int4(request: Request) -> None:
    """Raises ArgumentError where a tensor cannot hold rows of as many 4-bit values, two a byte, as the request says."""
    columns, shape = request.int4_columns, request.words.shape
    if columns is None:
        return
    if request.formulation is not None and not registry.named(request.formulation).TAKES_INT4:
        takers = ", ".join(repr(row.NAME) for row in registry.ROWS if row.TAKES_INT4 and row is not registry.DENSE)
        raise ArgumentError(f"int4_columns belongs to formulation {takers}, not to {request.formulation!r}")
    if request.dtype != "uint8" or not shape:
        raise ArgumentError(
            f"int4_columns is for uint8 arrays that hold two 4-bit values a byte, not for {request.dtype} of "
            f"{len(shape)} dimensions"
        )
    if not is_integer(columns):
        raise ArgumentError(f"int4_columns must be an integer, not {columns!r}")
    if columns % 2:
        raise ArgumentError(
            f"int4_columns is {columns}: an odd number of 4-bit values does not fill the bytes of a row; pad each row "
            "with one value"
        )
    if columns != 2 * shape[-1]:
        raise ArgumentError(
            f"int4_columns is {columns}, and rows of {shape[-1]} bytes hold {2 * shape[-1]} 4-bit values"
        )


@under_default
def candidates(request: Request) -> list[Candidate]:
    """What every formulation offers for one tensor, dense among them; nothing is coded yet."""
    noise = _is_noise(request)
    rows = [row for row in registry.ROWS if request.dtype in row.DTYPES and not (noise and row.NEVER_NOISE)]
    return [found for row in rows for found in row.candidates(request)]


def _is_noise(request: Request) -> bool:
    """Whether a sample of a large tensor of floats has no zeros, and values that repeat as seldom as mantissas that are noise."""
    mantissa = _MANTISSA_BITS.get(request.dtype)
    if mantissa is None or request.words.size < _NOISE_ELEMENTS:
        return False
    words = request.words.reshape(-1)
    begins = _drawn() * (words.size - _NOISE_RUN) // _DRAWN_FROM
    some = words[begins[:, None] + np.arange(_NOISE_RUN)].reshape(-1)
    # Within a row, too: what has a table or a scale for each row repeats there.
    return bool((some << 1 != 0).all()) and Surveyed(some, True, 0, 1).even(mantissa - 2)


@cache
def _drawn() -> np.ndarray:
    """Where runs of words begin, as shares of 1 << 20: the same every time."""
    return np.sort(np.random.default_rng(0).integers(_DRAWN_FROM, size=_NOISE_RUNS))


@dataclass(frozen=True)
class Verdict:
    """One candidate and its predicted time for the request's batch.

    reason_rejected: '' for the one that was chosen. note: why that one was, where neither size nor time says so.
    """

    candidate: Candidate
    ns: float
    reason_rejected: str
    note: str = ""


@under_default
def decide(request: Request) -> list[Verdict]:
    """Every candidate, the chosen one first, the others in the order of the registry."""
    found = candidates(request)
    times = [predict_ns(one, request.dtype, request.profile, request.batch, request.costs) for one in found]
    if request.pixels:  # a panel is decoded once, which is most of a product of one row, and multiplied by them all
        times[0] = max(times[0], _widened_ns(request, found[0]))
        times = [one + shared for one, shared in zip(times, _shared_ns(request, found), strict=True)]
    pixels = _integer_pixels(request)
    if pixels:
        times = _integer_ns(request, found, pixels)
    dense, dense_ns = found[0], times[0]
    eligible = [
        k
        for k, one in enumerate(found)
        if k == 0 or (one.nbytes < dense.nbytes + one.allowance and (not request.pixels or _runs(request, one)))
    ]
    fastest = min(times[k] for k in eligible)
    limit = {"size": float("inf"), "speed": fastest, "balanced": fastest * BALANCED_SLACK}
    limit["balanced"] = limit["balanced"] if pixels else min(limit["balanced"], dense_ns)
    allowed = [k for k in eligible if times[k] <= limit[request.objective]]
    best = min(allowed, key=lambda k: (found[k].nbytes, times[k]))
    if request.objective == "size":
        alike = [k for k in allowed if found[k].nbytes <= found[best].nbytes * SIZE_SLACK]
        best = min(alike, key=lambda k: (found[k].geometry.view == "folded", times[k], found[k].nbytes))
    if request.objective == "balanced" and not pixels:
        traded = [k for k in eligible if found[k].nbytes < found[best].nbytes and times[k] <= dense_ns]
        best = min((best, *traded), key=lambda k: found[k].nbytes * times[k] ** 2)

    def reason_rejected(k: int) -> str:
        if k == best:
            return ""
        if k not in eligible:
            return "not smaller than dense"
        if k not in allowed:
            return "slower than dense" if times[k] > dense_ns else f"{times[k] / fastest:.2f} x the fastest's time"
        return f"{found[k].nbytes / max(1, found[best].nbytes):.2f} {LARGER}"

    order = [best, *(k for k in range(len(found)) if k != best)]
    return [Verdict(found[k], times[k], reason_rejected(k)) for k in order]


def _widened_ns(request: Request, dense: Candidate) -> float:
    """One product by a weight as it is, which networks hold as float32 numbers."""
    dtype = by_name(request.dtype)
    wide = replace(dense, nbytes=dense.nbytes * 32 // dtype.bits if dtype.floating else dense.nbytes)
    return predict_ns(wide, "float32", request.profile, request.batch)


def _shared_ns(request: Request, found: Sequence[Candidate]) -> list[float]:
    """What a network's pixels take after decoding: by all weights, or, where it is listed, by those that are not zero."""
    every = request.pixels * request.words.size * NETWORK_NS["avx512" if request.wide else "avx2"]
    if not any(_lists(request, one) for one in found):
        return [every] * len(found)
    outputs, *columns = request.words.shape
    dense = WINOGRAD_SHARE if columns[1:] == [3, 3] and request.pixels >= WINOGRAD_PIXELS else 1.0
    magnitudes = request.words & request.words.dtype.type(0x7FFFFFFF)
    density = np.count_nonzero(magnitudes) / request.words.size
    joined = may_be_joined(outputs, math.prod(columns), request.pixels)

    def share(one: Candidate) -> float:
        walks = registry.BY_NAME[one.node.formulation].walks(one.node)
        if not _lists(request, one):
            return dense
        listed = listed_share(outputs, math.prod(columns), request.pixels, density, walks, request.wide)
        return min(dense, listed) if walks else math.inf if joined else listed

    return [every * share(one) for one in found]


def _integer_pixels(request: Request) -> int:
    """How many pixels a weight of 8-bit integers is planned for; 0 where it has products of its own."""
    if request.dtype not in ("int8", "uint8"):
        return 0
    kernel = is_kernel(request.dtype, request.words.shape, request.geometry().view)
    return request.pixels or (INTEGER_PIXELS if kernel else 0)


def _integer_ns(request: Request, found: Sequence[Candidate], pixels: int) -> list[float]:
    """What a convolution of 8-bit integers takes in a network, which decodes what it cannot walk when it is made."""
    machine = "avx512" if request.wide else "avx2"
    walked = [registry.BY_NAME[one.node.formulation].walks(one.node) and one.geometry.view != "folded" for one in found]
    every = pixels * INTEGER_NS[machine]
    return [request.words.size * (every + one * INTEGER_DECODE_NS[machine]) for one in walked]


def _runs(request: Request, candidate: Candidate) -> bool:
    """Whether a network runs a weight as it is coded. A sequence of words has no panels; not where it need not be one."""
    if candidate.geometry.view == "folded" and request.geometry().view != "folded":
        return False
    return registry.BY_NAME[candidate.node.formulation].walks(candidate.node) or _lists(request, candidate)


def _lists(request: Request, candidate: Candidate) -> bool:
    """Whether a convolution can be computed by the weights that are not zero: not where each has an image of its own."""
    shape = request.words.shape
    return (
        request.dtype == "float32"
        and len(shape) == 4
        and shape[1] > 1
        and candidate.geometry.view != "folded"
        and registry.BY_NAME[candidate.node.formulation].lists(candidate.node)
    )


def reason_dense(verdicts: Sequence[Verdict], request: Request, stored: Callable[[Candidate], int]) -> str:
    """Why the first of these verdicts, dense, was chosen: what the other candidates say.

    stored: bytes that a candidate takes where the tensor is kept, at most, whatever belongs to it.
    """
    dense = stored(verdicts[0].candidate)
    found = [one.candidate for one in verdicts[1:]]
    every = request.objective == "size"
    if not every and request.words.nbytes <= _PLANNED_TWICE:
        found, every = candidates(replace(request, objective="size")), True
    smallest = min(map(stored, found), default=dense)
    if smallest < dense and request.objective != "size":
        return f"smaller codes are slower; objective 'size': {dense / smallest:.1f} x smaller"
    if any(one.nbytes < verdicts[0].candidate.nbytes for one in found):
        return f"too small: {TOO_SMALL}"
    if every:
        return "no code makes it smaller"
    rows = [row for row in registry.ROWS if request.dtype in row.DTYPES]
    reasons = (row.reason_not_offered(request.dtype, request.objective, request.profile) for row in rows)
    return next(filter(None, reasons), f"no code for objective {request.objective!r} makes it smaller")


def slow_here(checked: Checked) -> bool:
    """Whether products of this tensor are slower than dense ones on this machine's class.

    Kernels of 8-bit integers are decoded once for all pixels, which counts for nothing, Elias-Fano positions apart.
    """
    root, shape = checked.root, checked.encoded.shape
    if is_kernel(checked.encoded.dtype, shape, checked.encoded.view):
        return root.node.parameters.get("positions") == "elias_fano"
    return checked.row.slower_than_dense(root, resolve_profile("native"))
