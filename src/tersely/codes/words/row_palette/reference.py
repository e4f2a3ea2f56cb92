"""`row_palette` in plain NumPy: which words tables have, encode, decode. Slow, short, and the oracle of every kernel.

FORMAT: docs/FORMAT.md, "Scales and tables by rows".
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tersely.codes.words.affine.layout import by_rows, side_by_side
from tersely.codes.words.row_palette.layout import TABLES, Tables
from tersely.core.geometry import PANEL_ROWS, Geometry

_EXPONENT = {"float32": 0x7F800000, "bfloat16": 0x7F80, "float16": 0x7C00}


def table_of(words: np.ndarray, dtype: str) -> np.ndarray:
    """The distinct words of a group in the order of its table."""
    distinct, counts = np.unique(words, return_counts=True)
    non_finite = distinct & _EXPONENT[dtype] == _EXPONENT[dtype]
    found = distinct[np.lexsort((distinct, -counts, non_finite))]
    return np.concatenate([np.zeros(1, words.dtype), found]) if non_finite.all() else found


def entries_of(words: np.ndarray, geometry: Geometry, dtype: str, columns: int, limit: int) -> int:
    """How many words the largest table needs; 0 where one needs more than `limit`. columns: of a group, 0 for all."""
    cube, _ = geometry.matrices(words)
    width, entries = columns or max(1, geometry.columns), 1
    for row in cube.reshape(-1, geometry.columns):
        for first in range(0, geometry.columns, width):
            entries = max(entries, table_of(row[first : first + width], dtype).size)
            if entries > limit:
                return 0
    return entries


def encode(
    words: np.ndarray, geometry: Geometry, dtype: str, columns: int, entries: int
) -> tuple[np.ndarray, np.ndarray]:
    """Tables [groups, 16, entries]; uint8 index of each weight, in the tensor's shape."""
    cube, _ = geometry.matrices(words)
    width = columns or max(1, geometry.columns)
    groups = -(-geometry.columns // width)
    tables = np.zeros((geometry.count, geometry.rows, groups, entries), words.dtype)
    indices = np.zeros(cube.shape, np.uint8)
    for matrix, row, group in np.ndindex(geometry.count, geometry.rows, groups):
        part = slice(group * width, (group + 1) * width)
        own = cube[matrix, row, part]
        table = table_of(own, dtype)
        tables[matrix, row, group, : table.size] = table
        order = np.argsort(table, kind="stable")
        at = np.searchsorted(table[order], own, side="right") - 1  # of two words of zero bits the later: none is added
        indices[matrix, row, part] = order[at]
    side = [side_by_side(tables[..., entry], geometry, 0) for entry in range(entries)]
    return np.ascontiguousarray(np.stack(side, axis=2)), geometry.tensor(indices)


def decode(
    components: Mapping[str, np.ndarray], geometry: Geometry, word: np.dtype, tables: Tables, indices: np.ndarray
) -> np.ndarray:
    """The tensor's words, from its indices and valid components. Indices beyond a table stand for its last word."""
    count = tables.table_words(geometry)
    found = components[TABLES][: count * word.itemsize].view(word).reshape(-1, PANEL_ROWS, tables.entries)
    cube, _ = geometry.matrices(indices)
    of_rows = np.stack([by_rows(found[..., entry], geometry) for entry in range(tables.entries)], axis=3)
    width = tables.columns or max(1, geometry.columns)
    group = np.arange(geometry.columns) // width
    matrix, row = np.ogrid[: geometry.count, : geometry.rows]
    index = np.minimum(cube, tables.entries - 1).astype(np.intp)
    return geometry.tensor(of_rows[matrix[..., None], row[..., None], group, index])
