"""`submatrix`: which rows and columns are kept, and what they hold as a matrix of its own under another formulation.

FORMAT: docs/FORMAT.md, "Submatrix".
"""

from __future__ import annotations

from tersely.core.encoded import Node, index_bytes
from tersely.core.geometry import Geometry

NAME = "submatrix"
VERSION = 1
FLOATS: tuple[str, ...] = ("float32", "bfloat16", "float16")
BYTES: tuple[str, ...] = ("int8", "uint8")
DTYPES: tuple[str, ...] = (*FLOATS, *BYTES, "int16", "uint16")
ROWS = "rows"
COLUMNS = "columns"
KEPT = "kept"
"""The child: what is left when the other rows and columns are taken out."""


def node(rows: int, columns: int, kept: Node) -> Node:
    """rows, columns: how many are kept."""
    return Node(NAME, VERSION, {"rows": rows, "columns": columns}, {KEPT: kept})


def component_bytes(geometry: Geometry) -> dict[str, int]:
    """Stored bytes of both bitmaps."""
    return {ROWS: index_bytes(-(-geometry.rows // 8)), COLUMNS: index_bytes(-(-geometry.columns // 8))}
