"""`submatrix`: which rows and columns are kept, and what they hold as a matrix of its own under another formulation.

FORMAT: docs/FORMAT.md, "The formulation submatrix".
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tersely.core.encoded import Encoded, Node, index_bytes
from tersely.core.geometry import Geometry

NAME = "submatrix"
VERSION = 1
DTYPES: tuple[str, ...] = ("float32", "bfloat16", "float16")
ROWS = "rows"
COLUMNS = "columns"
KEPT = "kept"
"""The child: what is left when the other rows and columns are taken out."""
PREFIX = f"{KEPT}."


def node(rows: int, columns: int, kept: Node) -> Node:
    """rows, columns: how many are kept."""
    return Node(NAME, VERSION, {"rows": rows, "columns": columns}, {KEPT: kept})


def component_bytes(geometry: Geometry) -> dict[str, int]:
    """Stored bytes of both bitmaps."""
    return {ROWS: index_bytes(-(-geometry.rows // 8)), COLUMNS: index_bytes(-(-geometry.columns // 8))}


def kept_of(encoded: Encoded) -> Encoded:
    """What is kept as a tensor of its own."""
    found = encoded.node
    shape = (int(found.parameters["rows"]), int(found.parameters["columns"]))
    own = {name[len(PREFIX) :]: data for name, data in encoded.components.items() if name.startswith(PREFIX)}
    return Encoded(shape, encoded.dtype, "matrix", "out_in", "as_is", found.children[KEPT], own)


def prefixed(components: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Components of what is kept by the names that they have in the tensor."""
    return {PREFIX + name: data for name, data in components.items()}
