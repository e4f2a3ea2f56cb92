"""Which forms of `sparse` are worth considering, and the form that a caller asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tersely.codes.protocol import Candidate, Request, ValueCandidate, Values
from tersely.codes.sparse import codec, reference
from tersely.codes.sparse.layout import BYTES, PATTERNS, Positions, check_positions, node
from tersely.codes.sparse.values import DENSE, ROWS, VALUE_BYTES, coding_named, prefixed
from tersely.core.encoded import stored, stream_bytes
from tersely.core.errors import ArgumentError
from tersely.core.geometry import CHUNK_WEIGHTS, Geometry, folded

FEWEST_ZEROS = 0.1
"""Share of zeros below which nothing here can win: a bitmap costs a bit for every weight, and `split` already saves
more than a tenth of them."""
FEWEST_ZERO_BYTES = 0.5
"""The same of whole numbers: `integer` takes no more for a zero than a bitmap does, so only what takes less than a bit for
a weight can win.
"""

LANES_PAY = 0.3
"""Entries per weight up to which gaps with coded values are offered: with more, a bitmap's chunks cost less."""


def why_not(dtype: str, objective: str, profile: str) -> str:
    return ""


def candidates(request: Request) -> list[Candidate]:
    words = request.words
    zeros = words.size - np.count_nonzero(words)
    if zeros <= words.size * (FEWEST_ZERO_BYTES if request.dtype in BYTES else FEWEST_ZEROS):
        return []
    geometry = request.geometry()
    found = _of_geometry(request, geometry)
    if request.objective == "size" and geometry.view != "folded":
        found += _of_geometry(request, folded(words.shape))
    for n, m in () if request.dtype in BYTES else PATTERNS:
        if zeros >= words.size * (1 - n / m) * 0.99:  # columns that fill no block need fewer zeros
            found += _selections(request, geometry, Positions("n_of_m", n, m))
    return found


def _of_geometry(request: Request, geometry: Geometry) -> list[Candidate]:
    statistics = codec.statistics(request.words, geometry, request.dtype, request.threads)
    found = [_plain(request.words, statistics, kind) for kind in ("bitmap", "deltas")]
    if statistics.nonzero == 0 or (request.dtype in BYTES and request.objective != "size"):
        return found
    if request.objective != "size" and statistics.blocks * CHUNK_WEIGHTS <= LANES_PAY * request.words.size:
        found += _lanes(request, statistics)
    parts, words = codec.bitmap_parts(request.words, statistics, CHUNK_WEIGHTS, request.threads)
    values = Values(words, _groups(parts, geometry), request.dtype)
    for name, coded in _codings(values, request):
        found.append(_nested(geometry, Positions("bitmap"), parts, values, name, coded))
        if request.objective == "size":
            found.append(_nested_places(geometry, parts, values, name, coded))
    return found


def _lanes(request: Request, statistics: codec.Statistics) -> list[Candidate]:
    """Gaps with coded values."""
    cut = codec.lane_parts(request.words, statistics, request.threads)
    if cut is None:
        return []
    parts, words, blocks = cut
    values = Values(words, blocks, request.dtype)
    return [
        _nested(statistics.geometry, Positions("deltas"), parts, values, name, coded)
        for name, coded in _codings(values, request)
    ]


def _groups(parts: Mapping[str, np.ndarray], geometry: Geometry) -> np.ndarray:
    """Groups of values of each segment, by a directory."""
    return np.diff(_starts(parts, geometry).astype(np.int64)) // CHUNK_WEIGHTS


def _starts(parts: Mapping[str, np.ndarray], geometry: Geometry) -> np.ndarray:
    return parts["directory"][: (geometry.segments + 1) * 8].view("<u8")


def _nested_places(
    geometry: Geometry, parts: dict[str, np.ndarray], values: Values, name: str, coded: ValueCandidate
) -> Candidate:
    """The bitmap's values behind Elias-Fano positions."""
    positions, sizes = codec.elias_fano_sizes(geometry, _starts(parts, geometry))
    return Candidate(
        node(positions, coded.node, values.dtype),
        geometry,
        sum(sizes.values()) + coded.nbytes,
        lambda threads: codec.elias_fano_parts(parts, geometry, positions) | prefixed(coded.components(threads)),
        f"{positions.kernel} + {coded.kernel}",
        positions.to_json() | {"values": name} | dict(coded.options),
        geometry.panels * geometry.chunks_per_panel * CHUNK_WEIGHTS,
        values.words.size,
    )


