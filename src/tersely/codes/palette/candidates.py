"""Which forms of `palette` are worth considering, and the form that a caller asks for.

Packed indices always; coded ones by their smallest code, where that is smaller; numbers where the words are a grid.
Under `size` all of them also folded.
"""

from __future__ import annotations

from typing import Any

from tersely.codes.palette import codec, held
from tersely.codes.palette.grid import find
from tersely.codes.palette.layout import MOST_ENTRIES, index_bits, node
from tersely.codes.protocol import Candidate, Request
from tersely.codes.split import codec as split
from tersely.codes.split.layout import widths_of
from tersely.codes.split.sizes import PLANNED_LEVELS
from tersely.core.errors import ArgumentError
from tersely.core.geometry import CHUNK_WEIGHTS, Geometry, folded

CODES = ("fixed", "packed", "layered", "constant", "grid")


def why_not(dtype: str, objective: str, profile: str) -> str:
    return ""


def candidates(request: Request) -> list[Candidate]:
    if not request.words.size:
        return []
    table = codec.table_of(request.words, request.dtype, request.threads)
    if table is None or table.size > request.words.size:
        return []
    indexed = codec.Indexed(request.words, table, request.dtype, request.threads)
    views = [request.geometry()]
    if request.objective == "size" and views[0].view != "folded":
        views.append(folded(request.words.shape))
    found = [candidate for geometry in views for candidate in _of_view(indexed, geometry)]
    try:
        grid, numbered = find(table, request.dtype)
    except ArgumentError:
        return found
    smallest = request.objective == "size"
    by_number = codec.Indexed(request.words, numbered, request.dtype, request.threads)
    # Only matrices are multiplied by numbers; everything else looks words up, which indices that are packed do better.
    seen = [view for view in views if smallest or view.view == "matrix"]
    return found + [held.candidate(by_number, grid, geometry, smallest) for geometry in seen]


def forced(request: Request, parameters: dict[str, Any]) -> Candidate:
    """code: of the indices, or 'grid'. smallest: of a grid, as under objective `size`."""
    code = parameters.pop("code", "fixed")
    widths = parameters.pop("widths", None)
    smallest = parameters.pop("smallest", False) if code == "grid" else False
    if parameters:
        raise ArgumentError(f"formulation 'palette' takes no parameter {next(iter(parameters))!r}")
    if code not in CODES:
        raise ArgumentError(f"unknown code {code!r}: use {', '.join(map(repr, CODES))}")
    if not isinstance(smallest, bool):
        raise ArgumentError(f"smallest is True or False, not {smallest!r}")
    if code != "layered" and widths is not None:
        what = {"grid": "numbers of a grid have", "fixed": "fixed indices have"}.get(code, f"code {code!r} has")
        raise ArgumentError(f"{what} no widths: use code='layered', widths=(2, 2)")
    levels = widths_of(widths) if code == "layered" else ()
    table = codec.table_of(request.words, request.dtype, request.threads)
    if table is None:
        raise ArgumentError(f"palette holds at most {MOST_ENTRIES} distinct words, and the tensor has more")
    geometry = request.geometry()
    if code == "grid":
        grid, numbered = find(table, request.dtype)
        by_number = codec.Indexed(request.words, numbered, request.dtype, request.threads)
        return held.candidate(by_number, grid, geometry, smallest or request.objective == "size")
    indexed = codec.Indexed(request.words, table, request.dtype, request.threads)
    if code == "fixed":
        return _packed(indexed, geometry)
    if code == "constant" and indexed.entries > 1:
        raise ArgumentError("code 'constant' needs a tensor of one word")
    model = indexed.code_model(geometry)
    model.parameters(code, levels).check(model.dtype)
    return _coded(indexed, model, (code, levels))


def _of_view(indexed: codec.Indexed, geometry: Geometry) -> list[Candidate]:
    packed = _packed(indexed, geometry)
    model = indexed.code_model(geometry)
    coded = _coded(indexed, model, model.codes(PLANNED_LEVELS)[0])
    return [packed, coded] if coded.nbytes < packed.nbytes else [packed]


def _places(geometry: Geometry) -> int:
    return geometry.panels * geometry.chunks_per_panel * CHUNK_WEIGHTS


def _packed(indexed: codec.Indexed, geometry: Geometry) -> Candidate:
    return Candidate(
        node(indexed.entries, None),
        geometry,
        sum(indexed.packed_bytes(geometry).values()),
        lambda threads: indexed.pack(geometry, threads),
        f"palette {index_bits(indexed.entries)}",
        {"code": "fixed"},
        _places(geometry),
    )


def _coded(indexed: codec.Indexed, model: Any, code: codec.Code) -> Candidate:
    parameters = model.parameters(*code)
    return Candidate(
        node(indexed.entries, split.node(parameters)),
        model.geometry,
        sum(indexed.coded_bytes(model, parameters).values()),
        lambda threads: indexed.code(model, parameters, threads),
        f"palette {index_bits(indexed.entries)} {code[0]}",
        {"code": code[0]} | ({"widths": list(code[1])} if code[1] else {}),
        _places(model.geometry),
    )
