"""Which codes of `split` are worth considering, and the code that a caller asks for.

size                the smallest code, whatever its speed; folded where padding would eat the gain
speed, balanced     packed(4) and the smallest code of each number of levels: the cost model has the choice. float8
                    has none, because turning it into floats is what limits its products, coded or not, nor has
                    float16 without AVX-512
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tersely.codes.checks import is_whole
from tersely.codes.protocol import Candidate, Request
from tersely.codes.split import codec
from tersely.codes.split.layout import FIELDS, Parameters, widths_of
from tersely.codes.split.sizes import PLANNED_LEVELS, SizeModel
from tersely.core.errors import ArgumentError
from tersely.core.geometry import CHUNK_WEIGHTS, Geometry, folded

# MEASURED on Zen 4, 4096 x 4096, batch 1, against our own dense kernel, over runs: bfloat16 packed 1.06 to 1.29, layered(3)
# 1.16 to 1.27, four levels 1.15 to 1.28; float32 packed 1.00 to 1.08, layered(3) 1.09 to 1.23, four levels 1.09 to 1.16;
# float16 one level 0.95 to 1.09; float8 0.6.
FAST_LEVELS = {
    "speed": {"float32": 1, "bfloat16": 1, "float16": 1},
    "balanced": {"float32": 4, "bfloat16": 4, "float16": 1},
}
"""Most levels of `layered` that AVX-512 kernels decode fast enough for the objective; 0: packed(4) alone."""

# MEASURED on Zen 3, likewise under AVX2: bfloat16 packed 1.23 to 1.41, float32 1.16 to 1.27, float16 0.7: three odd
# bits a weight to merge, and at most 1.07 to win.
PACKED_IS_FAST = ("float32", "bfloat16")
"""dtypes that AVX2 kernels decode fast enough from packed(4)."""


def _wide(profile: str) -> bool:
    return profile in ("avx512", "amx")


def why_not(dtype: str, objective: str, profile: str) -> str:
    if objective == "size" or dtype in (FAST_LEVELS[objective] if _wide(profile) else PACKED_IS_FAST):
        return ""
    where = "" if dtype not in FAST_LEVELS[objective] else f" under profile {profile!r}"
    return f"{dtype} multiplies faster as it is{where}; objective 'size' codes it"


def slow_under(dtype: str, code: str, widths: tuple[int, ...], profile: str) -> bool:
    """Whether products from this code are slower than dense ones on machines of a profile."""
    if code == "constant":  # no kernel of its own: `tersely.planner.cost_model` has the figure
        return True
    if not _wide(profile):
        return code != "packed" or dtype not in PACKED_IS_FAST
    return len(widths) > FAST_LEVELS["balanced"].get(dtype, -1)


def candidates(request: Request) -> list[Candidate]:
    slow = not request.costs and why_not(request.dtype, request.objective, request.profile)
    if request.words.size == 0 or slow:
        return []
    model = _model(request, request.geometry())
    if _poisonous_padding(model):
        return []
    found = [_candidate(request, model, parameters) for parameters in _picks(model, request)]
    if request.objective == "size" and model.geometry.view != "folded" and _padding(model.geometry) > 0.002:
        flat = _model(request, folded(request.words.shape))
        found += [_candidate(request, flat, parameters) for parameters in _picks(flat, request)]
    return found


def check_code(dtype: str, options: dict[str, Any]) -> tuple[str, tuple[int, ...]]:
    """The caller's code and widths; nothing may be left in `options`. Raises ArgumentError."""
    fields = FIELDS[dtype]
    code = options.pop("code", "packed")
    given = options.pop("widths", ()) if code == "layered" else ()
    bits = options.pop("bits", 4) if code == "packed" else 4
    if options:
        raise ArgumentError(f"code {code!r} takes no parameter {next(iter(options))!r}")
    if not is_whole(bits) or bits != 4:
        raise ArgumentError(f"packed codes take bits=4 in this version, not {bits!r}")
    if code not in ("constant", "packed", "layered"):
        raise ArgumentError(f"unknown code {code!r}: use 'packed', 'layered' or 'constant'")
    widths = widths_of(given) if code == "layered" else ()
    probe = sum((1 << width) - 1 for width in widths) if code == "layered" else 15 if code == "packed" else 1
    if probe > 1 << fields.symbol_bits:
        raise ArgumentError(f"widths {list(widths)} do not fit the {fields.symbol_bits}-bit exponents of {dtype}")
    return code, widths


def forced(request: Request, parameters: dict[str, Any]) -> Candidate:
    """`split` with the caller's code; the table and tails still come from the tensor."""
    code, widths = check_code(request.dtype, parameters)
    model = _model(request, request.geometry())
    chosen = model.parameters(code, widths)
    chosen.check(request.dtype)
    if code == "constant" and request.words.size and np.count_nonzero(model.statistics.histograms.sum(axis=0)) > 1:
        raise ArgumentError("code 'constant' needs a tensor whose weights all have one exponent")
    return _candidate(request, model, chosen)


def _model(request: Request, geometry: Geometry) -> SizeModel:
    statistics = codec.statistics(request.words, geometry, request.dtype, request.threads)
    return SizeModel(statistics, geometry, request.dtype)


def kernel_of(parameters: Parameters) -> str:
    """The row of the cost model for a code; bytes that are all alike have no kernel of their own either."""
    if parameters.byte is not None:
        return "split constant"
    return f"split {parameters.code}" + (f" {len(parameters.widths)}" if parameters.widths else "")


def _candidate(request: Request, model: SizeModel, parameters: Parameters) -> Candidate:
    geometry = model.geometry
    words = request.words
    return Candidate(
        codec.node(parameters),
        geometry,
        model.total(parameters),
        lambda threads: codec.encode(words, model, parameters, threads),
        kernel_of(parameters),
        {"code": parameters.code} | ({"widths": list(parameters.widths)} if parameters.widths else {}),
        geometry.panels * geometry.chunks_per_panel * CHUNK_WEIGHTS,
    )


def _padding(geometry: Geometry) -> float:
    """Share of a tensor's coded places that hold no weight."""
    places = geometry.panels * geometry.chunks_per_panel * CHUNK_WEIGHTS
    return 1 - geometry.elements / places if places else 0.0


def _poisonous_padding(model: SizeModel) -> bool:
    """FORMAT: padding carries the commonest exponent, which must not be that of infinities and NaN."""
    return int(model.order[0]) == (1 << FIELDS[model.dtype].symbol_bits) - 1


def _picks(model: SizeModel, request: Request) -> list[Parameters]:
    """The smallest code; unless only size counts, packed(4) and the smallest one of each number of levels."""
    codes = model.codes(PLANNED_LEVELS)
    if request.objective == "size":
        return [model.parameters(*codes[0])]
    first: dict[tuple[str, int], tuple[str, tuple[int, ...]]] = {}
    for code, widths in codes:
        first.setdefault((code, len(widths)), (code, widths))
    return [model.parameters(*first[key]) for key in sorted(first, key=lambda key: (key[0] != "packed", key[1]))]