def _selections(request: Request, geometry: Geometry, positions: Positions) -> list[Candidate]:
    cut = codec.select_parts(request.words, geometry, request.dtype, positions, CHUNK_WEIGHTS, request.threads)
    if cut is None:
        return []
    parts, words = cut
    values = Values(words, -(-positions.segment_values(geometry) // CHUNK_WEIGHTS), request.dtype)
    found = [_forced_selection(request, geometry, positions, {})]
    return found + [
        _nested(geometry, positions, parts, values, name, coded) for name, coded in _codings(values, request)
    ]


def _codings(values: Values, request: Request) -> list[tuple[str, ValueCandidate]]:
    return [
        (row.NAME, coded)
        for row in ROWS
        if request.dtype in row.DTYPES
        for coded in row.candidates(values, request.objective, request.profile, request.threads)
    ]


def forced(request: Request, parameters: dict[str, Any]) -> Candidate:
    positions = check_positions(parameters)
    name = parameters.pop("values", "dense")
    coding = coding_named(name, request.dtype)
    if coding is None and parameters:
        raise ArgumentError(f"formulation 'sparse' takes no parameter {next(iter(parameters))!r}")
    words, geometry = request.words, request.geometry()
    if positions.kind == "n_of_m":
        if request.dtype in BYTES:
            raise ArgumentError(f"n_of_m codes no {request.dtype}: use positions='bitmap'")
        return _forced_selection(request, geometry, positions, parameters, name)
    statistics = codec.statistics(words, geometry, request.dtype, request.threads)
    if coding is None and positions.kind == "elias_fano":
        return _plain_places(request, statistics)
    if coding is None:
        return _plain(words, statistics, positions.kind)
    if positions.kind == "deltas":
        cut = codec.lane_parts(words, statistics, request.threads)
        if cut is None:
            raise ArgumentError("some rows have more values than gaps can code: use positions='bitmap'")
        values = Values(cut[1], cut[2], request.dtype)
        coded = coding.forced(values, parameters, request.threads)
        return _nested(geometry, positions, cut[0], values, coding.NAME, coded)
    parts, sequence = codec.bitmap_parts(words, statistics, CHUNK_WEIGHTS, request.threads)
    values = Values(sequence, _groups(parts, geometry), request.dtype)
    coded = coding.forced(values, parameters, request.threads)
    if positions.kind == "elias_fano":
        return _nested_places(geometry, parts, values, coding.NAME, coded)
    return _nested(geometry, positions, parts, values, coding.NAME, coded)


def _forced_selection(
    request: Request, geometry: Geometry, positions: Positions, options: dict[str, Any], name: object = "dense"
) -> Candidate:
    coding = coding_named(name, request.dtype)
    granule = 1 if coding is None else CHUNK_WEIGHTS
    cut = codec.select_parts(request.words, geometry, request.dtype, positions, granule, request.threads)
    if cut is None:
        raise ArgumentError(reference.NOT_N_OF_M.format(n=positions.n, m=positions.m))
    parts, words = cut
    groups = -(-positions.segment_values(geometry) // CHUNK_WEIGHTS)
    if coding is not None:
        values = Values(words, groups, request.dtype)
        return _nested(geometry, positions, parts, values, coding.NAME, coding.forced(values, options, request.threads))
    return Candidate(
        node(positions, DENSE, request.dtype),
        geometry,
        parts["codes"].nbytes + stream_bytes(words.nbytes),
        lambda threads: parts | {VALUE_BYTES: stored(words, stream_bytes)},
        positions.kernel,
        positions.to_json(),
        geometry.panels * geometry.chunks_per_panel * CHUNK_WEIGHTS,
    )


def _plain_places(request: Request, statistics: codec.Statistics) -> Candidate:
    geometry = statistics.geometry
    parts, words = codec.bitmap_parts(request.words, statistics, 1, request.threads)
    positions, sizes = codec.elias_fano_sizes(geometry, _starts(parts, geometry))
    return Candidate(
        node(positions, DENSE, request.dtype),
        geometry,
        sum(sizes.values()) + stream_bytes(words.nbytes),
        lambda threads: codec.elias_fano_parts(parts, geometry, positions) | {VALUE_BYTES: stored(words, stream_bytes)},
        f"sparse {positions.kind}",
        positions.to_json(),
        geometry.panels * geometry.chunks_per_panel * CHUNK_WEIGHTS,
        words.size,
    )


def _plain(words: np.ndarray, statistics: codec.Statistics, kind: str) -> Candidate:
    geometry = statistics.geometry
    return Candidate(
        node(Positions(kind), DENSE, statistics.dtype),
        geometry,
        statistics.total(kind),
        lambda threads: codec.encode(words, statistics, kind, threads),
        f"sparse {kind}",
        {"positions": kind},
        geometry.panels * geometry.chunks_per_panel * CHUNK_WEIGHTS,
        statistics.blocks * CHUNK_WEIGHTS if kind == "deltas" else 0,
    )


def _nested(
    geometry: Geometry,
    positions: Positions,
    parts: dict[str, np.ndarray],
    values: Values,
    name: str,
    coded: ValueCandidate,
) -> Candidate:
    return Candidate(
        node(positions, coded.node, values.dtype),
        geometry,
        sum(part.nbytes for part in parts.values()) + coded.nbytes,
        lambda threads: parts | prefixed(coded.components(threads)),
        f"{positions.kernel} + {coded.kernel}",
        positions.to_json() | {"values": name} | dict(coded.options),
        geometry.panels * geometry.chunks_per_panel * CHUNK_WEIGHTS,
        values.words.size,
    )
