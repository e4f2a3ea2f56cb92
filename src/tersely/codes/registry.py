"""The closed list of formulations, one row each, and what is asked of a coded tensor whatever its formulation."""

from __future__ import annotations

import numpy as np

from tersely.backends.cpu import native
from tersely.backends.cpu.float_environment import under_default
from tersely.backends.cpu.threads import workers_of
from tersely.codes.affine import formulation as affine
from tersely.codes.block_sparse import formulation as block_sparse
from tersely.codes.blocks import formulation as blocks
from tersely.codes.checks import MOST_BYTES, decoded_bytes, too_large
from tersely.codes.dense import formulation as dense
from tersely.codes.integer import formulation as integer
from tersely.codes.palette import formulation as palette
from tersely.codes.protocol import Formulation, Work
from tersely.codes.row_palette import formulation as row_palette
from tersely.codes.sparse import formulation as sparse
from tersely.codes.split import formulation as split
from tersely.codes.submatrix import formulation as submatrix
from tersely.core.encoded import Encoded
from tersely.core.errors import ArgumentError, CorruptError, UnsupportedError
from tersely.core.geometry import Geometry

ROWS: tuple[Formulation, ...] = (
    dense,
    split,
    sparse,
    integer,
    palette,
    row_palette,
    affine,
    blocks,
    block_sparse,
    submatrix,
)
BY_NAME = {row.NAME: row for row in ROWS}
NAMES = tuple(BY_NAME)


def codes(dtype: str) -> bool:
    """Whether any formulation but `dense` codes a dtype."""
    return any(dtype in row.DTYPES for row in ROWS if row is not dense)


def row_of(encoded: Encoded) -> Formulation:
    """The row of a tensor's root node. Raises UnsupportedError."""
    row = BY_NAME.get(encoded.node.formulation)
    if row is None:
        raise UnsupportedError(
            f"unknown formulation {encoded.node.formulation!r}: this tersely reads {', '.join(NAMES)}; "
            "use a newer release"
        )
    return row


def geometry_of(encoded: Encoded) -> Geometry:
    """How the tensor is seen as matrices. Raises CorruptError where the description contradicts its shape."""
    try:
        return Geometry(encoded.shape, encoded.view, encoded.orientation, encoded.column_order)
    except ArgumentError as error:
        raise CorruptError(str(error), component="info") from error


@under_default
def validate(encoded: Encoded) -> None:
    """Check everything but payload. Raises CorruptError or UnsupportedError naming component and byte."""
    row_of(encoded).validate(encoded, geometry_of(encoded))


@under_default
def decode(encoded: Encoded, threads: int | None = None) -> np.ndarray:
    """The tensor, every bit of it, in its own shape and dtype. Validates first; allocates just the tensor.

    Raises TooLargeError where memory does not hold it.
    """
    validate(encoded)
    if decoded_bytes(encoded) >= MOST_BYTES:
        raise too_large(encoded)
    row = row_of(encoded)
    try:
        return row.decode(encoded, geometry_of(encoded), 1 if row is dense else workers_of(threads))
    except MemoryError:
        raise too_large(encoded) from None


@under_default
def work(encoded: Encoded) -> Work | None:
    """What the cost model must know of a validated tensor; None where its formulation does not say."""
    known = getattr(row_of(encoded), "work", None)
    return None if known is None else known(encoded, geometry_of(encoded))


@under_default
def matrix(encoded: Encoded) -> native.module.Matrix | None:
    """The native matrix over the components of a validated tensor; None (dense, or no native module).

    Raises TooLargeError where memory does not hold what it needs: an offset for each column of a convolution.
    """
    try:
        return None if row_of(encoded) is dense else native.open_matrix(encoded)
    except MemoryError:
        raise too_large(encoded, "an index of its columns") from None
