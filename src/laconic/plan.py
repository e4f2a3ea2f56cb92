"""Which formulation a tensor gets: exact sizes of the candidates, then one rule per objective.

    size                the smallest candidate, whatever its speed
    speed, balanced     packed(4); under a profile with AVX-512 the smallest code of at most `FAST_LEVELS` levels, which
                        those kernels decode about as fast; float8 stays dense, because turning it into floats is what
                        limits its products, coded or not
    any                 dense where nothing is smaller

Profiles name a class of machine, not this machine's clock, so the same tensor gets the same bytes everywhere;
`native` is resolved to the class of this machine.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from laconic import isa
from laconic.dtypes import DType, of_array
from laconic.encoded import Encoded
from laconic.errors import ArgumentError
from laconic.formulations.dense import formulation as dense
from laconic.formulations.split import formulation as split
from laconic.formulations.split.layout import FIELDS, Parameters
from laconic.formulations.split.sizes import PLANNED_LEVELS, SizeModel
from laconic.geometry import Geometry, choose, folded
from laconic.threads import get_num_threads

OBJECTIVES = ("size", "speed", "balanced")
PROFILES = ("portable", "avx2", "avx512", "amx", "native")
FORMULATIONS = ("dense", "split")

# MEASURED on Zen 4, 4096 x 4096, batch 1, against our own dense kernel: bfloat16 packed 1.28, layered(3) 1.37, two levels
# 1.30; float32 packed 1.13, layered(3) 1.03, two levels 1.05; float16 one level 1.04, two levels below 1; float8 0.6.
FAST_LEVELS = {
    "speed": {"float32": 0, "bfloat16": 1, "float16": 1},
    "balanced": {"float32": 2, "bfloat16": 2, "float16": 1},
}
"""Most levels of `layered` that AVX-512 kernels decode fast enough for the objective; 0: packed(4) alone."""


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
    **parameters: Any,
) -> Encoded:
    """Code one tensor.

    Args:
        array: any shape; dtypes of `laconic.dtypes`. Never modified; copied only where it is not contiguous.
        objective, profile: see the module. orientation: 'in_out' for weights stored [inputs, outputs].
        formulation: None lets the planner choose; 'dense', or 'split' with optional parameters
            code='packed', bits=4 | code='layered', widths=(3,) | code='constant'.
        threads: workers; None for `get_num_threads()`.

    Raises ArgumentError for arguments that do not fit the array.
    """
    dtype = of_array(array)
    if objective not in OBJECTIVES:
        raise ArgumentError(f"unknown objective {objective!r}: use one of {', '.join(OBJECTIVES)}")
    if orientation not in ("out_in", "in_out"):
        raise ArgumentError(f"unknown orientation {orientation!r}: use 'out_in' or 'in_out'")
    profile = resolve_profile(profile)
    if formulation is not None and formulation not in FORMULATIONS:
        raise ArgumentError(f"unknown formulation {formulation!r}: use one of {', '.join(FORMULATIONS)}")
    raw = raw_bytes(array)
    if formulation is None and (not dtype.split or array.size == 0 or not _pays(dtype, objective)):
        formulation = "dense"
    if formulation == "dense":
        if parameters:
            raise ArgumentError(f"formulation 'dense' takes no parameter {next(iter(parameters))!r}")
        return dense.encode(raw, array.shape, dtype.name, profile)
    if not dtype.split:
        raise ArgumentError(f"formulation 'split' codes {', '.join(FIELDS)}, not {dtype.name}: use 'dense'")
    words = raw.view(dtype.word).reshape(array.shape)
    threads = threads or get_num_threads()
    if formulation == "split":
        return _encode_as(words, dtype, orientation, profile, threads, parameters)
    if parameters:
        raise ArgumentError(f"parameter {next(iter(parameters))!r} needs formulation='split'")
    best = _plan(words, dtype, objective, profile, orientation, threads)
    if best is None:
        return dense.encode(raw, array.shape, dtype.name, profile)
    return _encode(words, dtype, best[0], best[1], profile, threads)


def _encode_as(
    words: np.ndarray, dtype: DType, orientation: str, profile: str, threads: int, parameters: dict[str, Any]
) -> Encoded:
    """`split` with the caller's code; the table and tails still come from the tensor."""
    code = parameters.pop("code", "packed")
    widths = parameters.pop("widths", ()) if code == "layered" else ()
    bits = parameters.pop("bits", 4) if code == "packed" else 4
    if parameters:
        raise ArgumentError(f"code {code!r} takes no parameter {next(iter(parameters))!r}")
    if bits != 4:
        raise ArgumentError(f"packed codes take bits=4 in this version, not {bits!r}")
    if code not in ("constant", "packed", "layered"):
        raise ArgumentError(f"unknown code {code!r}: use 'packed', 'layered' or 'constant'")
    try:
        widths = tuple(int(width) for width in widths)
    except (TypeError, ValueError):
        raise ArgumentError(f"widths must be a few whole numbers such as (3,) or (2, 2), not {widths!r}") from None
    probe = sum((1 << width) - 1 for width in widths) if code == "layered" else 15 if code == "packed" else 1
    if probe > 1 << FIELDS[dtype.name].symbol_bits or (code == "layered" and not widths):
        raise ArgumentError(
            f"widths {list(widths)} do not fit the {FIELDS[dtype.name].symbol_bits}-bit exponents of {dtype.name}"
        )
    geometry = choose(words.shape, orientation)
    model = _model(words, dtype, geometry, threads)
    chosen = model.parameters(code, widths)
    chosen.check(dtype.name)
    if code == "constant" and words.size and np.count_nonzero(model.statistics.histograms.sum(axis=0)) > 1:
        raise ArgumentError("code 'constant' needs a tensor whose weights all have one exponent")
    return _encode(words, dtype, model, chosen, profile, threads)


