"""What can be left out, and how the rest is coded: every form that the other formulations offer for it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from tersely.codes.node import Formulation, prefixed
from tersely.codes.protocol import Candidate, Request
from tersely.codes.selection.submatrix import reference
from tersely.codes.selection.submatrix.costs import Kernel
from tersely.codes.selection.submatrix.layout import BYTES, COLUMNS, FLOATS, KEPT, ROWS, component_bytes, node
from tersely.codes.words.dense import formulation as dense
from tersely.core.encoded import stored, stream_bytes
from tersely.core.errors import ArgumentError
from tersely.core.geometry import CHUNK_COLUMNS, PANEL_ROWS, Geometry, choose

MIN_LEFT_OUT = 0.02
"""Share of the weights below which leaving them out wins nothing worth a second look at all the others."""
_FIRST_LINES = 64


@dataclass(frozen=True)
class Found:
    """rows, columns: bool, which are kept. request: for what they hold."""

    geometry: Geometry
    rows: np.ndarray
    columns: np.ndarray
    request: Request

    def components(self) -> dict[str, np.ndarray]:
        return {ROWS: reference.bitmap(self.rows), COLUMNS: reference.bitmap(self.columns)}


def geometry_of(request: Request) -> Geometry | None:
    """The tensor as one matrix whose columns are in the tensor's own order; None where it is none."""
    geometry = request.geometry()
    if geometry.view == "convolution":
        return Geometry(geometry.shape, "convolution")
    return geometry if geometry.view == "matrix" else None


def alive(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Does what `reference.alive` does, without a look at every word where the first lines have all that is needed."""
    return _alive(matrix), _alive(matrix.T)


def _alive(matrix: np.ndarray) -> np.ndarray:
    found = matrix[:, 0] != 0
    if found.all():
        return found
    found = np.asarray(matrix[:, :_FIRST_LINES].any(axis=1))
    left = np.flatnonzero(~found)
    if left.size * 2 > found.size:
        return np.asarray(matrix.any(axis=1))
    found[left] = matrix[left].any(axis=1)
    return found


def candidates(request: Request, rows: tuple[Formulation, ...]) -> list[Candidate]:
    """Returns every form of what is kept.

    Integers that no kernel multiplies as they would lie here, of 16 bits and pairs of four, are left out for size alone.
    """
    multiplied = request.dtype in (*FLOATS, *BYTES) and request.int4_columns is None
    found = (
        find(request, (1 - MIN_LEFT_OUT) * request.words.size) if multiplied or request.objective == "size" else None
    )
    if found is None:
        return []
    forms = [one for row in rows for one in _forms(row, found.request) if one.geometry.view == "matrix"]
    return [_candidate(found, one) for one in forms]


def _forms(row: Formulation, request: Request) -> list[Candidate]:
    return [_dense(request)] if row is dense.dense else row.candidates(request)


def _dense(request: Request) -> Candidate:
    """What is kept as it is, with the slack of a stream."""
    words = request.words
    return Candidate(
        dense.Kernel(),
        Geometry(words.shape, "matrix"),
        stream_bytes(words.nbytes),
        node=dense.NODE,
        components=lambda threads: {dense.BYTES: stored(words, stream_bytes)},
    )


def find(request: Request, max_weights: float = math.inf) -> Found | None:
    """What is worth keeping of a matrix that holds anything at all; None for everything else, and where more is kept.

    max_weights: how many weights may be kept; they are copied only where no more are.
    """
    geometry = geometry_of(request)
    if geometry is None:
        return None
    matrix = reference.matrix_of(request.words, geometry)
    rows, columns = alive(matrix)
    if not rows.any():
        return None
    shape = (int(rows.sum()), int(columns.sum()))
    if math.prod(shape) > max_weights:
        return None
    if choose(shape).view != "matrix":  # padding would cost more than some empty rows and columns
        rows, columns = _filled(rows, PANEL_ROWS), _filled(columns, CHUNK_COLUMNS)
        shape = (int(rows.sum()), int(columns.sum()))
        if choose(shape).view != "matrix" or math.prod(shape) > max_weights:
            return None
    words = reference.take(matrix, rows, columns)
    inner = replace(request, words=words, orientation="out_in", view="", int4_columns=None)
    return Found(geometry, rows, columns, inner)


def _filled(kept: np.ndarray, multiple: int) -> np.ndarray:
    """Returns what is kept with the first others, as many as make a multiple."""
    kept = kept.copy()
    kept[np.flatnonzero(~kept)[: -int(kept.sum()) % multiple]] = True
    return kept


def candidate_for(request: Request, rows: tuple[Formulation, ...]) -> Candidate:
    """kept: the formulation of what is kept; the other parameters are its own."""
    parameters, by_name = dict(request.parameters), {row.NAME: row for row in rows}
    name = parameters.pop(KEPT, rows[0].NAME)
    if not isinstance(name, str) or name not in by_name:
        raise ArgumentError(f"unknown kept {name!r}: use one of {', '.join(by_name)}")
    found = find(request)
    if found is None:
        raise ArgumentError(
            "submatrix needs a matrix with orientation 'out_in', or the kernels of a convolution, with at least 16 rows, "
            "one of which is not empty"
        )
    inner = replace(found.request, parameters=parameters)
    if by_name[name] is dense.dense and not parameters:
        return _candidate(found, _dense(inner))
    one = by_name[name].candidate_for(inner)
    if one.geometry.view != "matrix":
        raise ArgumentError(f"submatrix cannot keep a tensor under {name!r} that is seen as {one.geometry.view!r}")
    return _candidate(found, one)


def _candidate(found: Found, one: Candidate) -> Candidate:
    rows, columns = found.request.words.shape
    return Candidate(
        Kernel(one.kernel),
        found.geometry,
        sum(component_bytes(found.geometry).values()) + one.nbytes,
        one.padded_weights,
        one.entries,
        one,
        node=node(rows, columns, one.node),
        components=lambda threads: found.components() | prefixed(KEPT, one.components(threads)),
        options={KEPT: one.node.formulation, **one.options},
    )
