"""How `integer` stores 8-bit weights: fields of a few bits above a base, and a list of the weights they cannot hold.

Two other ways have modules of their own, `distances` and `nibbles`: for 16 bits, for the smallest size, for 4-bit pairs.

The *level* of a weight counts from its dtype's smallest value: int8 -128 has level 0, uint8 5 has level 5. A *group* of
rows, one unit of the geometry, has its own number of bits and its own base; a field is level - base. So small integers
stay integers, and a product multiplies fields and takes the base off once: sum (base + f) x = sum f x + base sum x.

A *block* is 16 rows x 16 columns: four chunks, or eight half-chunks of 8 rows x 4 columns, row by row. Its bits lie in
parts of 8, 4, 2 and 1 bits, the binary digits of their number, so that fields are masked and shifted out of whole
registers:

    part of width w     w runs of 32 bytes; byte b of run r holds field b of the half-chunks r 8/w, r 8/w + 1, ...,
                        the first of them in its lowest w bits

FORMAT: docs/FORMAT.md, "The formulation integer".
"""

from __future__ import annotations

import numpy as np

from tersely.core.encoded import Node
from tersely.core.errors import UnsupportedError
from tersely.core.geometry import Geometry

NAME = "integer"
VERSION = 1
NIBBLE_BITS = 4
BYTES: tuple[str, ...] = ("int8", "uint8")
DTYPES: tuple[str, ...] = (*BYTES, "int16", "uint16")
CHILDREN = ("distances", "nibbles")
"""One of these, or none: then weights are fields, which only BYTES can be."""
COMPONENTS = ("fields", "groups", "directory", "places", "escapes")

BLOCK_COLUMNS = 16
BLOCK_WEIGHTS = 256
RUN_BYTES = 32
MOST_BITS = 8
ESCAPE_BYTES = 3
"""Two for the place, one for the weight."""


def flip(dtype: str) -> int:
    """What a word and its level differ by, as an exclusive or."""
    return 0x80 if dtype == "int8" else 0


def parts(bits: int) -> list[int]:
    """Widths of the parts of a block, lowest bits of the fields first."""
    return [width for width in (8, 4, 2, 1) if bits & width]


def blocks_per_panel(geometry: Geometry) -> int:
    return -(-geometry.columns // BLOCK_COLUMNS)


def unit_panels(geometry: Geometry) -> np.ndarray:
    """int64 [units]: panels of each group."""
    if not geometry.segments:
        return np.zeros(0, np.int64)
    whole, per_unit = geometry.panels_per_matrix, geometry.panels_per_unit
    return np.tile(np.minimum(per_unit, whole - np.arange(0, whole, per_unit)), geometry.count)


def field_bytes(geometry: Geometry, bits: np.ndarray) -> np.ndarray:
    """int64 [units]: bytes of the fields of each group."""
    return unit_panels(geometry) * blocks_per_panel(geometry) * RUN_BYTES * bits.astype(np.int64)


def check_node(found: Node, dtype: str) -> str:
    """The child of a node, or ''. Raises UnsupportedError for a node that this release cannot read."""
    if found.version != VERSION:
        raise UnsupportedError(
            f"formulation 'integer' version {found.version}: this tersely reads version {VERSION}; use a newer release"
        )
    child = next(iter(found.children), "")
    if len(found.children) > 1 or child not in ("", *CHILDREN) or (not child and found.parameters):
        raise UnsupportedError(
            f"formulation 'integer' has one child, {' or '.join(CHILDREN)}, or neither child nor parameters; the file is "
            "damaged or needs a newer tersely"
        )
    if child:
        below = found.children[child]
        known = (("split", 1), (NAME, VERSION)) if child == "nibbles" else (("split", 1),)
        fields = (below.formulation, below.version) == (NAME, VERSION)
        if (below.formulation, below.version) not in known or (fields and (below.children or below.parameters)):
            allowed = " or ".join(f"{name!r} version {version}" for name, version in known)
            raise UnsupportedError(
                f"formulation 'integer' has {child} under {allowed} only, fields without children and parameters; the "
                "file is damaged or needs a newer tersely"
            )
    if not child and dtype not in BYTES:
        raise UnsupportedError(f"formulation 'integer' has no fields of {dtype}; the file is damaged")
    return child
