"""How `sparse` says where the non-zero words are, and in which order they follow.

A word is zero where all its bits are: -0.0 is a value. Positions are one of

    bitmap    a 64-bit mask for each chunk of 16 rows x 4 columns; the words under its bits follow in the order of the
              places, chunk by chunk. Rank inside a segment is popcount, across segments a directory.
    deltas    for each row the gaps between the columns of its words, a byte each; a gap over 255 is cut by fillers,
              words of zero bits. Rows are sorted by their number of entries inside windows of 256 rows, and 16 of
              them lie side by side as lanes, 4 entries of each a block, so that one gather serves 16 rows.

FORMAT: docs/FORMAT.md, "The formulation sparse".
"""

from __future__ import annotations

import numpy as np

from laconic.encoded import Node
from laconic.errors import ArgumentError, UnsupportedError

NAME = "sparse"
VERSION = 1
DTYPES: tuple[str, ...] = ("float32", "bfloat16", "float16")
POSITIONS: tuple[str, ...] = ("bitmap", "deltas")

WINDOW_ROWS = 256
LARGEST_GAP = 255
BLOCK_STEPS = 4

VALUES = "values"
VALUE_BYTES = "values.bytes"
"""The words that are not zero, under the child `values`, in order."""


def places(dtype: str) -> np.ndarray:
    """int64 [16, 4]: the bit of (row, column) in its chunk's mask, in which order expanding makes 16 rows a vector."""
    row, column = np.mgrid[0:16, 0:4]
    if dtype == "bfloat16":
        return column // 2 * 32 + row * 2 + column % 2
    return column * 16 + row


def node(positions: str) -> Node:
    return Node(NAME, VERSION, {"positions": positions}, {VALUES: Node("dense", 1)})


def positions_of(found: Node) -> str:
    """The positions of a node, checked. Raises UnsupportedError."""
    if found.version != VERSION:
        raise UnsupportedError(
            f"formulation 'sparse' version {found.version}: this laconic reads version {VERSION}; use a newer release"
        )
    positions = found.parameters.get("positions")
    if set(found.parameters) != {"positions"} or positions not in POSITIONS:
        raise UnsupportedError(
            f"sparse has one parameter, positions ({', '.join(POSITIONS)}); the file is damaged or needs a newer laconic"
        )
    if set(found.children) != {VALUES}:
        raise UnsupportedError("sparse has one child, its values; the file is damaged or needs a newer laconic")
    child = found.children[VALUES]
    if child.formulation != "dense" or child.version != 1 or child.parameters or child.children:
        raise UnsupportedError(
            f"values of sparse under formulation {child.formulation!r} version {child.version}: this laconic reads "
            "'dense' version 1; use a newer release"
        )
    return str(positions)


def check_positions(value: object) -> str:
    """The caller's positions. Raises ArgumentError."""
    if value not in POSITIONS:
        raise ArgumentError(f"unknown positions {value!r}: use one of {', '.join(POSITIONS)}")
    return str(value)
