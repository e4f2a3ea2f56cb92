"""Slices and joins of coded tensors by their stored bytes, where a formulation's bytes can be taken as they are.

A slice is whole matrices of a stack, or rows of a matrix that begin and end where the formulation begins anew (a
segment; a window of 256 rows under gaps); a join puts such slices of equal description one after another. No weight is
decoded. Everything else is None, and the caller codes anew or keeps the pieces apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tersely.backends.cpu.float_environment import under_default
from tersely.codes.node import Checked, Part, Run, Span, prefixed
from tersely.core.encoded import Encoded, Node, index_bytes, stream_bytes
from tersely.core.geometry import PANEL_ROWS


@under_default
def take(checked: Checked, first: int, last: int, *, squeezed: bool = False) -> Encoded | None:
    """Rows [first, last) of the first dimension; squeezed: row `first` alone, without its dimension."""
    root, geometry, encoded = checked.root, checked.geometry, checked.encoded
    if first >= last or not geometry.segments:
        return None
    if geometry.view == "stack":
        shape = encoded.shape[1:] if squeezed else (last - first, *encoded.shape[1:])
        run = _matrices(root, first, last)
        return _packed(checked, [run], shape, "matrix" if squeezed else "stack")
    if squeezed or geometry.view == "folded" or geometry.orientation == "in_out":
        return None
    rows = root.row.step(root) * PANEL_ROWS
    if first % rows or (last % rows and last != geometry.rows):
        return None
    run = slice_panels(root, root.span(first // PANEL_ROWS, -(-last // PANEL_ROWS)))
    return _packed(checked, [run], (last - first, *encoded.shape[1:]), encoded.view)


@under_default
def join(kind: str, dim: int, tensors: Sequence[Checked]) -> Encoded | None:
    """Tensors as one: kind 'stack' of matrices, or 'cat' along dimension `dim` of matrices or stacks."""
    first, like = tensors[0], tensors[0].encoded
    if not all(one.geometry.segments for one in tensors) or not _alike([one.encoded for one in tensors], kind, dim):
        return None
    lengths = [one.encoded.shape[dim] for one in tensors]
    if kind == "stack" or dim == 0:
        runs = [_matrices(one.root, 0, one.geometry.count) for one in tensors]
    else:
        count = range(first.geometry.count)
        runs = [_matrices(one.root, k, k + 1) for k in count for one in tensors]
    if kind == "stack":
        return _packed(first, runs, (len(tensors), *like.shape), "stack")
    rows_joined = dim == len(like.shape) - 2
    unit = first.row.step(first.root) * PANEL_ROWS
    if rows_joined and (like.orientation == "in_out" or any(length % unit for length in lengths[:-1])):
        return None
    return _packed(first, runs, (*like.shape[:dim], sum(lengths), *like.shape[dim + 1 :]), like.view)


def slice_panels(part: Part, span: Span) -> Run | None:
    """What a node and its children have of a run of whole segments; None where they cannot be taken apart."""
    run = part.row.slice_panels(part, span)
    if run is None:
        return None
    for name, child in part.children.items():
        own = part.row.child_span(part, name, span)
        if own is None:
            continue
        inner = slice_panels(child, own)
        if inner is None:
            return None
        run.children[name] = inner
    return run


def pack(part: Part, runs: Sequence[Run]) -> tuple[Node, dict[str, np.ndarray]] | None:
    """The node and the components of runs one after another, as they lie in a tensor like `part`."""
    own = part.row.pack(part, runs)
    return concatenated(part, runs) if own is NotImplemented else own


def concatenated(part: Part, runs: Sequence[Run]) -> tuple[Node, dict[str, np.ndarray]] | None:
    """`pack` as most formulations have it: bytes after bytes, directories counted anew.

    None where what must be the same in all runs is not.
    """
    first, indexes = runs[0], part.row.INDEXES
    components = dict(first.shared)
    for name, data in first.shared.items():
        if not all(np.array_equal(run.shared[name], data) for run in runs[1:]):
            return None
    for name in first.streams:
        components[name] = joined([run.streams[name] for run in runs], name in indexes)
    for name in first.bits:
        bits = np.packbits(np.concatenate([run.bits[name] for run in runs]), bitorder="little")
        components[name] = joined([bits], name in indexes)
    for name, counts in first.counts.items():
        every = np.concatenate([np.zeros((1, *counts.shape[1:]), "<u8"), *(run.counts[name] for run in runs)])
        components[name] = joined([np.cumsum(every, axis=0, dtype="<u8")], True)
    children = {}
    for name, child in part.children.items():
        packed = pack(child, [run.children[name] for run in runs])
        if packed is None:
            return None
        children[name] = packed[0]
        components |= prefixed(name, packed[1])
    return replace(part.node, children=children), components


def joined(pieces: Sequence[np.ndarray], index: bool = False) -> np.ndarray:
    """Arrays one after another as a component of their bytes. index: without slack."""
    raw = [np.ascontiguousarray(piece).reshape(-1).view(np.uint8) for piece in pieces]
    used = sum(piece.size for piece in raw)
    out, at = np.zeros(index_bytes(used) if index else stream_bytes(used), np.uint8), 0
    for piece in raw:
        out[at : at + piece.size] = piece
        at += piece.size
    return out


def _alike(tensors: Sequence[Encoded], kind: str, dim: int) -> bool:
    """Whether tensors are coded under one description and have the shapes that the join asks for."""
    first = tensors[0]
    views = ("matrix",) if kind == "stack" else ("matrix", "stack")
    if first.view not in views or dim not in range(len(first.shape) - 1):
        return False

    def described(tensor: Encoded) -> tuple[object, ...]:
        others = tensor.shape if kind == "stack" else (*tensor.shape[:dim], *tensor.shape[dim + 1 :])
        return (tensor.dtype, tensor.view, tensor.orientation, tensor.node, others)

    return all(described(tensor) == described(first) for tensor in tensors[1:])


def _matrices(root: Part, first: int, last: int) -> Run | None:
    panels = root.layout.panels_per_matrix
    return slice_panels(root, root.span(first * panels, last * panels))


def _packed(like: Checked, runs: Sequence[Run | None], shape: tuple[int, ...], view: str) -> Encoded | None:
    whole = [run for run in runs if run is not None]
    packed = pack(like.root, whole) if len(whole) == len(runs) else None
    if packed is None:
        return None
    node, components = packed
    return replace(like.encoded, shape=shape, view=view, node=node, components=components)
