"""Segments of `sparse` positions and their values, taken out and put together as they are.

Masks, codes and lanes stand alone; only directories count from the first one, and low bits of Elias-Fano positions begin
between bytes. Gaps have no segments but windows of 256 rows, whose lanes are sorted together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tersely.codes.sparse.layout import WINDOW_ROWS, Positions, positions_of
from tersely.codes.sparse.values import CHILD, VALUE_BYTES, coding_of, own, prefixed
from tersely.codes.split.parts import index, stream
from tersely.core.dtypes import by_name
from tersely.core.encoded import Encoded
from tersely.core.geometry import CHUNK_WEIGHTS, PANEL_ROWS, Geometry


@dataclass(frozen=True)
class Run:
    """Neighbouring segments, or panels of lanes.

    streams: bytes by component, of `lower` one for each bit. counts: int64, what the directory counts of each. values:
    bytes, or the run of the coding.
    """

    streams: Mapping[str, np.ndarray]
    counts: np.ndarray
    values: Any


def step(encoded: Encoded, geometry: Geometry) -> int:
    lanes = positions_of(encoded.node).kind == "deltas"
    return WINDOW_ROWS // PANEL_ROWS if lanes else geometry.panels_per_unit


def cut(encoded: Encoded, geometry: Geometry, panels: tuple[int, int]) -> Run:
    positions, child = positions_of(encoded.node), encoded.node.children[CHILD]
    coding, components = coding_of(child), encoded.components
    lanes = positions.kind == "deltas"
    first, last = panels if lanes else tuple(geometry.segments_before(panel) for panel in panels)
    starts = _starts(encoded, geometry, positions, coding is not None)
    streams = _streams(components, geometry, positions, panels, (first, last), starts)
    counts, unit = np.diff(starts[first : last + 1]), CHUNK_WEIGHTS if lanes else 1
    begin, end = int(starts[first]) * unit, int(starts[last]) * unit
    if coding is None:
        width = by_name(encoded.dtype).bits // 8
        return Run(streams, counts, components[VALUE_BYTES][begin * width : end * width])
    groups = (begin // CHUNK_WEIGHTS, end // CHUNK_WEIGHTS)
    return Run(streams, counts, coding.cut(child, encoded.dtype, own(components), groups, (first, last)))


def _starts(encoded: Encoded, geometry: Geometry, positions: Positions, coded: bool) -> np.ndarray:
    """int64: values before each segment, or blocks before each panel of lanes."""
    if positions.kind == "n_of_m":
        counts = positions.segment_values(geometry)
        counts = -(-counts // CHUNK_WEIGHTS) * CHUNK_WEIGHTS if coded else counts
        return np.concatenate([[0], np.cumsum(counts)])
    number = geometry.panels if positions.kind == "deltas" else geometry.segments
    return encoded.components["directory"][: (number + 1) * 8].view("<u8").astype(np.int64)


def _streams(
    components: Mapping[str, np.ndarray],
    geometry: Geometry,
    positions: Positions,
    panels: tuple[int, int],
    segments: tuple[int, int],
    starts: np.ndarray,
) -> dict[str, np.ndarray]:
    """The positions of a run of panels, which are the segments (or panels of lanes) [first, last)."""

    def part(name: str, size: int, span: tuple[int, int] = panels) -> np.ndarray:
        return components[name][span[0] * size : span[1] * size]

    if positions.kind == "bitmap":
        return {"masks": part("masks", geometry.chunks_per_panel * 8)}
    if positions.kind == "n_of_m":
        return {"codes": part("codes", positions.panel_bytes(geometry))}
    values = (int(starts[segments[0]]), int(starts[segments[1]]))
    if positions.kind == "deltas":
        return {"gaps": part("gaps", CHUNK_WEIGHTS, values), "rows": part("rows", PANEL_ROWS)}
    words = positions.upper_starts(geometry, starts.astype(np.uint64)).astype(np.int64)
    first, last = (value * positions.low_bits for value in values)
    bits = np.unpackbits(components["lower"][first // 8 : -(-last // 8)], bitorder="little")
    return {
        "upper": part("upper", 8, (int(words[segments[0]]), int(words[segments[1]]))),
        "lower": bits[first % 8 : first % 8 + last - first],
    }


def pack(like: Encoded, runs: Sequence[Run]) -> Encoded | None:
    """Runs one after another; None where the coding of their values does not fit."""
    child = like.node.children[CHILD]
    coding, values = coding_of(child), [run.values for run in runs]
    coded = {VALUE_BYTES: stream(values)} if coding is None else coding.pack(child, like.dtype, values)
    if coded is None:
        return None
    components: dict[str, np.ndarray] = {}
    for name in runs[0].streams:
        together = [run.streams[name] for run in runs]
        if name == "rows":
            components[name] = index(np.concatenate(together))
        elif name == "lower":
            components[name] = stream([np.packbits(np.concatenate(together), bitorder="little")])
        else:
            components[name] = stream(together)
    if positions_of(like.node).kind != "n_of_m":
        starts = np.cumsum(np.concatenate([[0], *(run.counts for run in runs)])).astype("<u8")
        components["directory"] = index(starts.view(np.uint8))
    return replace(like, components=components | (coded if coding is None else prefixed(coded)))
