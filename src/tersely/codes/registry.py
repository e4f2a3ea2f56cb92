"""The closed list of formulations, one row each, and what is asked of a coded tensor whatever its formulation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tersely.backends.cpu import native
from tersely.backends.cpu.float_environment import under_default
from tersely.backends.cpu.threads import workers_of
from tersely.codes import node
from tersely.codes.checks import MAX_BYTES, decoded_bytes, too_large
from tersely.codes.node import Checked, Formulation
from tersely.codes.protocol import Work
from tersely.codes.selection.block_sparse.formulation import block_sparse
from tersely.codes.selection.blocks.formulation import blocks
from tersely.codes.selection.signed_zeros.formulation import signed_zeros
from tersely.codes.selection.sparse.formulation import sparse
from tersely.codes.selection.submatrix.formulation import submatrix
from tersely.codes.words.affine.formulation import affine
from tersely.codes.words.dense.formulation import Kernel, dense
from tersely.codes.words.integer.formulation import integer
from tersely.codes.words.palette.formulation import palette
from tersely.codes.words.row_palette.formulation import row_palette
from tersely.codes.words.split.formulation import split
from tersely.core.dtypes import by_name
from tersely.core.encoded import Encoded
from tersely.core.errors import ArgumentError, UnsupportedError
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
    signed_zeros,
)
BY_NAME = {row.NAME: row for row in ROWS}
NAMES = tuple(BY_NAME)
DENSE = dense
"""What every tensor falls back to."""


def codes(dtype: str) -> bool:
    """Whether any formulation but `dense` codes a dtype."""
    return any(dtype in row.DTYPES for row in ROWS if row is not dense)


def named(formulation: object) -> Formulation:
    """The row that a caller names. Raises ArgumentError."""
    if not isinstance(formulation, str) or formulation not in BY_NAME:
        raise ArgumentError(f"unknown formulation {formulation!r}: use one of {', '.join(NAMES)}")
    return BY_NAME[formulation]


@under_default
def check(encoded: Encoded | Checked) -> Checked:
    """A tensor whose structure is known to be sound: everything but payload is checked, once.

    Raises CorruptError or UnsupportedError naming component and byte.
    """
    if isinstance(encoded, Checked):
        return encoded
    row = BY_NAME.get(encoded.node.formulation)
    if row is None:
        raise UnsupportedError(
            f"unknown formulation {encoded.node.formulation!r}: this tersely reads {', '.join(NAMES)}; "
            "use a newer release"
        )
    return node.check(encoded, row)


@under_default
def decode(tensor: Encoded | Checked, threads: int | None = None) -> np.ndarray:
    """The tensor, every bit of it, in its own shape and dtype. Allocates just the tensor; dense ones are a view.

    Raises TooLargeError where memory does not hold it, and what `check` raises.
    """
    checked = check(tensor)
    encoded, row, dtype = checked.encoded, checked.row, by_name(checked.encoded.dtype)
    if decoded_bytes(encoded) >= MAX_BYTES:
        raise too_large(encoded)
    workers = 1 if row is dense else workers_of(threads)
    try:
        found = matrix(checked)
        if found is None:
            words = row.words(checked.root)
            return words if row is dense else words.view(dtype.numpy)
        out = np.empty(encoded.shape, dtype.word)
        found.decode(out, workers)
        return out.view(dtype.numpy)
    except MemoryError:
        raise too_large(encoded) from None


@under_default
def work(tensor: Encoded | Checked) -> Work | None:
    """What the cost model must know of a tensor; None where its formulation does not say."""
    checked = check(tensor)
    return checked.row.work(checked.root)


@under_default
def matrix(tensor: Encoded | Checked) -> Any:
    """The native matrix over the components of a tensor; None (dense, or no native module).

    Raises TooLargeError where memory does not hold what it needs: an offset for each column of a convolution.
    """
    checked = check(tensor)
    if checked.row is dense:
        return None
    try:
        return native.open_matrix(checked.encoded)
    except MemoryError:
        raise too_large(checked.encoded, "an index of its columns") from None


def dense_work(geometry: Geometry, nbytes: int) -> Work:
    """What the cost model must know of a plain tensor of so many bytes."""
    return Work(Kernel(), geometry, nbytes)


def label(tree: Mapping[str, Any]) -> str:
    """Returns a tree of nodes, as a description has it, in a few characters.

    What a node holds follows in parentheses, except for what lies dense: 'split layered(2,2)', 'sparse bitmap',
    'signed_zeros (sparse bitmap (split packed(4)))'.
    """
    inner = [label(child) for child in tree.get("children", {}).values() if child["formulation"] != dense.NAME]
    return node_label(tree) + (f" ({', '.join(inner)})" if inner else "")


def node_label(tree: Mapping[str, Any]) -> str:
    """Returns the root of a tree alone in a few characters, for where its children are shown beside it."""
    formulation = str(tree["formulation"])
    row = BY_NAME.get(formulation)
    return formulation if row is None else row.label(tree.get("parameters", {}), tree.get("children", {}))
