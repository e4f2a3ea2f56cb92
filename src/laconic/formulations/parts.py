"""Parts and joins of coded tensors by their stored bytes, where a formulation's bytes can be taken as they are.

A part is whole matrices of a stack, or rows of a matrix that begin and end with segments; a join puts such parts of equal
description one after another. Everything else is None, and the caller codes anew or keeps the pieces apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from laconic.encoded import Encoded
from laconic.formulations.palette import parts as palette
from laconic.formulations.split import parts as split
from laconic.formulations.split.layout import Parameters
from laconic.geometry import PANEL_ROWS, Geometry

Span = tuple[int, int]


@dataclass(frozen=True)
class _Row:
    """cut: a run of panels that are whole segments. pack: components of runs, or None where they do not fit."""

    cut: Callable[[Encoded, Geometry, Span, Span], Any]
    pack: Callable[[Encoded, Sequence[Any]], Mapping[str, np.ndarray] | None]


def _split_parameters(encoded: Encoded) -> Parameters:
    return Parameters.from_json(dict(encoded.node.parameters))


ROWS = {
    "split": _Row(
        lambda encoded, geometry, panels, segments: split.cut(
            encoded.components, encoded.dtype, geometry, _split_parameters(encoded), panels, segments
        ),
        lambda like, runs: split.pack(runs, _split_parameters(like)),
    ),
    "palette": _Row(palette.cut, palette.pack),
}
"""Formulations whose runs stand alone. The others have a directory or a dictionary of the whole tensor."""


def take(encoded: Encoded, first: int, last: int, *, squeezed: bool = False) -> Encoded | None:
    """Rows [first, last) of the first dimension of a valid tensor; squeezed: row `first` alone, without its dimension."""
    row, geometry = ROWS.get(encoded.node.formulation), _geometry(encoded)
    if row is None or first >= last or not geometry.segments:
        return None
    if geometry.view == "stack":
        shape = encoded.shape[1:] if squeezed else (last - first, *encoded.shape[1:])
        run = _matrices(row, encoded, geometry, first, last)
        return _packed(row, encoded, [run], shape, "matrix" if squeezed else "stack")
    rows = geometry.panels_per_unit * PANEL_ROWS
    whole = first % rows == 0 and (last % rows == 0 or last == geometry.rows)
    if squeezed or geometry.view == "folded" or geometry.orientation == "in_out" or not whole:
        return None
    panels, units = (first // PANEL_ROWS, -(-last // PANEL_ROWS)), (first // rows, -(-last // rows))
    segments = (units[0] * geometry.segments_per_panel, units[1] * geometry.segments_per_panel)
    run = row.cut(encoded, geometry, panels, segments)
    return _packed(row, encoded, [run], (last - first, *encoded.shape[1:]), encoded.view)


def join(kind: str, dim: int, tensors: Sequence[Encoded]) -> Encoded | None:
    """Valid tensors as one: kind 'stack' of matrices, or 'cat' along dimension `dim` of matrices or stacks."""
    like, geometries = tensors[0], [_geometry(tensor) for tensor in tensors]
    row = ROWS.get(like.node.formulation)
    if row is None or not all(geometry.segments for geometry in geometries) or not _alike(tensors, kind, dim):
        return None
    pairs = list(zip(tensors, geometries, strict=True))
    lengths = [tensor.shape[dim] for tensor in tensors]
    if kind == "stack" or dim == 0:
        runs = [_matrices(row, tensor, geometry, 0, geometry.count) for tensor, geometry in pairs]
    else:
        count = range(geometries[0].count)
        runs = [_matrices(row, tensor, geometry, k, k + 1) for k in count for tensor, geometry in pairs]
    if kind == "stack":
        return _packed(row, like, runs, (len(tensors), *like.shape), "stack")
    rows_joined = dim == len(like.shape) - 2
    unit = geometries[0].panels_per_unit * PANEL_ROWS
    if rows_joined and (like.orientation == "in_out" or any(length % unit for length in lengths[:-1])):
        return None
    return _packed(row, like, runs, (*like.shape[:dim], sum(lengths), *like.shape[dim + 1 :]), like.view)


def _geometry(encoded: Encoded) -> Geometry:
    return Geometry(encoded.shape, encoded.view, encoded.orientation, encoded.column_order)


def _alike(tensors: Sequence[Encoded], kind: str, dim: int) -> bool:
    """Whether tensors are coded under one description and have the shapes that the join asks for."""
    first = tensors[0]
    views = ("matrix",) if kind == "stack" else ("matrix", "stack")
    if first.view not in views or dim not in range(len(first.shape) - 1):
        return False

    def of(tensor: Encoded) -> tuple[Any, ...]:
        others = tensor.shape if kind == "stack" else (*tensor.shape[:dim], *tensor.shape[dim + 1 :])
        return (tensor.dtype, tensor.view, tensor.orientation, tensor.node, others)

    return all(of(tensor) == of(first) for tensor in tensors[1:])


def _matrices(row: _Row, encoded: Encoded, geometry: Geometry, first: int, last: int) -> Any:
    panels = geometry.panels_per_matrix
    segments = geometry.units_per_matrix * geometry.segments_per_panel
    return row.cut(encoded, geometry, (first * panels, last * panels), (first * segments, last * segments))


def _packed(row: _Row, like: Encoded, runs: Sequence[Any], shape: tuple[int, ...], view: str) -> Encoded | None:
    components = row.pack(like, runs)
    return None if components is None else replace(like, shape=shape, view=view, components=components)
