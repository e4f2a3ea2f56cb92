"""How `sparse` says where the non-zero words are, and in which order they follow.

A word is zero where all its bits are: -0.0 is a value. Positions are one of

    bitmap    a 64-bit mask for each chunk of 16 rows x 4 columns; the words under its bits follow in the order of
              the bits, chunk by chunk. Rank inside a segment is popcount, across segments a directory.
    elias_fano  the set bits of a segment's masks as Elias and Fano code a rising sequence: low bits as they are, high
              bits as runs of zeros. The values are those of the bitmap.
    n_of_m    of each m neighbouring columns of a row at most n have words; a code tells which n. Each block of m columns
              and 16 rows has 16 n words, some of them of zero bits where a row has fewer.
    gaps    for each row the gaps between the columns of its words, a byte each; a gap over 255 is split by fillers,
              words of zero bits. Rows are sorted by their number of entries inside windows of 256 rows, and 16 of
              them lie side by side as lanes, 4 entries of each a block, so that one gather serves 16 rows.

FORMAT: docs/FORMAT.md, "Selection".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from tersely.codes.checks import is_integer
from tersely.core.encoded import Node
from tersely.core.errors import ArgumentError, UnsupportedError
from tersely.core.geometry import CHUNK_COLUMNS, CHUNK_WEIGHTS, PANEL_ROWS, Geometry

NAME = "sparse"
CHILD = "values"
VALUE_BYTES = "values.bytes"
"""The words themselves, under a dense child."""
VERSION = 1
BYTES: tuple[str, ...] = ("int8", "uint8")
DTYPES: tuple[str, ...] = ("float32", "bfloat16", "float16", *BYTES)
POSITIONS: tuple[str, ...] = ("bitmap", "gaps", "n_of_m", "elias_fano")
MASKS: tuple[str, ...] = ("bitmap", "elias_fano")
"""Those that say for each place of a chunk whether it has a value."""

MAXIMUM_LOW_BITS = 15
WINDOW_ROWS = 256
LARGEST_GAP = 255
BLOCK_STEPS = 4
MAX_CODED_BLOCKS = np.uint64(512)
"""Blocks of a group of lanes whose values are coded: what a worker decodes at a time."""

PATTERNS = {(1, 4): 2, (2, 4): 3, (4, 8): 8}
"""Bits of a code by (n, m)."""
BLOCK_CODES = 8
"""Codes of a row that lie together: as many bytes as a code has bits."""


def bit_order(dtype: str) -> np.ndarray:
    """int64 [16, 4]: the bit of (row, column) in its chunk's mask, in which order expanding makes 16 rows a vector."""
    row, column = np.mgrid[0:16, 0:4]
    if dtype == "bfloat16":
        return column // 2 * 32 + row * 2 + column % 2
    return column * 16 + row


@dataclass(frozen=True)
class Positions:
    """Where values are: the parameters of a `sparse` node. n, m: of n_of_m, else 0. low_bits: of elias_fano, else 0."""

    kind: str
    n: int = 0
    m: int = 0
    low_bits: int = 0

    @property
    def code_bits(self) -> int:
        return PATTERNS[self.n, self.m]

    def to_json(self) -> dict[str, Any]:
        more = {"n_of_m": {"n": self.n, "m": self.m}, "elias_fano": {"low_bits": self.low_bits}}
        return {"positions": self.kind, **more.get(self.kind, {})}

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> Positions | None:
        """Strict inverse of `to_json`; None where the parameters are not those of any positions."""
        kind, numbers = found.get("positions"), [found.get(name, 0) for name in ("n", "m", "low_bits")]
        if not isinstance(kind, str) or kind not in POSITIONS or not all(type(number) is int for number in numbers):
            return None
        positions = Positions(kind, *numbers)
        fits = (positions.n, positions.m) in PATTERNS if kind == "n_of_m" else True
        fits = fits and 0 <= positions.low_bits <= MAXIMUM_LOW_BITS
        return positions if fits and positions.to_json() == dict(found) else None

    def upper_starts(self, geometry: Geometry, directory: np.ndarray) -> np.ndarray:
        """uint64 [segments + 1]: words of `upper` before each segment. directory: values before each segment."""
        padded = geometry.segment_lengths.astype(np.int64) * CHUNK_WEIGHTS
        bits = -(-padded >> self.low_bits) + np.diff(directory.astype(np.int64))
        return np.concatenate([[0], np.cumsum(-(-bits // 64))]).astype(np.uint64)

    def blocks(self, chunks: int) -> int:
        """Blocks of m columns in so many chunks of a panel."""
        return -(-chunks * CHUNK_COLUMNS // self.m)

    def panel_bytes(self, geometry: Geometry) -> int:
        """Bytes of a panel's codes."""
        return -(-self.blocks(geometry.chunks_per_panel) // BLOCK_CODES) * PANEL_ROWS * self.code_bits

    def segment_values(self, geometry: Geometry) -> np.ndarray:
        """int64 [segments]: values of each segment, which shape alone tells."""
        found = []
        for first, last in geometry.segment_chunks():
            panels = 1 if geometry.segments_per_panel > 1 else (last - first) // max(1, geometry.chunks_per_panel)
            found.append(panels * self.blocks((last - first) // max(1, panels)) * PANEL_ROWS * self.n)
        return np.array(found, np.int64)

    def selections(self) -> list[tuple[int, ...]]:
        """The columns that each code stands for, in lexicographic order; codes beyond stand for the last."""
        return list(combinations(range(self.m), self.n))


def slots(dtype: str, n: int) -> np.ndarray:
    """int64 [16, n]: place of (row, k-th chosen column) among a block's 16 n values: pairs of bfloat16 lie together."""
    row, slot = np.mgrid[0:PANEL_ROWS, 0:n]
    paired = (dtype == "bfloat16") & (slot // 2 * 2 + 1 < n)
    return np.where(paired, slot // 2 * 32 + row * 2 + slot % 2, slot * PANEL_ROWS + row)


def node(positions: Positions, child: Node) -> Node:
    return Node(NAME, VERSION, positions.to_json(), {CHILD: child})


def positions_of(found: Node, dtype: str) -> Positions:
    """The positions of a node with a child `values`, checked. Raises UnsupportedError."""
    positions = Positions.from_json(found.parameters)
    if positions is None:
        raise UnsupportedError(
            f"sparse has positions ({', '.join(POSITIONS)}), n and m for n_of_m "
            f"({', '.join(f'{n}:{m}' for n, m in PATTERNS)}), low_bits for elias_fano; the file is damaged or needs a "
            "newer tersely"
        )
    if positions.kind == "n_of_m" and dtype in BYTES:
        raise UnsupportedError(f"sparse {dtype} with n_of_m: the file is damaged or needs a newer tersely")
    return positions


def check_positions(options: dict[str, Any]) -> Positions:
    """The caller's positions, taken out of the options. Raises ArgumentError."""
    kind = options.pop("positions", POSITIONS[0])
    if kind == "elias_fano":
        options.pop("low_bits", 0)  # in plans; the best ones follow from the tensor
    if not isinstance(kind, str) or kind not in POSITIONS:
        raise ArgumentError(f"unknown positions {kind!r}: use one of {', '.join(POSITIONS)}")
    if kind != "n_of_m":
        return Positions(kind)
    n, m = options.pop("n", 2), options.pop("m", 4)
    if not (is_integer(n) and is_integer(m)) or (n, m) not in PATTERNS:
        raise ArgumentError(f"{n}:{m} is no pattern of n_of_m: use one of {', '.join(f'{a}:{b}' for a, b in PATTERNS)}")
    return Positions(kind, int(n), int(m))
