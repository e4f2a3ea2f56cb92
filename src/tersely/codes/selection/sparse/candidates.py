"""Which forms of `sparse` are worth considering, and the form that a caller asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tersely.codes.node import ValueCoding, prefixed
from tersely.codes.protocol import Candidate, Request, ValueCandidate, Values
from tersely.codes.selection.sparse import codec, reference
from tersely.codes.selection.sparse.costs import kernel_of
from tersely.codes.selection.sparse.layout import BYTES, CHILD, PATTERNS, Positions, check_positions, node
from tersely.codes.selection.sparse.values import ROWS, coding_named
from tersely.codes.words.dense.formulation import NODE as DENSE
from tersely.core.encoded import stored, stream_bytes
from tersely.core.errors import ArgumentError
from tersely.core.geometry import CHUNK_WEIGHTS, Geometry, folded

FEWEST_ZEROS = 0.1
"""Share of zeros below which nothing here can win: a bitmap costs a bit for every weight, and `split` already saves
more than a tenth of them."""
FEWEST_ZERO_BYTES = 0.5
"""Share of zeros for integers: `integer` takes no more for a zero than a bitmap does, so only what takes less than a bit for
a weight can win.
"""

LANES_PAY = 0.3
"""Entries per weight up to which gaps with coded values are offered: with more, a bitmap's chunks cost less."""


def candidates(request: Request) -> list[Candidate]:
    words = request.words
    zeros = request.zeros
    if zeros <= words.size * (FEWEST_ZERO_BYTES if request.dtype in BYTES else FEWEST_ZEROS):
        return []
    geometry = request.geometry()
    found = in_view(request, geometry)
    if request.objective == "size" and geometry.view != "folded":
        found += in_view(request, folded(words.shape))
    for n, m in () if request.dtype in BYTES else PATTERNS:
        if zeros >= words.size * (1 - n / m) * 0.99:  # columns that fill no block need fewer zeros
            found += _selections(request, geometry, Positions("n_of_m", n, m))
    return found


def in_view(request: Request, geometry: Geometry) -> list[Candidate]:
    """Masks and gaps of a tensor that is seen so, whatever its share of zeros."""
    statistics = codec.statistics(request.words, geometry, request.dtype, request.threads)
    found = [_plain(request.words, statistics, kind) for kind in ("bitmap", "gaps")]
    if statistics.nonzero == 0 or (request.dtype in BYTES and request.objective != "size"):
        return found
    if request.objective != "size" and statistics.blocks * CHUNK_WEIGHTS <= LANES_PAY * request.words.size:
        found += _lanes(request, statistics)
    bitmap = _Bitmap(request, statistics)
    for coded in _codings(bitmap.values, request):
        found.append(bitmap.candidate("bitmap", coded))
        if request.objective == "size":
            found.append(bitmap.candidate("elias_fano", coded))
    return found


def _lanes(request: Request, statistics: codec.Statistics) -> list[Candidate]:
    """Gaps with coded values."""
    lanes = codec.lanes_of(request.words, statistics, request.threads)
    if lanes is None:
        return []
    components, words, blocks = lanes
    values = Values(words, blocks, request.dtype)
    return [
        _candidate(statistics.geometry, Positions("gaps"), components, values, coded)
        for coded in _codings(values, request)
    ]


