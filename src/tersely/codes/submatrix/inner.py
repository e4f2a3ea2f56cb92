"""The formulations that what is kept may be under: those with products of their own."""

from __future__ import annotations

from tersely.codes.affine import formulation as affine
from tersely.codes.block_sparse import formulation as block_sparse
from tersely.codes.blocks import formulation as blocks
from tersely.codes.palette import formulation as palette
from tersely.codes.protocol import Formulation
from tersely.codes.row_palette import formulation as row_palette
from tersely.codes.sparse import formulation as sparse
from tersely.codes.split import formulation as split
from tersely.core.encoded import Node
from tersely.core.errors import ArgumentError, UnsupportedError

ROWS: tuple[Formulation, ...] = (split, sparse, palette, row_palette, affine, blocks, block_sparse)
BY_NAME = {row.NAME: row for row in ROWS}


def row_of(node: Node) -> Formulation:
    """The row of a child. Raises UnsupportedError."""
    row = BY_NAME.get(node.formulation)
    if row is None:
        raise UnsupportedError(
            f"a submatrix under formulation {node.formulation!r}: this tersely reads {', '.join(BY_NAME)}; use a newer release"
        )
    return row


def row_named(name: object) -> Formulation:
    """The row that a caller names. Raises ArgumentError."""
    if not isinstance(name, str) or name not in BY_NAME:
        raise ArgumentError(f"unknown kept {name!r}: use one of {', '.join(BY_NAME)}")
    return BY_NAME[name]