def _model(words: np.ndarray, dtype: DType, geometry: Geometry, threads: int) -> SizeModel:
    return SizeModel(split.statistics(words, geometry, dtype.name, threads), geometry, dtype.name)


def _plan(
    words: np.ndarray, dtype: DType, objective: str, profile: str, orientation: str, threads: int
) -> tuple[SizeModel, Parameters] | None:
    """The model and parameters that win under the objective; None where dense does."""
    model = _model(words, dtype, choose(words.shape, orientation), threads)
    if _poisonous_padding(model, dtype):
        return None
    parameters = _pick(model, dtype, objective, profile)
    if objective == "size" and model.geometry.view != "folded" and _padding(model.geometry) > 0.002:
        flat = _model(words, dtype, folded(words.shape), threads)
        smaller = _pick(flat, dtype, objective, profile)
        if flat.total(smaller) < model.total(parameters):
            model, parameters = flat, smaller
    return (model, parameters) if model.total(parameters) < words.nbytes else None


def _padding(geometry: Geometry) -> float:
    """Share of a tensor's coded places that hold no weight."""
    places = geometry.panels * geometry.chunks_per_panel * 64
    return 1 - geometry.elements / places if places else 0.0


def _poisonous_padding(model: SizeModel, dtype: DType) -> bool:
    """FORMAT: padding carries the commonest exponent, which must not be that of infinities and NaN."""
    return int(model.order[0]) == (1 << FIELDS[dtype.name].symbol_bits) - 1


def _pays(dtype: DType, objective: str) -> bool:
    """Whether any code of this dtype can be worth its time under the objective."""
    return objective == "size" or dtype.name in FAST_LEVELS[objective]


def why_dense(dtype: DType, objective: str) -> str:
    """Why `encode` left a tensor of this dtype as it is."""
    if dtype.split and not _pays(dtype, objective):
        return f"{dtype.name} multiplies faster as it is; objective 'size' codes it"
    return "no code makes it smaller"


def slow_here(encoded: Encoded) -> bool:
    """Whether products of this tensor are slower than dense ones on this machine's class: it has too many levels."""
    if encoded.node.formulation != "split" or encoded.dtype not in FAST_LEVELS["balanced"]:
        return False
    levels = len(encoded.node.parameters.get("widths", ()))
    fast = FAST_LEVELS["balanced"][encoded.dtype] if resolve_profile("native") in ("avx512", "amx") else 0
    return levels > fast


def _pick(model: SizeModel, dtype: DType, objective: str, profile: str) -> Parameters:
    if objective == "size":
        return model.parameters(*model.codes(PLANNED_LEVELS)[0])
    levels = FAST_LEVELS[objective][dtype.name] if profile in ("avx512", "amx") else 0
    # A matrix of one exponent has a code of no bits at all: always the fastest.
    codes = model.codes(levels)
    return model.parameters(*codes[0])


def _encode(
    words: np.ndarray, dtype: DType, model: SizeModel, parameters: Parameters, profile: str, threads: int
) -> Encoded:
    geometry = model.geometry
    components = split.encode(words, model, parameters, threads)
    return Encoded(
        words.shape,
        dtype.name,
        geometry.view,
        geometry.orientation,
        geometry.column_order,
        split.node(parameters),
        components,
        profile,
    )
