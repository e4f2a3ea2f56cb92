"""Which forms of `row_palette` are worth considering, and the form that a caller asks for.

None for tensors whose words one palette of the same index bits holds. Rows, or groups of columns, by what is smallest in
row fields; by what is smallest in row fields that products go through as they are; and the former coded where that is
smaller, and under `sparse` where many weights have the first word of their table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from tersely.codes.node import INDEX, prefixed
from tersely.codes.protocol import Candidate, Request
from tersely.codes.words.affine import sparse_numbers
from tersely.codes.words.affine.row_fields import options_of
from tersely.codes.words.palette.codec import table_of
from tersely.codes.words.row_palette import codec
from tersely.codes.words.row_palette.costs import FAST_BITS, Kernel
from tersely.codes.words.row_palette.layout import INDICES, max_entries
from tersely.codes.words.split import codec as split
from tersely.core.errors import ArgumentError
from tersely.core.geometry import Geometry

SPARSE_DTYPE = "uint8"
"""Of sparse indices."""


def candidates(request: Request) -> list[Candidate]:
    geometry = request.geometry()
    if not codec.columns_of(geometry):
        return []
    one = table_of(request.words, request.dtype, request.threads)
    if one is not None and one.size <= 1 << FAST_BITS:
        return []
    eligible = _indexed(request, geometry, codec.columns_of(geometry))
    if not eligible:
        return []
    smallest = min(eligible, key=codec.Indexed.fields_bytes)
    fast = [one for one in eligible if one.tables.bits is not None and one.tables.bits <= FAST_BITS]
    found = [_candidate(smallest)]
    if fast and smallest not in fast:
        found.append(_candidate(min(fast, key=codec.Indexed.fields_bytes)))
    coded = _coded(smallest, None)
    # Looked up weight by weight, they are never fast, wherever zeros are.
    small = request.objective == "size"
    numbers = sparse_numbers.candidates(smallest.indices, SPARSE_DTYPE, geometry, request) if small else []
    return [*found, *[coded] * (coded.nbytes < found[0].nbytes), *(_candidate(smallest, one) for one in numbers)]


def _indexed(request: Request, geometry: Geometry, columns: Iterable[int]) -> list[codec.Indexed]:
    tried = (codec.indexed(request.words, geometry, request.dtype, some, request.threads) for some in columns)
    return [one for one in tried if one is not None]


def candidate_for(request: Request) -> Candidate:
    """code: of the indices. columns: of a group, 0 for whole rows, None for what is smallest in row fields."""
    code, columns = options_of(request, "row_palette", INDICES)
    geometry = request.geometry()
    if geometry.view == "folded":
        raise ArgumentError("row_palette needs a tensor that is seen as matrices, whose rows have tables of their own")
    eligible = _indexed(request, geometry, codec.columns_of(geometry) if columns is None else (columns,))
    if not eligible:
        which = "some row" if not columns else f"some group of {columns} columns"
        raise ArgumentError(
            f"row_palette needs few distinct words in each row, or group of its columns: {which} of this tensor has more "
            f"than {max_entries(geometry, columns or 0)}"
        )
    chosen = min(eligible, key=codec.Indexed.fields_bytes)
    if isinstance(code, Request):
        return _candidate(chosen, sparse_numbers.candidate_for(chosen.indices, SPARSE_DTYPE, code))
    if code[0] == "lines":
        return _candidate(chosen)
    if code[0] == "constant" and chosen.indices.min() != chosen.indices.max():
        raise ArgumentError("code 'constant' needs rows, or groups, of one word each")
    return _coded(chosen, code)


def _coded(indexed: codec.Indexed, code: split.Code | None) -> Candidate:
    """code: None for the smallest."""
    model = split.size_model(indexed.indices, indexed.geometry, INDEX, indexed.threads)
    return _candidate(indexed, split.under(model, lambda: indexed.indices, code))


def _candidate(indexed: codec.Indexed, coded: split.Coded | Candidate | None = None) -> Candidate:
    """coded: indices under `split` or `sparse`, None for row fields."""
    sparse = coded if isinstance(coded, Candidate) else None
    geometry, tables = indexed.geometry, indexed.tables if coded is None else replace(indexed.tables, bits=None)

    def components(threads: int) -> dict[str, np.ndarray]:
        own = indexed.components(tables, threads)
        if coded is None:
            return own
        inner = coded.components(threads) if isinstance(coded, Candidate) else coded.encode(threads)
        return own | prefixed(INDICES, inner)

    return Candidate(
        Kernel(tables.bits, tables.columns, None if sparse is None else sparse.kernel),
        geometry,
        sum(tables.component_bytes(geometry, indexed.dtype).values()) + (0 if coded is None else coded.nbytes),
        tables.padded_weights(geometry),
        0 if sparse is None else sparse.entries,
        node=tables.node(None if coded is None else coded.node),
        components=components,
        options={"columns": tables.columns}
        | ({} if coded is None else dict(coded.options))
        | ({} if sparse is None else {INDICES: sparse_numbers.SPARSE}),
    )
