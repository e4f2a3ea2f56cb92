"""Panels of `affine`, taken out and put together as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tersely.codes.affine.formulation import numbers_of
from tersely.codes.affine.layout import DIRECTORY, NUMBERS, SCALES, SIGNS, ZEROS, Scaling, panel_line_bytes
from tersely.codes.split import parts as split
from tersely.codes.split.layout import Parameters
from tersely.core.dtypes import by_name
from tersely.core.encoded import Encoded
from tersely.core.geometry import PANEL_ROWS, Geometry


@dataclass(frozen=True)
class Run:
    """Neighbouring panels. lengths: int64 [segments], bytes of signs; numbers: their lines, or the run of coded ones."""

    scales: np.ndarray
    zeros: np.ndarray
    signs: np.ndarray
    lengths: np.ndarray
    numbers: Any


def _code(encoded: Encoded) -> Parameters:
    return Parameters.from_json(dict(encoded.node.children[NUMBERS].parameters))


def cut(encoded: Encoded, geometry: Geometry, panels: tuple[int, int]) -> Run:
    scaling, components = Scaling.of(encoded.node), encoded.components
    first, last = (panel * scaling.groups(geometry) * PANEL_ROWS for panel in panels)
    size, nothing = by_name(scaling.dtype).bits // 8, np.zeros(0, np.uint8)
    zeros = nothing if scaling.zero is not None else components[ZEROS][first * 2 : last * 2]
    signs, lengths = nothing, np.zeros(0, np.int64)
    if scaling.signed_zeros:
        begin, end = (geometry.segments_before(panel) for panel in panels)
        starts = components[DIRECTORY][begin * 8 : (end + 1) * 8].view("<u8").astype(np.int64)
        signs, lengths = components[SIGNS][int(starts[0]) : int(starts[-1])], np.diff(starts)
    if scaling.bits is not None:
        line = panel_line_bytes(geometry, scaling.bits)
        numbers: Any = components[NUMBERS][panels[0] * line : panels[1] * line]
    else:
        inner = numbers_of(encoded)
        numbers = split.cut(inner.components, inner.dtype, geometry, _code(encoded), panels)
    return Run(components[SCALES][first * size : last * size], zeros, signs, lengths, numbers)


def pack(like: Encoded, runs: Sequence[Run]) -> Encoded:
    """Runs one after another."""
    scaling, numbers = Scaling.of(like.node), [run.numbers for run in runs]
    components = {SCALES: split.index(np.concatenate([run.scales for run in runs]))}
    if scaling.bits is not None:
        components[NUMBERS] = split.stream(numbers)
    else:
        components |= {f"{NUMBERS}.{name}": data for name, data in split.pack(numbers, _code(like)).items()}
    if scaling.zero is None:
        components[ZEROS] = split.index(np.concatenate([run.zeros for run in runs]))
    if scaling.signed_zeros:
        starts = np.cumsum(np.concatenate([[0], *(run.lengths for run in runs)])).astype("<u8")
        components[SIGNS] = split.stream([run.signs for run in runs])
        components[DIRECTORY] = split.index(starts.view(np.uint8))
    return replace(like, components=components)
