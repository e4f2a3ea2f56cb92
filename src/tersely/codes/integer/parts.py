"""Groups of `integer` fields with their escapes, or segments of its child, taken out and put together as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tersely.codes.integer import distances, nibbles
from tersely.codes.integer.layout import NAME, field_bytes
from tersely.codes.split import parts as split
from tersely.codes.split.layout import Parameters
from tersely.core.encoded import Encoded
from tersely.core.geometry import Geometry


@dataclass(frozen=True)
class Run:
    """Neighbouring units of fields. groups: u8 [units, 2]; counts: int64 [segments], escapes of each."""

    fields: np.ndarray
    groups: np.ndarray
    counts: np.ndarray
    places: np.ndarray
    escapes: np.ndarray


def _child(encoded: Encoded, geometry: Geometry) -> tuple[Encoded, Geometry] | None:
    """What a node's child codes, and how that is seen; None for fields."""
    if distances.CHILD in encoded.node.children:
        return distances.inner(encoded)[0], geometry
    return nibbles.inner(encoded, geometry) if nibbles.CHILD in encoded.node.children else None


def _parameters(coded: Encoded) -> Parameters:
    return Parameters.from_json(dict(coded.node.parameters))


def step(encoded: Encoded, geometry: Geometry) -> int:
    child = _child(encoded, geometry)
    return (geometry if child is None else child[1]).panels_per_unit


def cut(encoded: Encoded, geometry: Geometry, panels: tuple[int, int]) -> Any:
    child = _child(encoded, geometry)
    if child is not None:
        coded, seen = child
        if coded.node.formulation == NAME:
            return cut(coded, seen, panels)
        return split.cut(coded.components, coded.dtype, seen, _parameters(coded), panels)
    components, segments = encoded.components, [geometry.segments_before(panel) for panel in panels]
    first, last = (segment // geometry.segments_per_panel for segment in segments)
    groups = components["groups"][: geometry.segments // geometry.segments_per_panel * 2].reshape(-1, 2)
    ends = np.concatenate([[0], np.cumsum(field_bytes(geometry, groups[:, 0]))])
    starts = components["directory"][: (segments[1] + 1) * 8].view("<u8").astype(np.int64)[segments[0] :]
    begin, end = int(starts[0]), int(starts[-1])
    return Run(
        components["fields"][int(ends[first]) : int(ends[last])],
        groups[first:last],
        np.diff(starts),
        components["places"][begin * 2 : end * 2],
        components["escapes"][begin:end],
    )


def pack(like: Encoded, runs: Sequence[Any]) -> Encoded:
    """Runs one after another."""
    for name, child in like.node.children.items():
        if child.formulation == NAME:
            coded = dict(pack(replace(like, node=child), runs).components)
        else:
            coded = split.pack(runs, Parameters.from_json(dict(child.parameters)))
        return replace(like, components={f"{name}.{own}": data for own, data in coded.items()})
    starts = np.cumsum(np.concatenate([[0], *(run.counts for run in runs)])).astype("<u8")
    return replace(
        like,
        components={
            "fields": split.stream([run.fields for run in runs]),
            "groups": split.index(np.concatenate([run.groups for run in runs]).reshape(-1)),
            "directory": split.index(starts.view(np.uint8)),
            "places": split.stream([run.places for run in runs]),
            "escapes": split.stream([run.escapes for run in runs]),
        },
    )
