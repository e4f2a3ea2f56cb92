"""`block_sparse`: a bit for every block that has a word that is not zero, and those blocks.

FORMAT: docs/FORMAT.md, "Blocks".
"""

from __future__ import annotations

from tersely.codes.selection.blocks.layout import panel_blocks, stored_words
from tersely.core.encoded import index_bytes, stream_bytes
from tersely.core.geometry import Geometry

NAME = "block_sparse"
VERSION = 1
BYTES: tuple[str, ...] = ("int8", "uint8")
DTYPES: tuple[str, ...] = ("float32", "bfloat16", "float16", *BYTES)
SHAPES = ("row", "16x1", "chunk")
VALUES = "values"
VALUE_BYTES = "values.bytes"


def mask_words(shape: str, geometry: Geometry) -> int:
    """64-bit words of a panel's mask."""
    return -(-panel_blocks(shape, geometry) // 64)


def component_bytes(shape: str, kept: int, geometry: Geometry, word_bytes: int) -> dict[str, int]:
    """Stored bytes of each component for so many blocks that are kept."""
    return {
        "masks": stream_bytes(geometry.panels * mask_words(shape, geometry) * 8),
        "directory": index_bytes((geometry.panels + 1) * 8),
        VALUE_BYTES: stream_bytes(stored_words(shape, kept, geometry) * word_bytes),
    }
