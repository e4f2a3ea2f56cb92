"""Which forms of `affine` are worth considering, and the form that a caller asks for.

One scale a row where that does, else one for the longest group of columns that does. Numbers in lines always; coded where
that is smaller.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tersely.codes.affine import codec
from tersely.codes.affine.layout import GROUP_COLUMNS, NUMBER_DTYPE, NUMBERS, Scaling, panel_line_bytes
from tersely.codes.checks import is_whole
from tersely.codes.protocol import Candidate, Request
from tersely.codes.split import codec as split
from tersely.codes.split import formulation as split_formulation
from tersely.codes.split.layout import widths_of
from tersely.codes.split.sizes import PLANNED_LEVELS, SizeModel
from tersely.core.errors import ArgumentError
from tersely.core.geometry import CHUNK_WEIGHTS, Geometry

CODES = ("lines", "packed", "layered", "constant")


def why_not(dtype: str, objective: str, profile: str) -> str:
    return ""


def candidates(request: Request) -> list[Candidate]:
    fitted = codec.fit(request.words, request.geometry(), request.dtype, request.threads)
    if fitted is None:
        return []
    lines, model = _lines(fitted), _model(fitted)
    coded = _coded(fitted, model, model.codes(PLANNED_LEVELS)[0])
    return [lines, coded] if coded.nbytes < lines.nbytes else [lines]


def line_options(formulation: str, parameters: dict[str, Any]) -> tuple[str, tuple[int, ...], int | None]:
    """What a caller asks of numbers in lines: their code, its widths, columns of a group. Raises ArgumentError."""
    code, widths = parameters.pop("code", "lines"), parameters.pop("widths", None)
    columns = parameters.pop("columns", None)
    if parameters:
        raise ArgumentError(f"formulation {formulation!r} takes no parameter {next(iter(parameters))!r}")
    if code not in CODES:
        raise ArgumentError(f"unknown code {code!r}: use {', '.join(map(repr, CODES))}")
    if columns is not None and (not is_whole(columns) or columns not in (0, *GROUP_COLUMNS)):
        raise ArgumentError(f"columns of a group are 0, for all, or a power of two from 16 to 1,024, not {columns!r}")
    if (code == "layered") != (widths is not None):
        raise ArgumentError("code 'layered', and no other, needs widths, such as widths=(2, 2)")
    levels = widths_of(widths) if code == "layered" else ()
    return code, levels, columns


def forced(request: Request, parameters: dict[str, Any]) -> Candidate:
    """code: of the numbers. columns: of a group, 0 for whole rows, None for the longest that do."""
    code, levels, columns = line_options("affine", parameters)
    geometry = request.geometry()
    if geometry.view == "folded":
        raise ArgumentError("affine needs a tensor that is seen as matrices, whose rows have scales of their own")
    if columns is None:
        fitted = codec.fit(request.words, geometry, request.dtype, request.threads)
    else:
        fitted = codec.fit_groups(request.words, geometry, request.dtype, columns, request.threads)
    if fitted is None:
        which = "rows, or groups of their columns," if columns is None else f"groups of {columns or 'all'} columns"
        raise ArgumentError(
            f"affine needs weights that are whole numbers times a scale: {which} of this tensor are not"
        )
    if code == "lines":
        return _lines(fitted)
    if code == "constant" and fitted.numbers.min() != fitted.numbers.max():
        raise ArgumentError("code 'constant' needs a tensor of one number")
    return _coded(fitted, _model(fitted), (code, levels))


def _lines(fitted: codec.Fitted) -> Candidate:
    scaling, geometry = fitted.scaling, fitted.geometry
    assert scaling.bits is not None
    return Candidate(
        scaling.node(),
        geometry,
        sum(fitted.component_bytes(scaling).values()),
        lambda threads: fitted.components(scaling, threads),
        kernel_of(scaling),
        {"columns": scaling.columns},
        places_of(geometry, scaling),
    )


def _model(fitted: codec.Fitted) -> SizeModel:
    statistics = split.statistics(fitted.numbers, fitted.geometry, NUMBER_DTYPE, fitted.threads)
    return SizeModel(statistics, fitted.geometry, NUMBER_DTYPE)


def _coded(fitted: codec.Fitted, model: SizeModel, code: tuple[str, tuple[int, ...]]) -> Candidate:
    parameters = model.parameters(*code)
    parameters.check(model.dtype)
    scaling = replace(fitted.scaling, bits=None)

    def components(threads: int) -> dict[str, Any]:
        coded = split.encode(fitted.numbers, model, parameters, threads)
        return fitted.components(scaling, threads) | {f"{NUMBERS}.{name}": data for name, data in coded.items()}

    return Candidate(
        scaling.node(split_formulation.node(parameters)),
        fitted.geometry,
        sum(fitted.component_bytes(scaling).values()) + sum(model.component_bytes(parameters).values()),
        components,
        kernel_of(scaling),
        {"columns": scaling.columns, "code": code[0]} | ({"widths": list(code[1])} if code[1] else {}),
        places_of(fitted.geometry, scaling),
    )


def kernel_of(scaling: Scaling) -> str:
    """The row of the cost model: by bits of a field, or coded numbers, and by columns of a group."""
    groups = f"groups {scaling.columns}" if scaling.columns else "rows"
    return f"affine {scaling.bits or 'coded'} {groups}"


def places_of(geometry: Geometry, scaling: Scaling) -> int:
    """Weights that a product goes through, padding included."""
    if scaling.bits is None:
        return geometry.panels * geometry.chunks_per_panel * CHUNK_WEIGHTS
    return geometry.panels * panel_line_bytes(geometry, scaling.bits) * 8 // scaling.bits
