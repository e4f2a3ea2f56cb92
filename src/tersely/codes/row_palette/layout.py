"""How `row_palette` stores weights that have few distinct words in each row, or in each group of a row's columns.

Each row of each group has a table of words. Tables lie panel by panel, group by group, 16 rows side by side; a
tensor's *places* are panels x groups. Weights are indices into their own table, stored in one of two ways, as the
numbers of `affine` are:

    lines     fields of 1, 2, 4 or 8 bits; with up to 4 bits, products go through them as they are
    coded     a child `indices`: a tensor of bytes of the same shape under `split`, whose symbol is the whole byte

A table has its finite words by falling count first (ties by rising word), then infinities and NaN likewise, then words
of zero bits up to the tensor's number of entries. One without finite words has a word of zero bits in front: padding has
index 0, and a product multiplies it by zero.

FORMAT: docs/FORMAT.md, "The formulation row_palette".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tersely.codes.affine.layout import BITS, GROUP_COLUMNS, panel_line_bytes
from tersely.core.dtypes import by_name
from tersely.core.encoded import Node, index_bytes, stream_bytes
from tersely.core.errors import UnsupportedError
from tersely.core.geometry import PANEL_ROWS, Geometry

NAME = "row_palette"
VERSION = 1
DTYPES: tuple[str, ...] = ("float32", "bfloat16", "float16")
MOST_ENTRIES = 256
MOST_SHARE = 4
"""A table has at most one word for so many of its columns: with more, it would outweigh what indices save."""

TABLES, INDICES = "tables", "indices"
"""The component of tables; that of lines, and the child of coded indices."""
INDEX_DTYPE = "index"
"""What `split` calls a tensor of bytes that are all symbol."""


@dataclass(frozen=True)
class Tables:
    """What a node says. columns: of a group, 0 for all of a row; entries: words of each table; bits: of fields in lines,
    None where indices are coded."""

    columns: int
    entries: int
    bits: int | None

    def groups(self, geometry: Geometry) -> int:
        """Groups of a row."""
        return 1 if self.columns == 0 else -(-geometry.columns // self.columns)

    def places(self, geometry: Geometry) -> int:
        return geometry.panels * self.groups(geometry)

    def table_words(self, geometry: Geometry) -> int:
        """Words of all tables, those of padding among them."""
        return self.places(geometry) * PANEL_ROWS * self.entries

    def component_bytes(self, geometry: Geometry, dtype: str) -> dict[str, int]:
        """Stored bytes of the tables, and of indices that lie in lines."""
        sizes = {TABLES: index_bytes(self.table_words(geometry) * by_name(dtype).bits // 8)}
        if self.bits is not None:
            sizes[INDICES] = stream_bytes(geometry.panels * panel_line_bytes(geometry, self.bits))
        return sizes

    def node(self, indices: Node | None = None) -> Node:
        """indices: the child, where they are coded."""
        parameters = {"columns": self.columns, "entries": self.entries}
        if self.bits is not None:
            parameters["bits"] = self.bits
        return Node(NAME, VERSION, parameters, {} if indices is None else {INDICES: indices})

    @staticmethod
    def of(found: Node) -> Tables:
        """Of a node, which is checked down to its child's name. Raises UnsupportedError."""
        if found.version != VERSION:
            raise UnsupportedError(
                f"formulation 'row_palette' version {found.version}: this tersely reads version {VERSION}; use a newer "
                "release"
            )
        child = found.children.get(INDICES)
        if not set(found.children) <= {INDICES} or (child is not None and child.formulation != "split"):
            raise UnsupportedError(
                "row_palette has at most one child, its indices, under 'split'; the file is damaged or needs a newer "
                "tersely"
            )
        given: dict[str, Any] = dict(found.parameters)
        columns, entries = given.pop("columns", None), given.pop("entries", None)
        bits = given.pop("bits", None) if child is None else 8
        fits = not given and all(type(value) is int for value in (columns, entries, bits))
        if not fits or columns not in (0, *GROUP_COLUMNS) or bits not in BITS or not 1 <= entries <= 1 << bits:
            raise UnsupportedError(
                "row_palette has parameters columns (0 or a power of two from 16 to 1,024), entries (1 to 256) and, "
                "without child, bits (1, 2, 4 or 8, enough for them); the file is damaged or needs a newer tersely"
            )
        return Tables(columns, entries, None if child is not None else bits)


def field_bits(entries: int) -> int:
    """Of a field in lines that holds so many indices."""
    return next(bits for bits in BITS if entries <= 1 << bits)


def most_entries(geometry: Geometry, columns: int) -> int:
    """Words that a table may have, at so many columns a group, 0 for all."""
    return min(MOST_ENTRIES, max(1, (columns or geometry.columns) // MOST_SHARE))
