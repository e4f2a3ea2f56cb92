"""Which forms of `palette` are worth considering, and the form that a caller asks for.

Packed indices always; coded ones by their smallest code, where that is smaller; numbers where the words are a grid.
Under `size` all of them also folded. Indices of values are packed, or split into low bits, packed, and a high part
under a code of `split`. The table is sorted by count, so the high parts of hundreds of words are few symbols of unlike
counts, and each code of them is tried with each number of low bits: what is nearly uniform is packed, what is skewed is
coded.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tersely.codes.checks import is_integer
from tersely.codes.layouts import Groups
from tersely.codes.node import INDEX, prefixed
from tersely.codes.protocol import Candidate, Request, ValueCandidate, Values
from tersely.codes.words.integer import codec as integer
from tersely.codes.words.integer.candidates import FAST_ESCAPE_BYTES
from tersely.codes.words.integer.costs import padded_weights_of
from tersely.codes.words.integer.layout import unit_panels
from tersely.codes.words.palette import codec
from tersely.codes.words.palette.costs import Kernel
from tersely.codes.words.palette.grid import Grid, find
from tersely.codes.words.palette.layout import (
    INDICES,
    MAX_ENTRIES,
    NUMBER_DTYPE,
    PACKED_BITS,
    TABLE,
    Indices,
    index_bits,
)
from tersely.codes.words.split.candidates import check_code, check_constant
from tersely.codes.words.split.layout import widths_of
from tersely.core.encoded import Node, index_bytes, stored
from tersely.core.errors import ArgumentError
from tersely.core.geometry import Geometry, folded

CODES = ("fixed", "packed", "layered", "constant", "grid")
MAX_BITS = index_bits(MAX_ENTRIES)


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
    found = []
    for geometry in views:
        packed, coded = indexed.packed(geometry), indexed.coded(geometry, indexed.models(geometry)[0])
        found += [_candidate(packed, geometry)] + [_candidate(coded, geometry)] * (coded.nbytes < packed.nbytes)
    try:
        grid, numbered = find(table, request.dtype)
    except ArgumentError:
        return found
    smallest = request.objective == "size"
    by_number = codec.Indexed(request.words, numbered, request.dtype, request.threads)
    # Only matrices are multiplied by numbers; everything else looks words up, which indices that are packed do better.
    seen = [view for view in views if smallest or view.view == "matrix"]
    return found + [_in_grid(by_number, grid, geometry, smallest) for geometry in seen]


def candidate_for(request: Request) -> Candidate:
    """code: of the indices, or 'grid'. smallest: of a grid, as under objective `size`."""
    parameters = dict(request.parameters)
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
        raise ArgumentError(f"palette holds at most {MAX_ENTRIES} distinct words, and the tensor has more")
    geometry = request.geometry()
    if code == "grid":
        grid, numbered = find(table, request.dtype)
        by_number = codec.Indexed(request.words, numbered, request.dtype, request.threads)
        return _in_grid(by_number, grid, geometry, smallest or request.objective == "size")
    indexed = codec.Indexed(request.words, table, request.dtype, request.threads)
    if code == "fixed":
        return _candidate(indexed.packed(geometry), geometry)
    if code == "constant" and indexed.entries > 1:
        raise ArgumentError("code 'constant' needs a tensor of one word")
    return _candidate(indexed.coded(geometry, indexed.models(geometry)[0], (code, levels)), geometry)


def _candidate(stored: codec.StoredIndices, geometry: Geometry) -> Candidate:
    return Candidate(
        stored.kernel,
        geometry,
        stored.nbytes,
        geometry.padded_weights,
        node=stored.node,
        components=stored.components,
        options=stored.options,
    )


def _in_grid(indexed: codec.Indexed, grid: Grid, geometry: Geometry, smallest: bool) -> Candidate:
    """indexed: by the grid's table. smallest: a number that fields leave out costs its bytes and not its time."""
    numbers, table = indexed.indices, indexed.table
    counts = integer.statistics(numbers, geometry, NUMBER_DTYPE, indexed.threads)
    groups = integer.choose(counts, geometry, NUMBER_DTYPE, integer.SMALLEST if smallest else FAST_ESCAPE_BYTES)

    def components(threads: int) -> dict[str, np.ndarray]:
        coded = integer.encode(numbers, groups, threads)
        return {TABLE: stored(table, index_bytes)} | prefixed(INDICES, coded)

    return Candidate(
        grid_kernel(groups.table, geometry),
        geometry,
        index_bytes(table.nbytes) + groups.total(),
        padded_weights_of(geometry),
        node=Indices(indexed.entries, True, grid=grid).node(Node("integer", 1)),
        components=components,
        options={"code": "grid"} | ({"smallest": True} if smallest else {}),
    )


def grid_kernel(groups: np.ndarray, geometry: Geometry) -> Kernel:
    """The row of the cost model, by the bits of most fields' groups on average."""
    panels = unit_panels(geometry)
    bits = float(panels @ groups[:, 0].astype(np.float64)) / max(1, int(panels.sum()))
    return Kernel(round(bits), grid=True)


def value_candidates(values: Values, request: Request) -> list[ValueCandidate]:
    """Packed indices, and the smallest code with the low bits it is best with, where that is smaller."""
    indexed, layout = _indexed(values, request.threads), Groups(values.groups)
    if indexed is None or indexed.entries > values.words.size:
        return []
    packed = indexed.packed(layout)
    if request.objective != "size" and not request.wide:  # coded indices are decoded symbol by symbol there
        return [_of_values(packed)]
    models = indexed.models(layout, index_bits(indexed.entries))
    tried = [indexed.coded(layout, model, None, low) for low, model in enumerate(models)]
    coded = min(tried, key=lambda one: one.nbytes)
    return [_of_values(one) for one in (packed, coded) if one is packed or one.nbytes < packed.nbytes]


def value_candidate_for(values: Values, options: dict[str, Any], threads: int) -> ValueCandidate:
    """The caller's code and low bits, of which as many as leave the code one bit. Raises ArgumentError."""
    fixed = options.get("code", "fixed") == "fixed"
    if fixed:
        options.pop("code", None)
        if options:
            raise ArgumentError(f"fixed indices take no parameter {next(iter(options))!r}: use code='layered'")
    else:
        low_bits = options.pop(PACKED_BITS, 0)
        if not is_integer(low_bits) or not 0 <= low_bits < MAX_BITS:
            raise ArgumentError(f"packed_bits must be an integer from 0 to {MAX_BITS - 1}, not {low_bits!r}")
        code = check_code(INDEX, options)
    indexed, layout = _indexed(values, threads), Groups(values.groups)
    if indexed is None:
        raise ArgumentError(f"palette holds at most {MAX_ENTRIES} distinct words, and the values have more")
    if fixed:
        return _of_values(indexed.packed(layout))
    low_bits = min(int(low_bits), index_bits(indexed.entries) - 1)
    model = indexed.models(layout, low_bits + 1)[low_bits]
    check_constant(code, model, "indices that all have the same high bits")
    return _of_values(indexed.coded(layout, model, code, low_bits))


def _indexed(values: Values, threads: int) -> codec.Indexed | None:
    table = codec.table_of(values.words, values.dtype, threads)
    return None if table is None else codec.Indexed(values.words, table, values.dtype, threads)


def _of_values(stored: codec.StoredIndices) -> ValueCandidate:
    return ValueCandidate(stored.node, stored.nbytes, stored.components, stored.kernel, stored.options)
