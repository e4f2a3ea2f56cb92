"""Panels of `row_palette`, taken out and put together as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tersely.codes.affine.layout import panel_line_bytes
from tersely.codes.row_palette.formulation import indices_of
from tersely.codes.row_palette.layout import INDICES, TABLES, Tables
from tersely.codes.split import parts as split
from tersely.codes.split.layout import Parameters
from tersely.core.dtypes import by_name
from tersely.core.encoded import Encoded
from tersely.core.geometry import PANEL_ROWS, Geometry


@dataclass(frozen=True)
class Run:
    """Neighbouring panels. indices: their lines, or the run of coded ones."""

    tables: np.ndarray
    indices: Any


def _code(encoded: Encoded) -> Parameters:
    return Parameters.from_json(dict(encoded.node.children[INDICES].parameters))


def cut(encoded: Encoded, geometry: Geometry, panels: tuple[int, int]) -> Run:
    shape, components = Tables.of(encoded.node), encoded.components
    table = shape.groups(geometry) * PANEL_ROWS * shape.entries * by_name(encoded.dtype).bits // 8
    tables = components[TABLES][panels[0] * table : panels[1] * table]
    if shape.bits is not None:
        line = panel_line_bytes(geometry, shape.bits)
        return Run(tables, components[INDICES][panels[0] * line : panels[1] * line])
    inner = indices_of(encoded)
    return Run(tables, split.cut(inner.components, inner.dtype, geometry, _code(encoded), panels))


def pack(like: Encoded, runs: Sequence[Run]) -> Encoded:
    """Runs one after another."""
    indices = [run.indices for run in runs]
    components = {TABLES: split.index(np.concatenate([run.tables for run in runs]))}
    if Tables.of(like.node).bits is not None:
        components[INDICES] = split.stream(indices)
    else:
        components |= {f"{INDICES}.{name}": data for name, data in split.pack(indices, _code(like)).items()}
    return replace(like, components=components)
