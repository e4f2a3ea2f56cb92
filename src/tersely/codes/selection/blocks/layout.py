"""Shapes of blocks, and a matrix as blocks.

    row      one row of all columns         1x4, 1x8   one row of 4 or 8 columns
    chunk    16 rows x 4 columns            16x1       16 rows of one column

A panel has as many blocks as it has rows (row), groups of columns x 16 rows (1x4, 1x8), or columns or chunks. A block
of 16 rows holds its words column by column; whole rows are kept 16 side by side, likewise column by column.

FORMAT: docs/FORMAT.md, "Blocks".
"""

from __future__ import annotations

import numpy as np

from tersely.codes.selection.sparse.reference import rows_of
from tersely.core.geometry import PANEL_ROWS, Geometry

NAME = "blocks"
VERSION = 1
DTYPES: tuple[str, ...] = ("float32", "bfloat16", "float16")
SHAPES = ("row", "1x4", "1x8", "16x1", "chunk")
"""Shapes of blocks in the order in which the native module numbers them."""
NARROWER = {"1x8": "1x4", "chunk": "16x1"}
"""The shape that a block is whole blocks of."""
MAX_BLOCKS = 1 << 16
"""FORMAT: indices have at most 16 bits."""

TABLE = "table"
TABLE_BYTES = "table.bytes"

_COLUMNS = {"1x4": 4, "1x8": 8, "16x1": 1, "chunk": 4}


def width(shape: str, geometry: Geometry) -> int:
    """Columns of a block; whole rows are padded to chunks."""
    return geometry.chunks_per_panel * 4 if shape == "row" else _COLUMNS[shape]


def height(shape: str) -> int:
    return 1 if shape in ("row", "1x4", "1x8") else PANEL_ROWS


def panel_blocks(shape: str, geometry: Geometry) -> int:
    """Blocks of a panel, padding among them."""
    if shape == "row":
        return PANEL_ROWS
    across = -(-geometry.columns // width(shape, geometry))
    return across * (PANEL_ROWS if height(shape) == 1 else 1)


def indices(shape: str, geometry: Geometry) -> int:
    """Indices of a panel: its blocks, padded to whole groups of eight."""
    return -(-panel_blocks(shape, geometry) // 8) * 8


def block_words(shape: str, geometry: Geometry) -> int:
    return width(shape, geometry) * height(shape)


def stored_words(shape: str, count: int, geometry: Geometry) -> int:
    """Words that so many blocks take: whole rows come in groups of 16."""
    if shape == "row":
        count = -(-count // PANEL_ROWS) * PANEL_ROWS
    return count * block_words(shape, geometry)


def to_blocks(words: np.ndarray, geometry: Geometry, shape: str) -> np.ndarray:
    """The words as [panels, blocks of one, words of a block], zeros beyond the real ones."""
    columns = width(shape, geometry)
    rows = rows_of(words, geometry)
    rows = np.pad(rows, ((0, 0), (0, -geometry.columns % max(1, columns))))
    if shape == "row":
        return rows.reshape(geometry.panels, PANEL_ROWS, columns)
    grouped = rows.reshape(geometry.panels, PANEL_ROWS, -(-geometry.columns // columns), columns)
    grouped = grouped.transpose(0, 2, 1, 3) if height(shape) == 1 else grouped.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(grouped).reshape(
        geometry.panels, panel_blocks(shape, geometry), block_words(shape, geometry)
    )


def from_blocks(blocks: np.ndarray, geometry: Geometry, shape: str) -> np.ndarray:
    """Inverse of `to_blocks`: the tensor's words."""
    columns = width(shape, geometry)
    across = -(-geometry.columns // columns) if columns else 0
    if shape != "row":
        if height(shape) == 1:
            grouped = blocks.reshape(geometry.panels, across, PANEL_ROWS, columns).transpose(0, 2, 1, 3)
        else:
            grouped = blocks.reshape(geometry.panels, across, columns, PANEL_ROWS).transpose(0, 3, 1, 2)
        blocks = np.ascontiguousarray(grouped)
    rows = blocks.reshape(geometry.count, geometry.panels_per_matrix * PANEL_ROWS, across * columns)
    return geometry.tensor(np.ascontiguousarray(rows[:, : geometry.rows, : geometry.columns]))


def real_blocks(geometry: Geometry, shape: str) -> np.ndarray:
    """bool [panels, blocks of one]: those of rows that the matrix has; blocks of 16 rows are all real."""
    if height(shape) > 1:
        return np.ones((geometry.panels, panel_blocks(shape, geometry)), bool)
    row = np.arange(geometry.panels)[:, None] % geometry.panels_per_matrix * PANEL_ROWS + np.arange(PANEL_ROWS)
    return np.tile(row < geometry.rows, (1, panel_blocks(shape, geometry) // PANEL_ROWS))


def shelve(blocks: np.ndarray, shape: str) -> np.ndarray:
    """Blocks [count, words] as they are stored: whole rows 16 side by side."""
    if shape != "row":
        return blocks
    padded = np.pad(blocks, ((0, -len(blocks) % PANEL_ROWS), (0, 0)))
    return np.ascontiguousarray(
        padded.reshape(len(padded) // PANEL_ROWS, PANEL_ROWS, blocks.shape[1]).transpose(0, 2, 1)
    )


def unshelve(stored: np.ndarray, count: int, shape: str, geometry: Geometry) -> np.ndarray:
    """Inverse of `shelve` on as many words as `stored_words` says: [count, words]."""
    words = block_words(shape, geometry)
    if shape != "row":
        return stored.reshape(count, words)
    shelves = stored.reshape(-(-count // PANEL_ROWS), words, PANEL_ROWS)
    return np.ascontiguousarray(shelves.transpose(0, 2, 1)).reshape(len(shelves) * PANEL_ROWS, words)[:count]


def picked(stored: np.ndarray, which: np.ndarray, shape: str, geometry: Geometry) -> np.ndarray:
    """Some of the stored blocks by their numbers: [numbers, words]."""
    words = block_words(shape, geometry)
    if shape != "row":
        return stored[: stored.size // words * words].reshape(-1, words)[which]
    shelf = words * PANEL_ROWS
    shelves = stored[: stored.size // shelf * shelf].reshape(-1, words, PANEL_ROWS)
    return np.ascontiguousarray(shelves[which // PANEL_ROWS, :, which % PANEL_ROWS])


def index_bits(count: int) -> int:
    """Bits of an index into so many blocks; none where there is one."""
    return max(0, count - 1).bit_length()
