"""How `affine` stores weights that quantising to whole numbers and back left: scale x (number - zero), rounded.

Each row has its scale and zero, or each *group* of a row's columns has. They lie panel by panel, group by group, 16 rows
side by side, as kernels take them; a tensor's *places* are panels x groups. Numbers are stored in one of two ways:

    lines     fields of 1, 2, 4 or 8 bits, 64 bytes of a row at a time, which products go through as they are
    coded     a child `numbers`: a tensor of bytes of the same shape under `split`, whose symbol is the whole byte

A weight of -0.0 has the number that 0.0 has, and one bit of a list says which of the two it is.

    weight = dtype(float32(scale x (number - zero)))

FORMAT: docs/FORMAT.md, "The formulation affine".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tersely.core.dtypes import by_name
from tersely.core.encoded import Node, index_bytes, stream_bytes
from tersely.core.errors import UnsupportedError
from tersely.core.geometry import PANEL_ROWS, SEGMENT_COLUMNS, Geometry

NAME = "affine"
VERSION = 1
DTYPES: tuple[str, ...] = ("float32", "bfloat16", "float16")
GROUP_COLUMNS = (1024, 512, 256, 128, 64, 32, 16)
"""Columns that a group may have where it has not all of its row: whole groups lie in a segment."""
assert all(SEGMENT_COLUMNS % columns == 0 for columns in GROUP_COLUMNS)

NUMBERS = "numbers"
"""The component of lines, and the child of coded numbers."""
NUMBER_DTYPE = "index"
"""What `split` calls a tensor of bytes that are all symbol."""
BITS = (1, 2, 4, 8)
"""Of a field."""
LINE_BYTES = 64
STEP_COLUMNS = 16
"""Neighbouring columns that one field of every dword of a line holds."""
SCALES, ZEROS, SIGNS, DIRECTORY = "scales", "zeros", "signs", "directory"
MOST_ZERO = 4096
"""How far from 0 a zero may lie: with more, the sums that products take it off by leave their integers."""
LEAST_SCALE, MOST_SCALE = 2.0**-126, 2.0**64
"""With others, kernels would meet subnormal floats, which processors may be told to take for zero, or infinities."""
NEGATIVE_ZERO = 255
"""The number that no weight has in a tensor with a list of signs: kernels put it where -0.0 is."""


@dataclass(frozen=True)
class Scaling:
    """What a node says of scales and zeros.

    columns: of a group, 0 for all of a row. dtype: of scales. zero: of all groups, None where each has its own.
    signed_zeros: there is a list of the signs of zeros. bits: of fields in lines, None where numbers are coded.
    """

    columns: int
    dtype: str
    zero: int | None
    signed_zeros: bool
    bits: int | None

    def groups(self, geometry: Geometry) -> int:
        """Groups of a row."""
        return 1 if self.columns == 0 else -(-geometry.columns // self.columns)

    def places(self, geometry: Geometry) -> int:
        return geometry.panels * self.groups(geometry)

    def component_bytes(self, geometry: Geometry) -> dict[str, int]:
        """Stored bytes of scales, of zeros where groups have their own, of numbers that lie in lines."""
        count = self.places(geometry) * PANEL_ROWS
        sizes = {SCALES: index_bytes(count * by_name(self.dtype).bits // 8)}
        if self.zero is None:
            sizes[ZEROS] = index_bytes(count * 2)
        if self.bits is not None:
            sizes[NUMBERS] = stream_bytes(geometry.panels * panel_line_bytes(geometry, self.bits))
        return sizes

    def node(self, numbers: Node | None = None) -> Node:
        """numbers: the child, where they are coded."""
        parameters: dict[str, Any] = {"columns": self.columns, "scale": self.dtype}
        if self.zero is not None:
            parameters["zero"] = self.zero
        if self.signed_zeros:
            parameters["signed_zeros"] = 1
        if self.bits is not None:
            parameters["bits"] = self.bits
        return Node(NAME, VERSION, parameters, {} if numbers is None else {NUMBERS: numbers})

    @staticmethod
    def of(found: Node) -> Scaling:
        """Of a node, which is checked down to its child's name. Raises UnsupportedError."""
        if found.version != VERSION:
            raise UnsupportedError(
                f"formulation 'affine' version {found.version}: this tersely reads version {VERSION}; use a newer release"
            )
        child = found.children.get(NUMBERS)
        if not set(found.children) <= {NUMBERS} or (child is not None and child.formulation != "split"):
            raise UnsupportedError(
                "affine has at most one child, its numbers, under 'split'; the file is damaged or needs a newer tersely"
            )
        given = dict(found.parameters)
        columns, dtype = given.pop("columns", None), given.pop("scale", None)
        bits = given.pop("bits", None) if child is None else 8
        zero, signed = given.pop("zero", 0), given.pop("signed_zeros", 1)
        fits = not given and all(type(value) is int for value in (columns, bits, zero, signed))
        if not fits or columns not in (0, *GROUP_COLUMNS) or dtype not in DTYPES or bits not in BITS:
            raise _unsupported()
        if abs(zero) > MOST_ZERO or signed != 1:
            raise _unsupported()
        own = found.parameters
        return Scaling(columns, dtype, own.get("zero"), "signed_zeros" in own, None if child is not None else bits)


def _unsupported() -> UnsupportedError:
    return UnsupportedError(
        "affine has parameters columns (0 or a power of two from 16 to 1,024), scale (a dtype) and, without child, bits (1, "
        f"2, 4 or 8), and may have zero (up to {MOST_ZERO} from 0) and signed_zeros (1); the file is damaged or needs a "
        "newer tersely"
    )


def line_columns(bits: int) -> int:
    """Columns of a line."""
    return 8 * LINE_BYTES // bits


def panel_line_bytes(geometry: Geometry, bits: int) -> int:
    """Bytes of the lines of a panel."""
    return -(-geometry.columns // line_columns(bits)) * PANEL_ROWS * LINE_BYTES


def side_by_side(of_rows: np.ndarray, geometry: Geometry, padding: float) -> np.ndarray:
    """[count, rows, groups] as [places, 16]: the order of scales and zeros. padding: of rows that there are not."""
    count, rows, groups = of_rows.shape
    padded = np.full((count, geometry.panels_per_matrix * PANEL_ROWS, groups), padding, of_rows.dtype)
    padded[:, :rows] = of_rows
    return np.ascontiguousarray(padded.reshape(-1, PANEL_ROWS, groups).swapaxes(1, 2)).reshape(-1, PANEL_ROWS)


def by_rows(places: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Inverse of `side_by_side`."""
    panels = places.reshape(geometry.panels, -1, PANEL_ROWS).swapaxes(1, 2)
    return panels.reshape(geometry.count, -1, panels.shape[2])[:, : geometry.rows]


def by_weights(places: np.ndarray, geometry: Geometry, columns: int) -> np.ndarray:
    """[count, rows, columns]: what each weight's group has. columns: of a group, 0 for all."""
    return np.repeat(by_rows(places, geometry), columns or max(1, geometry.columns), axis=2)[:, :, : geometry.columns]
