"""Parts and joins of coded tensors by their stored bytes, where a formulation's bytes can be taken as they are.

A part is whole matrices of a stack, or rows of a matrix that begin and end where the formulation begins anew (a segment;
a window of 256 rows under gaps); a join puts such parts of equal description one after another. No weight is decoded.
Everything else is None, and the caller codes anew or keeps the pieces apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tersely.backends.cpu.float_environment import under_default
from tersely.codes.affine import parts as affine
from tersely.codes.block_sparse import parts as block_sparse
from tersely.codes.blocks import parts as blocks
from tersely.codes.integer import parts as integer
from tersely.codes.palette import parts as palette
from tersely.codes.row_palette import parts as row_palette
from tersely.codes.sparse import parts as sparse
from tersely.codes.split import parts as split
from tersely.codes.split.layout import Parameters
from tersely.core.encoded import Encoded
from tersely.core.geometry import PANEL_ROWS, Geometry

Span = tuple[int, int]


def _panels_of_segments(encoded: Encoded, geometry: Geometry) -> int:
    return geometry.panels_per_unit


@dataclass(frozen=True)
class _Row:
    """cut: a run of panels. pack: a tensor of runs with the shape of the first one's tensor, or None where they do not
    fit. step: of a matrix's rows, runs begin at multiples of so many panels.
    """

    cut: Callable[[Encoded, Geometry, Span], Any]
    pack: Callable[[Encoded, Sequence[Any]], Encoded | None]
    step: Callable[[Encoded, Geometry], int] = _panels_of_segments


def _split_parameters(encoded: Encoded) -> Parameters:
    return Parameters.from_json(dict(encoded.node.parameters))


ROWS = {
    "split": _Row(
        lambda encoded, geometry, panels: split.cut(
            encoded.components, encoded.dtype, geometry, _split_parameters(encoded), panels
        ),
        lambda like, runs: replace(like, components=split.pack(runs, _split_parameters(like))),
    ),
    "palette": _Row(palette.cut, palette.pack),
    "row_palette": _Row(row_palette.cut, row_palette.pack),
    "affine": _Row(affine.cut, affine.pack),
    "sparse": _Row(sparse.cut, sparse.pack, sparse.step),
    "integer": _Row(integer.cut, integer.pack, integer.step),
    "blocks": _Row(blocks.cut, blocks.pack, blocks.step),
    "block_sparse": _Row(block_sparse.cut, block_sparse.pack, block_sparse.step),
    # What is kept of a part begins anywhere in what is kept of the whole, so only the whole is a part of itself.
    "submatrix": _Row(
        lambda encoded, geometry, panels: encoded,
        lambda like, runs: runs[0] if len(runs) == 1 else None,
        lambda encoded, geometry: geometry.panels,
    ),
}


@under_default
def take(encoded: Encoded, first: int, last: int, *, squeezed: bool = False) -> Encoded | None:
    """Rows [first, last) of the first dimension of a valid tensor; squeezed: row `first` alone, without its dimension."""
    row, geometry = ROWS.get(encoded.node.formulation), _geometry(encoded)
    if row is None or first >= last or not geometry.segments:
        return None
    if geometry.view == "stack":
        shape = encoded.shape[1:] if squeezed else (last - first, *encoded.shape[1:])
        run = _matrices(row, encoded, geometry, first, last)
        return _packed(row, encoded, [run], shape, "matrix" if squeezed else "stack")
    if squeezed or geometry.view == "folded" or geometry.orientation == "in_out":
        return None
    rows = row.step(encoded, geometry) * PANEL_ROWS
    if first % rows or (last % rows and last != geometry.rows):
        return None
    run = row.cut(encoded, geometry, (first // PANEL_ROWS, -(-last // PANEL_ROWS)))
    return _packed(row, encoded, [run], (last - first, *encoded.shape[1:]), encoded.view)


@under_default
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
    unit = row.step(like, geometries[0]) * PANEL_ROWS
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
    return row.cut(encoded, geometry, (first * panels, last * panels))


def _packed(row: _Row, like: Encoded, runs: Sequence[Any], shape: tuple[int, ...], view: str) -> Encoded | None:
    packed = row.pack(like, runs)
    return None if packed is None else replace(packed, shape=shape, view=view)
