"""Which codes of `split` are worth considering, and the code that a caller asks for.

size                the smallest code, whatever its speed; folded where padding would eat the gain
speed, balanced     packed(4) and the smallest code of each number of levels: the cost model has the choice. float8
                    has none, because turning it into floats is what limits its products, coded or not, nor has
                    float16 without AVX-512, but in whole networks
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tersely.codes.checks import is_integer
from tersely.codes.layouts import Groups
from tersely.codes.protocol import Candidate, Request, ValueCandidate, Values, is_wide
from tersely.codes.words.split import codec
from tersely.codes.words.split.costs import kernel_of
from tersely.codes.words.split.layout import FIELDS, widths_of
from tersely.codes.words.split.sizes import PLANNED_LEVELS, SizeModel
from tersely.core.errors import ArgumentError
from tersely.core.geometry import Geometry, folded

# MEASURED on Zen 4, 4096 x 4096, batch 1, against our own dense kernel, over runs, of which
# zen-4_avx512_bf16_products.json is one: bfloat16 packed 1.06 to 1.29, layered(3) 1.16 to 1.27, four levels 1.15 to
# 1.28; float32 packed 1.00 to 1.08, layered(3) 1.09 to 1.23, four levels 1.09 to 1.16; float16 one level 0.95 to 1.09;
# float8 0.6.
FAST_LEVELS = {
    "speed": {"float32": 1, "bfloat16": 1, "float16": 1},
    "balanced": {"float32": 4, "bfloat16": 4, "float16": 1},
}
"""Levels of `layered` that AVX-512 kernels decode fast enough for the objective; 0: packed(4) alone."""

# MEASURED on Zen 3, likewise under AVX2: bfloat16 packed 1.23 to 1.41, float32 1.16 to 1.27, float16 0.7: three odd
# bits a weight to merge, and at most 1.07 to win. zen-3_avx2_products.json: bfloat16 1.12, float32 1.06.
PACKED_IS_FAST = ("float32", "bfloat16")
"""dtypes that AVX2 kernels decode fast enough from packed(4)."""


def reason_not_offered(dtype: str, objective: str, profile: str) -> str:
    if objective == "size" or dtype in (FAST_LEVELS[objective] if is_wide(profile) else PACKED_IS_FAST):
        return ""
    where = "" if dtype not in FAST_LEVELS[objective] else f" under profile {profile!r}"
    return f"{dtype} multiplies faster as it is{where}; objective 'size' codes it"


def slower_than_dense(dtype: str, code: str, widths: tuple[int, ...], profile: str) -> bool:
    """Whether products from this code are slower than dense ones on machines of a profile."""
    if code == "constant":  # no kernel of its own: `costs` has the figure
        return True
    if not is_wide(profile):
        return code != "packed" or dtype not in PACKED_IS_FAST
    return len(widths) > FAST_LEVELS["balanced"].get(dtype, -1)


def candidates(request: Request) -> list[Candidate]:
    # What is slower than dense words by itself is not for many pixels, nor than the float32 numbers of a network.
    alone = not request.costs and not request.pixels
    slow = alone and reason_not_offered(request.dtype, request.objective, request.profile)
    if request.words.size == 0 or slow:
        return []
    geometry = request.geometry()
    model = _model(request, geometry)
    # FORMAT: padding carries the commonest exponent, which must not be that of infinities and NaN.
    if int(model.order[0]) == (1 << FIELDS[model.dtype].symbol_bits) - 1:
        return []
    found = [_candidate(request, geometry, model, code) for code in _codes(model, request)]
    # Share of the coded weights that are padding.
    if (
        request.objective == "size"
        and geometry.view != "folded"
        and 1 - geometry.elements / geometry.padded_weights > 0.002
    ):
        flat = folded(request.words.shape)
        model = _model(request, flat)
        found += [_candidate(request, flat, model, code) for code in _codes(model, request)]
    return found


def check_code(dtype: str, options: dict[str, Any]) -> codec.Code:
    """The caller's code and widths; nothing may be left in `options`. Raises ArgumentError."""
    fields = FIELDS[dtype]
    code = options.pop("code", "packed")
    given = options.pop("widths", ()) if code == "layered" else ()
    bits = options.pop("bits", 4) if code == "packed" else 4
    if options:
        raise ArgumentError(f"code {code!r} takes no parameter {next(iter(options))!r}")
    if not is_integer(bits) or bits != 4:
        raise ArgumentError(f"packed codes take bits=4 in this version, not {bits!r}")
    if code not in ("constant", "packed", "layered"):
        raise ArgumentError(f"unknown code {code!r}: use 'packed', 'layered' or 'constant'")
    widths = widths_of(given) if code == "layered" else ()
    probe = sum((1 << width) - 1 for width in widths) if code == "layered" else 15 if code == "packed" else 1
    if probe > 1 << fields.symbol_bits:
        raise ArgumentError(f"widths {list(widths)} do not fit the {fields.symbol_bits}-bit exponents of {dtype}")
    return code, widths


