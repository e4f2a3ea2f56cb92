"""Which forms of `row_palette` are worth considering, and the form that a caller asks for.

Not for tensors whose words one palette of the same index bits holds. Rows, or groups of columns, by what is smallest in lines; by what is smallest in lines that products go through as they
are; and the former coded where that is smaller.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tersely.codes.affine.candidates import line_options
from tersely.codes.affine.layout import panel_line_bytes
from tersely.codes.palette.codec import table_of
from tersely.codes.protocol import Candidate, Request
from tersely.codes.row_palette import codec
from tersely.codes.row_palette.layout import INDEX_DTYPE, INDICES, Tables, most_entries
from tersely.codes.split import codec as split
from tersely.codes.split import formulation as split_formulation
from tersely.codes.split.sizes import PLANNED_LEVELS, SizeModel
from tersely.core.errors import ArgumentError
from tersely.core.geometry import CHUNK_WEIGHTS, Geometry

FAST_BITS = 4
"""Of fields whose words kernels look up in registers."""


def why_not(dtype: str, objective: str, profile: str) -> str:
    return ""


def candidates(request: Request) -> list[Candidate]:
    geometry = request.geometry()
    if not codec.columns_of(geometry):
        return []
    whole = table_of(request.words, request.dtype, request.threads)
    if whole is not None and whole.size <= 1 << FAST_BITS:
        return []
    tried = (
        codec.indexed(request.words, geometry, request.dtype, columns, request.threads)
        for columns in codec.columns_of(geometry)
    )
    fitting = [one for one in tried if one is not None]
    if not fitting:
        return []
    smallest = min(fitting, key=codec.Indexed.lines_bytes)
    fast = [one for one in fitting if one.tables.bits is not None and one.tables.bits <= FAST_BITS]
    found = [_lines(smallest)]
    if fast and smallest not in fast:
        found.append(_lines(min(fast, key=codec.Indexed.lines_bytes)))
    model = _model(smallest)
    coded = _coded(smallest, model, model.codes(PLANNED_LEVELS)[0])
    return [*found, coded] if coded.nbytes < found[0].nbytes else found


def forced(request: Request, parameters: dict[str, Any]) -> Candidate:
    """code: of the indices. columns: of a group, 0 for whole rows, None for what is smallest in lines."""
    code, levels, columns = line_options("row_palette", parameters)
    geometry = request.geometry()
    if geometry.view == "folded":
        raise ArgumentError("row_palette needs a tensor that is seen as matrices, whose rows have tables of their own")
    wanted = codec.columns_of(geometry) if columns is None else (columns,)
    tried = (codec.indexed(request.words, geometry, request.dtype, some, request.threads) for some in wanted)
    fitting = [one for one in tried if one is not None]
    if not fitting:
        which = "some row" if not columns else f"some group of {columns} columns"
        raise ArgumentError(
            f"row_palette needs few distinct words in each row, or group of its columns: {which} of this tensor has more "
            f"than {most_entries(geometry, columns or 0)}"
        )
    chosen = min(fitting, key=codec.Indexed.lines_bytes)
    if code == "lines":
        return _lines(chosen)
    if code == "constant" and chosen.indices.min() != chosen.indices.max():
        raise ArgumentError("code 'constant' needs rows, or groups, of one word each")
    return _coded(chosen, _model(chosen), (code, levels))


def _lines(indexed: codec.Indexed) -> Candidate:
    tables, geometry = indexed.tables, indexed.geometry
    return Candidate(
        tables.node(),
        geometry,
        indexed.lines_bytes(),
        indexed.line_components,
        kernel_of(tables),
        {"columns": tables.columns},
        places_of(geometry, tables),
    )


def _model(indexed: codec.Indexed) -> SizeModel:
    statistics = split.statistics(indexed.indices, indexed.geometry, INDEX_DTYPE, indexed.threads)
    return SizeModel(statistics, indexed.geometry, INDEX_DTYPE)


def _coded(indexed: codec.Indexed, model: SizeModel, code: tuple[str, tuple[int, ...]]) -> Candidate:
    parameters = model.parameters(*code)
    parameters.check(model.dtype)
    tables = replace(indexed.tables, bits=None)

    def components(threads: int) -> dict[str, Any]:
        coded = split.encode(indexed.indices, model, parameters, threads)
        return indexed.table_components() | {f"{INDICES}.{name}": data for name, data in coded.items()}

    own = sum(tables.component_bytes(indexed.geometry, indexed.dtype).values())
    return Candidate(
        tables.node(split_formulation.node(parameters)),
        indexed.geometry,
        own + sum(model.component_bytes(parameters).values()),
        components,
        kernel_of(tables),
        {"columns": tables.columns, "code": code[0]} | ({"widths": list(code[1])} if code[1] else {}),
        places_of(indexed.geometry, tables),
    )


def kernel_of(tables: Tables) -> str:
    """The row of the cost model: by bits of a field, or coded indices, and by columns of a group."""
    groups = f"groups {tables.columns}" if tables.columns else "rows"
    return f"row_palette {tables.bits or 'coded'} {groups}"


def places_of(geometry: Geometry, tables: Tables) -> int:
    """Weights that a product goes through, padding included."""
    if tables.bits is None:
        return geometry.panels * geometry.chunks_per_panel * CHUNK_WEIGHTS
    return geometry.panels * panel_line_bytes(geometry, tables.bits) * 8 // tables.bits
