"""How `palette` stores a tensor of few distinct words: a table of them, and for each weight its index in there.

The table has the finite words by falling count first (ties by rising word), then infinities and NaN likewise, so that
padding, which has index 0, is finite: a product multiplies it by zero. A tensor without finite words gets a word of
zero bits in front. Indices have `index_bits(entries)` bits and are stored in one of three ways:

    packed    chunks of 64, in slices of 4, 2 and 1 bits, which kernels look up as they are
    coded     a child `indices`: a tensor of bytes of the same shape under `split`, whose symbol is the whole byte
    integers  where words are a grid (`grid`), in the order of their values: a child `indices` of `integer`, uint8

FORMAT: docs/FORMAT.md, "A table for the tensor".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tersely.codes.layouts import Groups
from tersely.codes.words.palette.grid import Grid
from tersely.core.dtypes import by_name
from tersely.core.encoded import Node, index_bytes, stream_bytes
from tersely.core.errors import ArgumentError, UnsupportedError

NAME = "palette"
VERSION = 1
DTYPES: tuple[str, ...] = ("float32", "bfloat16", "float16")
MAX_ENTRIES = 256

TABLE = "table"
INDICES = "indices"
"""The component of packed indices, and the child of all others."""
LOW = "low"
"""The component of packed low bits below coded indices."""
PACKED_BITS = "packed_bits"
"""The parameter: how many bits of an index are packed where a child codes the others."""
NUMBER_DTYPE = "uint8"
"""The dtype of indices that are numbers."""


def index_bits(entries: int) -> int:
    """Bits of an index into so many words."""
    return max(1, (entries - 1).bit_length())


def bit_fields(bits: int) -> tuple[int, ...]:
    """Widths of the slices of packed indices of so many bits, from the lowest bits up."""
    return (8,) if bits == 8 else tuple(width for width in (4, 2, 1) if bits & width)


@dataclass(frozen=True)
class Indices:
    """A node's parameters. entries: words in the table. grid: of indices as integers. coded: a child has the indices,
    low_bits: of each, packed beside it: only values of sparse tensors have both.
    """

    entries: int
    coded: bool = False
    low_bits: int = 0
    grid: Grid | None = None

    @property
    def bits(self) -> int:
        """Bits of an index."""
        return index_bits(self.entries)

    @property
    def packed(self) -> str:
        """The component of packed bits."""
        return LOW if self.coded else INDICES

    @property
    def packed_bits(self) -> int:
        return self.low_bits if self.coded else self.bits

    def sizes(self, dtype: str, chunks: int) -> dict[str, int]:
        """Stored bytes of the components, without those of the child."""
        found = {TABLE: index_bytes(self.entries * by_name(dtype).bits // 8)}
        return found | ({self.packed: stream_bytes(chunks * 8 * self.packed_bits)} if self.packed_bits else {})

    def table(self, components: Mapping[str, np.ndarray], word: np.dtype) -> np.ndarray:
        """The words of a table component."""
        return components[TABLE][: self.entries * word.itemsize].view(word)

    def node(self, child: Node | None) -> Node:
        """child: the indices, where they are coded or integers."""
        parameters = {"entries": self.entries} | ({PACKED_BITS: self.low_bits} if self.low_bits else {})
        parameters |= {} if self.grid is None else self.grid.parameters()
        return Node(NAME, VERSION, parameters, {} if child is None else {INDICES: child})

    @staticmethod
    def parse(found: Node, layout: object) -> Indices:
        """Inverse of `node`. Raises UnsupportedError."""
        child, values = found.children.get(INDICES), isinstance(layout, Groups)
        numbers = child is not None and child.formulation == "integer"
        given = dict(found.parameters)
        low_bits = given.pop(PACKED_BITS, 0) if values and child is not None else 0
        entries = given.pop("entries", None)
        if set(given) != ({"scale", "zero"} if numbers else set()) or type(entries) is not int:
            raise _unsupported()
        if not 1 <= entries <= MAX_ENTRIES or (numbers and values):
            raise _unsupported()
        if PACKED_BITS in found.parameters and (type(low_bits) is not int or not 1 <= low_bits < index_bits(entries)):
            raise UnsupportedError(
                "values under 'palette' have packed_bits only beside coded indices, and fewer than an index has; "
                "the file is damaged or needs a newer tersely"
            )
        grid = Grid.parse(found.parameters) if numbers else None
        if numbers and grid is None:
            raise UnsupportedError("palette has a scale or a zero that no grid has; the file is damaged")
        return Indices(entries, child is not None, low_bits, grid)


def _unsupported() -> UnsupportedError:
    return UnsupportedError(
        f"palette has one parameter, entries (1 to {MAX_ENTRIES}), and with indices under 'integer', which values have not, "
        "scale and zero; the file is damaged or needs a newer tersely"
    )


def table_order(words: np.ndarray, counts: np.ndarray, dtype: str) -> np.ndarray:
    """Distinct words in the order of the table. Raises ArgumentError for more than 256."""
    exponent = {"float32": 0x7F800000, "bfloat16": 0x7F80, "float16": 0x7C00}[dtype]
    non_finite = words & exponent == exponent
    found = words[np.lexsort((words, -counts.astype(np.int64), non_finite))]
    if non_finite.all():
        found = np.concatenate([np.zeros(1, words.dtype), found])
    if found.size > MAX_ENTRIES:
        raise ArgumentError(f"palette holds at most {MAX_ENTRIES} distinct words, and the tensor has more")
    return found
