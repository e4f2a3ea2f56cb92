"""How `row_palette` stores weights that have few distinct words in each row, or in each group of a row's columns.

Each row of each group has a table of words. Tables lie panel by panel, group by group, 16 rows side by side. Weights
are indices into their own table, stored as `affine.row_fields` says; with up to 4 bits, products go through them as
they are.

A table has its finite words by falling count first (ties by rising word), then infinities and NaN likewise, then words
of zero bits up to the tensor's number of entries. One without finite words has a word of zero bits in front: padding
has index 0, and a product multiplies it by zero.

FORMAT: docs/FORMAT.md, "Scales and tables by rows".
"""

from __future__ import annotations

from dataclasses import dataclass

from tersely.codes.words.affine.row_fields import BITS, Grouping, columns_and_bits, panel_bytes
from tersely.core.dtypes import by_name
from tersely.core.encoded import Node, index_bytes, stream_bytes
from tersely.core.errors import UnsupportedError
from tersely.core.geometry import PANEL_ROWS, Geometry

NAME = "row_palette"
VERSION = 1
DTYPES: tuple[str, ...] = ("float32", "bfloat16", "float16")
MAX_ENTRIES = 256
COLUMNS_PER_WORD = 4
"""A table has at most one word for so many of its columns: with more, it would outweigh what indices save."""

TABLES, INDICES = "tables", "indices"
"""The component of tables; that of row fields, and the child of coded indices."""


@dataclass(frozen=True)
class Tables(Grouping):
    """What a node says. columns: of a group, 0 for all of a row; entries: words of each table; bits: of row fields,
    None where indices are coded."""

    columns: int
    entries: int
    bits: int | None

    def table_words(self, geometry: Geometry) -> int:
        """Words of all tables, those of padding among them."""
        return self.all_groups(geometry) * PANEL_ROWS * self.entries

    def component_bytes(self, geometry: Geometry, dtype: str) -> dict[str, int]:
        """Stored bytes of the tables, and of indices in row fields."""
        sizes = {TABLES: index_bytes(self.table_words(geometry) * by_name(dtype).bits // 8)}
        if self.bits is not None:
            sizes[INDICES] = stream_bytes(geometry.panels * panel_bytes(geometry, self.bits))
        return sizes

    def node(self, indices: Node | None = None) -> Node:
        """indices: the child, where they are coded."""
        parameters = {"columns": self.columns, "entries": self.entries}
        if self.bits is not None:
            parameters["bits"] = self.bits
        return Node(NAME, VERSION, parameters, {} if indices is None else {INDICES: indices})

    @staticmethod
    def parse(found: Node) -> Tables:
        """Inverse of `node`. Raises UnsupportedError."""
        given = dict(found.parameters)
        entries, grouping = given.pop("entries", None), columns_and_bits(given, bool(found.children))
        if grouping is not None and not given and type(entries) is int and 1 <= entries <= 1 << (grouping[1] or 8):
            return Tables(grouping[0], entries, grouping[1])
        raise UnsupportedError(
            "row_palette has parameters columns (0 or a power of two from 16 to 1,024), entries (1 to 256) and, "
            "without child, bits (1, 2, 4 or 8, enough for them); the file is damaged or needs a newer tersely"
        )


def field_bits(entries: int) -> int:
    """Bits of a row field that holds so many indices."""
    return next(bits for bits in BITS if entries <= 1 << bits)


def max_entries(geometry: Geometry, columns: int) -> int:
    """Words that a table may have, at so many columns a group, 0 for all."""
    return min(MAX_ENTRIES, max(1, (columns or geometry.columns) // COLUMNS_PER_WORD))
