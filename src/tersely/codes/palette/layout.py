"""How `palette` stores a tensor of few distinct words: a table of them, and for each weight its index in there.

The table has the finite words by falling count first (ties by rising word), then infinities and NaN likewise, so that
padding, which has index 0, is finite: a product multiplies it by zero. A tensor without finite words gets a word of
zero bits in front. Indices have `index_bits(entries)` bits and are stored in one of three ways:

    packed    chunks of 64, in parts of 4, 2 and 1 bits, which kernels look up as they are
    coded     a child `indices`: a tensor of bytes of the same shape under `split`, whose symbol is the whole byte
    held      where words are a grid (`grid`), in the order of their values: a child `indices` of `integer`, uint8

FORMAT: docs/FORMAT.md, "The formulation palette".
"""

from __future__ import annotations

import numpy as np

from tersely.codes.palette.grid import Grid
from tersely.core.encoded import Node
from tersely.core.errors import ArgumentError, UnsupportedError

NAME = "palette"
VERSION = 1
DTYPES: tuple[str, ...] = ("float32", "bfloat16", "float16")
MOST_ENTRIES = 256

TABLE = "table"
INDICES = "indices"
"""The component of packed indices, and the child of all others."""
INDEX_DTYPE = "index"
"""What `split` calls a tensor of indices."""


def index_bits(entries: int) -> int:
    """Bits of an index into so many words."""
    return max(1, (entries - 1).bit_length())


def parts(bits: int) -> tuple[int, ...]:
    """Widths of the parts that packed indices of so many bits are cut into, from the lowest bits up."""
    return (8,) if bits == 8 else tuple(width for width in (4, 2, 1) if bits & width)


def node(entries: int, indices: Node | None, grid: Grid | None = None) -> Node:
    """indices: the child, or None where they are packed. grid: of indices that `integer` holds."""
    parameters = {"entries": entries} | ({} if grid is None else grid.parameters())
    return Node(NAME, VERSION, parameters, {} if indices is None else {INDICES: indices})


def entries_of(found: Node) -> int:
    """Words in the table of a node, which is checked down to its child's name. Raises UnsupportedError."""
    if found.version != VERSION:
        raise UnsupportedError(
            f"formulation 'palette' version {found.version}: this tersely reads version {VERSION}; use a newer release"
        )
    if not set(found.children) <= {INDICES}:
        raise UnsupportedError("palette has one child, its indices; the file is damaged or needs a newer tersely")
    child = found.children.get(INDICES)
    if child is not None and child.formulation not in ("split", "integer"):
        raise UnsupportedError(
            f"indices of palette under formulation {child.formulation!r}: this tersely reads 'split' and 'integer'; "
            "use a newer release"
        )
    held = child is not None and child.formulation == "integer"
    entries, names = found.parameters.get("entries"), {"entries"} | ({"scale", "zero"} if held else set())
    if set(found.parameters) != names or type(entries) is not int or not 1 <= entries <= MOST_ENTRIES:
        raise UnsupportedError(
            f"palette has one parameter, entries (1 to {MOST_ENTRIES}), and with indices under 'integer' scale and zero; "
            "the file is damaged or needs a newer tersely"
        )
    if held and Grid.of(found.parameters) is None:
        raise UnsupportedError("palette has a scale or a zero that no grid has; the file is damaged")
    return entries


def grid_of(found: Node) -> Grid | None:
    """The grid of a valid node; None where its indices are not held by `integer`."""
    return Grid.of(found.parameters) if "scale" in found.parameters else None


def table_order(words: np.ndarray, counts: np.ndarray, dtype: str) -> np.ndarray:
    """Distinct words in the order of the table. Raises ArgumentError for more than 256."""
    exponent = {"float32": 0x7F800000, "bfloat16": 0x7F80, "float16": 0x7C00}[dtype]
    endless = words & exponent == exponent
    found = words[np.lexsort((words, -counts.astype(np.int64), endless))]
    if endless.all():
        found = np.concatenate([np.zeros(1, words.dtype), found])
    if found.size > MOST_ENTRIES:
        raise ArgumentError(f"palette holds at most {MOST_ENTRIES} distinct words, and the tensor has more")
    return found