class _Bitmap:
    """Masks of a tensor, and the values under them, each segment's filled up to whole groups unless they stay dense."""

    def __init__(self, request: Request, statistics: codec.Statistics, granule: int = CHUNK_WEIGHTS) -> None:
        self.geometry = statistics.geometry
        self.components, words = codec.bitmap_of(request.words, statistics, granule, request.threads)
        self.starts = self.components["directory"][: (self.geometry.segments + 1) * 8].view("<u8")
        self.values = Values(words, np.diff(self.starts.astype(np.int64)) // CHUNK_WEIGHTS, request.dtype)

    def candidate(self, kind: str, coded: ValueCandidate | None) -> Candidate:
        """These values under masks, or behind Elias-Fano positions."""
        if kind == "bitmap":
            return _candidate(self.geometry, Positions(kind), self.components, self.values, coded)
        positions, sizes = codec.elias_fano_sizes(self.geometry, self.starts)
        own = sum(sizes.values()), lambda: codec.elias_fano_of(self.components, self.geometry, positions)
        return _candidate(self.geometry, positions, own, self.values, coded)


def _selections(request: Request, geometry: Geometry, positions: Positions) -> list[Candidate]:
    selection = codec.selection_of(request.words, geometry, request.dtype, positions, CHUNK_WEIGHTS, request.threads)
    if selection is None:
        return []
    values = _selected(selection[1], geometry, positions, request.dtype)
    return [_selection(request, geometry, positions, None, {})] + [
        _candidate(geometry, positions, selection[0], values, coded) for coded in _codings(values, request)
    ]


def _selected(words: np.ndarray, geometry: Geometry, positions: Positions, dtype: str) -> Values:
    return Values(words, -(-positions.segment_values(geometry) // CHUNK_WEIGHTS), dtype)


def _codings(values: Values, request: Request) -> list[ValueCandidate]:
    rows = [row for row in ROWS if request.dtype in row.VALUE_DTYPES]
    return [coded for row in rows for coded in row.value_candidates(values, request)]


def candidate_for(request: Request) -> Candidate:
    parameters = dict(request.parameters)
    positions = check_positions(parameters)
    coding = coding_named(parameters.pop("values", "dense"), request.dtype)
    if coding is None and parameters:
        raise ArgumentError(f"formulation 'sparse' takes no parameter {next(iter(parameters))!r}")
    words, geometry = request.words, request.geometry()
    if positions.kind == "n_of_m":
        if request.dtype in BYTES:
            raise ArgumentError(f"n_of_m codes no {request.dtype}: use positions='bitmap'")
        return _selection(request, geometry, positions, coding, parameters)
    statistics = codec.statistics(words, geometry, request.dtype, request.threads)
    if coding is None and positions.kind != "elias_fano":
        return _plain(words, statistics, positions.kind)
    if positions.kind == "gaps":
        lanes = codec.lanes_of(words, statistics, request.threads)
        if lanes is None:
            raise ArgumentError("some rows have more values than gaps can code: use positions='bitmap'")
        values = Values(lanes[1], lanes[2], request.dtype)
        return _candidate(geometry, positions, lanes[0], values, _coded(values, coding, parameters, request.threads))
    bitmap = _Bitmap(request, statistics, 1 if coding is None else CHUNK_WEIGHTS)
    return bitmap.candidate(positions.kind, _coded(bitmap.values, coding, parameters, request.threads))


def _selection(
    request: Request,
    geometry: Geometry,
    positions: Positions,
    coding: ValueCoding | None,
    options: dict[str, Any],
) -> Candidate:
    granule = 1 if coding is None else CHUNK_WEIGHTS
    selection = codec.selection_of(request.words, geometry, request.dtype, positions, granule, request.threads)
    if selection is None:
        raise ArgumentError(reference.NOT_N_OF_M.format(n=positions.n, m=positions.m))
    values = _selected(selection[1], geometry, positions, request.dtype)
    return _candidate(geometry, positions, selection[0], values, _coded(values, coding, options, request.threads))


def _coded(values: Values, coding: ValueCoding | None, options: dict[str, Any], threads: int) -> ValueCandidate | None:
    return None if coding is None else coding.value_candidate_for(values, options, threads)


def _plain(words: np.ndarray, statistics: codec.Statistics, kind: str) -> Candidate:
    """Dense values, which are written together with their positions."""
    geometry, positions = statistics.geometry, Positions(kind)
    return Candidate(
        kernel_of(positions),
        geometry,
        statistics.total(kind),
        geometry.padded_weights,
        statistics.blocks * CHUNK_WEIGHTS if kind == "gaps" else 0,
        node=node(positions, DENSE),
        components=lambda threads: codec.encode(words, statistics, kind, threads),
        options=positions.to_json(),
    )


Own = dict[str, np.ndarray] | tuple[int, Callable[[], dict[str, np.ndarray]]]
"""Components of positions; or their bytes, and what makes them."""


def _candidate(
    geometry: Geometry, positions: Positions, own: Own, values: Values, coded: ValueCandidate | None
) -> Candidate:
    """coded: None for dense values."""
    made: Callable[[], dict[str, np.ndarray]]
    if isinstance(own, dict):
        nbytes, made = sum(one.nbytes for one in own.values()), own.copy
    else:
        nbytes, made = own
    options, words = positions.to_json(), values.words
    if coded is not None:
        options |= {"values": coded.node.formulation} | dict(coded.options)

    def components(threads: int) -> dict[str, np.ndarray]:
        inner = {"bytes": stored(words, stream_bytes)} if coded is None else coded.components(threads)
        return made() | prefixed(CHILD, inner)

    return Candidate(
        kernel_of(positions, None if coded is None else coded.kernel),
        geometry,
        nbytes + (stream_bytes(words.nbytes) if coded is None else coded.nbytes),
        geometry.padded_weights,
        0 if coded is None and positions.kind == "n_of_m" else words.size,
        node=node(positions, DENSE if coded is None else coded.node),
        components=components,
        options=options,
    )
