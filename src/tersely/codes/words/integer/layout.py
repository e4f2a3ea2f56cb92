"""How `integer` stores 8-bit weights: fields of a few bits above a base, and a list of the weights they cannot hold.

Two other ways have modules of their own, `distances` and `nibbles`: for 16 bits, for the smallest size, for 4-bit
pairs.

The *level* of a weight counts from its dtype's smallest value: int8 -128 has level 0, uint8 5 has level 5. A *group* of
rows, one unit of the geometry, has its own number of bits and its own base; a field is level - base. So small integers
stay integers, and a product multiplies fields and takes the base off once: sum (base + f) x = sum f x + base sum x.

A *block* is 16 rows x 16 columns: four chunks, or eight half-chunks of 8 rows x 4 columns, row by row. Its bits lie in
slices of 8, 4, 2 and 1 bits, the binary digits of their number, so that fields are masked and shifted out of whole
registers:

    slice of width w    w runs of 32 bytes; byte b of run r holds field b of the half-chunks r 8/w, r 8/w + 1, ...,
                        the first of them in its lowest w bits

FORMAT: docs/FORMAT.md, "Fields by blocks".
"""

from __future__ import annotations

import numpy as np

from tersely.core.geometry import Geometry

NAME = "integer"
VERSION = 1
NIBBLE_BITS = 4
BYTES: tuple[str, ...] = ("int8", "uint8")
DTYPES: tuple[str, ...] = (*BYTES, "int16", "uint16")
DISTANCES, NIBBLES = "distances", "nibbles"
"""The child that a node may have; one without has fields, which only BYTES can be."""

BLOCK_COLUMNS = 16
BLOCK_WEIGHTS = 256
RUN_BYTES = 32
MAX_BITS = 8
ESCAPE_BYTES = 3
"""Two for the position, one for the weight."""


def flip(dtype: str) -> int:
    """What a word and its level differ by, as an exclusive or."""
    return 0x80 if dtype == "int8" else 0


def bit_fields(bits: int) -> list[int]:
    """Widths of the slices of a block, lowest bits of the fields first."""
    return [width for width in (8, 4, 2, 1) if bits & width]


def blocks_per_panel(geometry: Geometry) -> int:
    return -(-geometry.columns // BLOCK_COLUMNS)


def unit_panels(geometry: Geometry) -> np.ndarray:
    """int64 [units]: panels of each group."""
    if not geometry.segments:
        return np.zeros(0, np.int64)
    panels, per_unit = geometry.panels_per_matrix, geometry.panels_per_unit
    return np.tile(np.minimum(per_unit, panels - np.arange(0, panels, per_unit)), geometry.count)


def field_bytes(geometry: Geometry, bits: np.ndarray) -> np.ndarray:
    """int64 [units]: bytes of the fields of each group."""
    return unit_panels(geometry) * blocks_per_panel(geometry) * RUN_BYTES * bits.astype(np.int64)
