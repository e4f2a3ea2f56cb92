"""Panels of `palette` indices, taken out and put together as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from laconic.encoded import Encoded
from laconic.formulations.palette.layout import INDEX_DTYPE, INDICES, TABLE, entries_of, grid_of, index_bits
from laconic.formulations.split import parts as split
from laconic.formulations.split.layout import Parameters
from laconic.geometry import Geometry

_PREFIX = f"{INDICES}."


@dataclass(frozen=True)
class Run:
    """Neighbouring panels: the table, and packed indices or the run of coded ones."""

    table: np.ndarray
    indices: np.ndarray | split.Run


def _code(encoded: Encoded) -> Parameters | None:
    """Of indices under `split`."""
    child = encoded.node.children.get(INDICES)
    return None if child is None else Parameters.from_json(dict(child.parameters))


def cut(encoded: Encoded, geometry: Geometry, panels: tuple[int, int], segments: tuple[int, int]) -> Run | None:
    """None where the indices are numbers of a grid."""
    if grid_of(encoded.node) is not None:
        return None
    code, table = _code(encoded), encoded.components[TABLE]
    if code is not None:
        inner = {name.removeprefix(_PREFIX): data for name, data in encoded.components.items()}
        return Run(table, split.cut(inner, INDEX_DTYPE, geometry, code, panels, segments))
    size = geometry.chunks_per_panel * 8 * index_bits(entries_of(encoded.node))
    return Run(table, encoded.components[INDICES][panels[0] * size : panels[1] * size])


def pack(like: Encoded, found: Sequence[Run | None]) -> Mapping[str, np.ndarray] | None:
    """The components of runs one after another; None where one is missing or their tables differ."""
    runs = [run for run in found if run is not None]
    if len(runs) < len(found) or not all(np.array_equal(run.table, runs[0].table) for run in runs[1:]):
        return None
    table = runs[0].table
    code = _code(like)
    if code is None:
        return {
            TABLE: table,
            INDICES: split.stream([run.indices for run in runs if isinstance(run.indices, np.ndarray)]),
        }
    coded = split.pack([run.indices for run in runs if isinstance(run.indices, split.Run)], code)
    return {TABLE: table, **{f"{_PREFIX}{name}": data for name, data in coded.items()}}
