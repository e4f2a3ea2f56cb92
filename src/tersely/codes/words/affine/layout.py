"""How `affine` stores weights that quantising to integers and back left: scale x (number - zero), rounded.

Each row has its scale and zero, or each *group* of a row's columns has. They lie panel by panel, group by group, 16 rows
side by side, as kernels take them. Numbers are stored as `row_fields` says.

A weight of -0.0 has the number that 0.0 has, and one bit of a list says which of the two it is.

    weight = dtype(float32(scale x (number - zero)))

FORMAT: docs/FORMAT.md, "Scales and tables by rows".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tersely.codes.words.affine.row_fields import Grouping, columns_and_bits, panel_bytes
from tersely.core.dtypes import by_name
from tersely.core.encoded import Node, index_bytes, stream_bytes
from tersely.core.errors import UnsupportedError
from tersely.core.geometry import PANEL_ROWS, Geometry

NAME = "affine"
VERSION = 1
DTYPES: tuple[str, ...] = ("float32", "bfloat16", "float16")
NUMBERS = "numbers"
"""The component of row fields, and the child of coded numbers."""
SCALES, ZEROS, SIGNS, DIRECTORY = "scales", "zeros", "signs", "directory"
MAX_ZERO = 4096
"""How far from 0 a zero may lie: with more, the sums that products take it off by leave their integers."""
MIN_SCALE, MAX_SCALE = 2.0**-126, 2.0**64
"""Beyond them, kernels would meet subnormal floats, which processors may be told to take for zero, or infinities."""
SIGNED_ZERO = 128
"""The zero from which numbers under `sparse` count as signed bytes do: kernels take them as they lie."""
NEGATIVE_ZERO = 255
"""The number that no weight has in a tensor with a list of signs: kernels put it where -0.0 is."""


@dataclass(frozen=True)
class Scaling(Grouping):
    """What a node says of scales and zeros.

    columns: of a group, 0 for all of a row. dtype: of scales. zero: of all groups, None where each has its own.
    signed_zeros: there is a list of the signs of zeros. bits: of row fields, None where numbers are coded.
    """

    columns: int
    dtype: str
    zero: int | None
    signed_zeros: bool
    bits: int | None

    def component_bytes(self, geometry: Geometry) -> dict[str, int]:
        """Stored bytes of scales, of zeros where groups have their own, of numbers in row fields."""
        count = self.all_groups(geometry) * PANEL_ROWS
        sizes = {SCALES: index_bytes(count * by_name(self.dtype).bits // 8)}
        if self.zero is None:
            sizes[ZEROS] = index_bytes(count * 2)
        if self.bits is not None:
            sizes[NUMBERS] = stream_bytes(geometry.panels * panel_bytes(geometry, self.bits))
        return sizes

    def node(self, numbers: Node | None = None) -> Node:
        """numbers: the child, where they are coded."""
        parameters: dict[str, Any] = {"columns": self.columns, "scale_dtype": self.dtype}
        if self.zero is not None:
            parameters["zero"] = self.zero
        if self.signed_zeros:
            parameters["signed_zeros"] = True
        if self.bits is not None:
            parameters["bits"] = self.bits
        return Node(NAME, VERSION, parameters, {} if numbers is None else {NUMBERS: numbers})

    @staticmethod
    def parse(found: Node) -> Scaling:
        """Inverse of `node`. Raises UnsupportedError."""
        given = dict(found.parameters)
        dtype, zero, signed = given.pop("scale_dtype", None), given.pop("zero", 0), given.pop("signed_zeros", True)
        grouping = columns_and_bits(given, bool(found.children))
        if given or grouping is None or dtype not in DTYPES or type(zero) is not int:
            raise _unsupported()
        if abs(zero) > MAX_ZERO or signed is not True:
            raise _unsupported()
        own = found.parameters
        return Scaling(grouping[0], dtype, own.get("zero"), "signed_zeros" in own, grouping[1])


def _unsupported() -> UnsupportedError:
    return UnsupportedError(
        "affine has parameters columns (0 or a power of two from 16 to 1,024), scale (a dtype) and, without child, bits (1, "
        f"2, 4 or 8), and may have zero (up to {MAX_ZERO} from 0) and signed_zeros (true); the file is damaged or needs a "
        "newer tersely"
    )


def side_by_side(of_rows: np.ndarray, geometry: Geometry, padding: float) -> np.ndarray:
    """[count, rows, groups] as [groups, 16]: the order of scales and zeros. padding: of rows that there are not."""
    count, rows, groups = of_rows.shape
    padded = np.full((count, geometry.panels_per_matrix * PANEL_ROWS, groups), padding, of_rows.dtype)
    padded[:, :rows] = of_rows
    return np.ascontiguousarray(padded.reshape(-1, PANEL_ROWS, groups).swapaxes(1, 2)).reshape(-1, PANEL_ROWS)


def by_rows(groups: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Inverse of `side_by_side`."""
    panels = groups.reshape(geometry.panels, -1, PANEL_ROWS).swapaxes(1, 2)
    return panels.reshape(geometry.count, -1, panels.shape[2])[:, : geometry.rows]


def by_weights(groups: np.ndarray, geometry: Geometry, columns: int) -> np.ndarray:
    """[count, rows, columns]: what each weight's group has. columns: of a group, 0 for all."""
    return np.repeat(by_rows(groups, geometry), columns or max(1, geometry.columns), axis=2)[:, :, : geometry.columns]
