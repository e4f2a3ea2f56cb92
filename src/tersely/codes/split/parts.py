"""Whole segments of `split` streams, taken out and put together as they are: nothing is decoded.

Segments are coded alone and under one table, so a run of them that begins and ends with panels means the same beside any
other run with equal parameters. Only the directory counts from the first one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tersely.codes.split.layout import Parameters
from tersely.core.encoded import index_bytes, stream_bytes
from tersely.core.geometry import Geometry


@dataclass(frozen=True)
class Run:
    """Neighbouring panels. short: bool [panels]; lengths: u64 [segments, streams], entries of each; bytes by component."""

    short: np.ndarray
    lengths: np.ndarray
    streams: Mapping[str, np.ndarray]


def _unit(parameters: Parameters, name: str) -> int:
    """Bytes of an entry of a stream."""
    return 1 if name == "escapes" else 8 * parameters.widths[int(name.removeprefix("level")) - 1]


def cut(
    components: Mapping[str, np.ndarray],
    dtype: str,
    geometry: Geometry,
    parameters: Parameters,
    panels: tuple[int, int],
) -> Run:
    """The run of panels [first, last), which are whole segments. components: valid."""
    short = np.zeros(geometry.panels, bool)
    if parameters.short_tail is not None:
        bits = np.unpackbits(components["short_panels"], bitorder="little")
        short = bits[: geometry.panels].astype(bool)
    own, shorter = (
        geometry.chunks_per_panel * parameters.chunk_bytes(dtype, tail)
        for tail in (parameters.tail, parameters.short_tail or "none")
    )
    first, last = (panel * own - int(short[:panel].sum()) * (own - shorter) for panel in panels)
    segments = (geometry.segments_before(panels[0]), geometry.segments_before(panels[1]))
    return _run(components, parameters, short[panels[0] : panels[1]], (first, last), segments)


def cut_groups(
    components: Mapping[str, np.ndarray],
    dtype: str,
    parameters: Parameters,
    groups: tuple[int, int],
    segments: tuple[int, int],
) -> Run:
    """The run of segments [first, last) of coded values, which are groups [first, last)."""
    size = parameters.chunk_bytes(dtype, parameters.tail)
    return _run(components, parameters, np.zeros(0, bool), (groups[0] * size, groups[1] * size), segments)


def _run(
    components: Mapping[str, np.ndarray],
    parameters: Parameters,
    short: np.ndarray,
    tiles: tuple[int, int],
    segments: tuple[int, int],
) -> Run:
    """tiles: bytes of the component."""
    streams = {"tiles": components["tiles"][tiles[0] : tiles[1]]}
    lengths = np.zeros((segments[1] - segments[0], 0), np.uint64)
    if parameters.streams:
        count = len(parameters.streams)
        starts = components["directory"][: (segments[1] + 1) * count * 8].view("<u8").reshape(-1, count)
        lengths = np.diff(starts[segments[0] :], axis=0)
        for column, name in enumerate(parameters.streams):
            unit = _unit(parameters, name)
            first, last = (int(starts[segment, column]) * unit for segment in segments)
            streams[name] = components[name][first:last]
    return Run(short, lengths, streams)


def pack(runs: Sequence[Run], parameters: Parameters) -> dict[str, np.ndarray]:
    """The components of runs one after another."""
    components = {"tiles": stream([run.streams["tiles"] for run in runs])}
    if parameters.short_tail is not None:
        components["short_panels"] = index(np.packbits(np.concatenate([run.short for run in runs]), bitorder="little"))
    if parameters.streams:
        lengths = np.concatenate([run.lengths for run in runs])
        starts = np.zeros((lengths.shape[0] + 1, lengths.shape[1]), "<u8")
        np.cumsum(lengths, axis=0, out=starts[1:])
        components["directory"] = index(starts.reshape(-1).view(np.uint8))
    for name in parameters.streams:
        components[name] = stream([run.streams[name] for run in runs])
    return components


def stream(parts: Sequence[np.ndarray]) -> np.ndarray:
    """A stream component of these bytes, slack included."""
    used = sum(part.nbytes for part in parts)
    return _padded(parts, stream_bytes(used))


def index(used: np.ndarray) -> np.ndarray:
    """An index component of these bytes."""
    return _padded([used], index_bytes(used.nbytes))


def _padded(parts: Sequence[np.ndarray], size: int) -> np.ndarray:
    out, at = np.zeros(size, np.uint8), 0
    for part in parts:
        out[at : at + part.nbytes] = part
        at += part.nbytes
    return out
