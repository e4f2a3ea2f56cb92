"""Panels of `palette` indices, taken out and put together as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tersely.codes.integer import parts as integer
from tersely.codes.palette.held import numbers_of
from tersely.codes.palette.layout import INDEX_DTYPE, INDICES, TABLE, entries_of, grid_of, index_bits
from tersely.codes.split import parts as split
from tersely.codes.split.layout import Parameters
from tersely.core.encoded import Encoded
from tersely.core.geometry import Geometry

_PREFIX = f"{INDICES}."


@dataclass(frozen=True)
class Run:
    """Neighbouring panels: the table, and packed indices or the run of coded ones or of a grid's numbers."""

    table: np.ndarray
    indices: Any


def _code(encoded: Encoded) -> Parameters | None:
    """Of indices under `split`."""
    child = encoded.node.children.get(INDICES)
    return None if child is None else Parameters.from_json(dict(child.parameters))


def cut(encoded: Encoded, geometry: Geometry, panels: tuple[int, int]) -> Run:
    table = encoded.components[TABLE]
    if grid_of(encoded.node) is not None:
        return Run(table, integer.cut(numbers_of(encoded), geometry, panels))
    code = _code(encoded)
    if code is not None:
        inner = {name.removeprefix(_PREFIX): data for name, data in encoded.components.items()}
        return Run(table, split.cut(inner, INDEX_DTYPE, geometry, code, panels))
    size = geometry.chunks_per_panel * 8 * index_bits(entries_of(encoded.node))
    return Run(table, encoded.components[INDICES][panels[0] * size : panels[1] * size])


def pack(like: Encoded, runs: Sequence[Run]) -> Encoded | None:
    """Runs one after another; None where their tables differ."""
    table, indices = runs[0].table, [run.indices for run in runs]
    if not all(np.array_equal(run.table, table) for run in runs[1:]):
        return None
    if grid_of(like.node) is not None:
        return _with(like, table, integer.pack(numbers_of(like), indices).components)
    code = _code(like)
    if code is None:
        return replace(like, components={TABLE: table, INDICES: split.stream(indices)})
    return _with(like, table, split.pack(indices, code))


def _with(like: Encoded, table: np.ndarray, coded: Mapping[str, np.ndarray]) -> Encoded:
    return replace(like, components={TABLE: table, **{f"{_PREFIX}{name}": data for name, data in coded.items()}})