def check_constant(code: codec.Code, model: SizeModel, which: str) -> None:
    """Raises ArgumentError where code 'constant' is asked for and there are several symbols. which: what is needed."""
    if code[0] == "constant" and np.count_nonzero(model.statistics.histograms.sum(axis=0)) > 1:
        raise ArgumentError(f"code 'constant' needs {which}")


def candidate_for(request: Request) -> Candidate:
    """`split` with the caller's code; the table and tails still come from the tensor."""
    code = check_code(request.dtype, dict(request.parameters))
    geometry = request.geometry()
    model = _model(request, geometry)
    check_constant(code, model, "a tensor whose weights all have one exponent")
    return _candidate(request, geometry, model, code)


def _model(request: Request, geometry: Geometry) -> SizeModel:
    return codec.size_model(request.words, geometry, request.dtype, request.threads)


def _candidate(request: Request, geometry: Geometry, model: SizeModel, code: codec.Code) -> Candidate:
    words = request.words
    coded = codec.under(model, lambda: words, code)
    return Candidate(
        kernel_of(coded.parameters),
        geometry,
        coded.nbytes,
        geometry.padded_weights,
        node=coded.node,
        components=coded.encode,
        options=coded.options,
    )


def _codes(model: SizeModel, request: Request) -> list[codec.Code]:
    """The smallest code; unless only size counts, packed(4) and the smallest one of each number of levels."""
    codes = model.smallest(PLANNED_LEVELS)
    if request.objective == "size":
        return codes[:1]
    return sorted(codes, key=lambda code: (code[0] != "packed", len(code[1])))


def value_candidates(values: Values, request: Request) -> list[ValueCandidate]:
    """The smallest code, the smallest of one level, and the one that every instruction set decodes fast."""
    model = codec.size_model(values.words, Groups(values.groups), values.dtype, request.threads)
    wanted = model.smallest(PLANNED_LEVELS)[:1]
    if request.objective != "size":
        wanted += [model.smallest(1)[0], ("packed", ())]
    return [_of_values(values, model, code) for k, code in enumerate(wanted) if code not in wanted[:k]]


def value_candidate_for(values: Values, options: dict[str, Any], threads: int) -> ValueCandidate:
    """The caller's code; table and tail come from the values. Raises ArgumentError."""
    code = check_code(values.dtype, options)
    model = codec.size_model(values.words, Groups(values.groups), values.dtype, threads)
    check_constant(code, model, "values that all have one exponent")
    return _of_values(values, model, code)


def _of_values(values: Values, model: SizeModel, code: codec.Code) -> ValueCandidate:
    words = values.words
    coded = codec.under(model, lambda: words, code)
    kernel = kernel_of(coded.parameters)
    return ValueCandidate(coded.node, coded.nbytes, coded.encode, kernel, coded.options)
