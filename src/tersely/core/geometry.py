"""How a tensor of any shape is seen as matrices of rows (outputs) and columns (inputs).

    view          tensor shape            matrices
    matrix        [rows, columns]         one; transposed where orientation is in_out
    stack         [count, rows, columns]  `count` of them (experts), each decodable alone
    convolution   [rows, channels, taps]  one; columns in the order a convolution streams them
    folded        anything, n elements    one of 16 rows x ceil(n / 16), row-major, the end padded

A matrix is divided into *panels* of 16 rows, a panel into *chunks* of 16 rows x 4 columns (64 weights), 8 chunks
make a *tile*; rows are padded to 16 and columns to 4. A *segment* is the unit of random access: a panel x at most
2,048 columns or, where panels are narrower, as many whole panels as fit 32,768 weights. A *unit* is what one worker
takes: whole panels and whole segments.

FORMAT: docs/FORMAT.md, "Views" and "Panels, chunks, segments".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tersely.core.errors import ArgumentError
from tersely.core.once import once

PANEL_ROWS = 16
CHUNK_COLUMNS = 4
CHUNK_WEIGHTS = 64
TILE_CHUNKS = 8
SEGMENT_COLUMNS = 2048
SEGMENT_WEIGHTS = 32768
CHANNEL_BLOCK = 16

VIEWS = ("matrix", "stack", "convolution", "folded")
ORIENTATIONS = ("out_in", "in_out")
COLUMN_ORDERS = ("as_is", "tap_channel", "block_tap_channel")


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


@dataclass(frozen=True)
class Geometry:
    """A tensor's shape together with the way it is seen as matrices. Raises ArgumentError where they do not fit."""

    shape: tuple[int, ...]
    view: str
    orientation: str = "out_in"
    column_order: str = "as_is"

    def __post_init__(self) -> None:
        if (self.view, self.orientation, self.column_order) == ("folded", "out_in", "as_is"):
            return  # fits every shape
        dimensions = len(self.shape)
        fits = {
            "matrix": dimensions == 2,
            "stack": dimensions == 3,
            "convolution": dimensions >= 3,
            "folded": True,
        }
        if not fits.get(self.view, False):
            raise ArgumentError(f"view {self.view!r} does not fit a tensor of shape {list(self.shape)}")
        if self.orientation not in ORIENTATIONS or (
            self.orientation == "in_out" and self.view not in ("matrix", "stack")
        ):
            raise ArgumentError(f"orientation {self.orientation!r} does not fit view {self.view!r}")
        if self.column_order not in COLUMN_ORDERS or (self.column_order != "as_is" and self.view != "convolution"):
            raise ArgumentError(f"column order {self.column_order!r} does not fit view {self.view!r}")
        if self.column_order == "block_tap_channel" and self.shape[1] % CHANNEL_BLOCK:
            raise ArgumentError(
                f"column order 'block_tap_channel' needs channels in multiples of {CHANNEL_BLOCK}, not {self.shape[1]}"
            )

    @once
    def elements(self) -> int:
        return math.prod(self.shape)

    @once
    def count(self) -> int:
        """Number of matrices: the first dimension of a stack, else 1."""
        return self.shape[0] if self.view == "stack" else 1

    @once
    def rows(self) -> int:
        if self.view == "folded":
            return PANEL_ROWS
        if self.view == "convolution":
            return self.shape[0]
        return self.shape[-2] if self.orientation == "out_in" else self.shape[-1]

    @once
    def columns(self) -> int:
        if self.view == "folded":
            return _ceil_div(self.elements, PANEL_ROWS)
        if self.view == "convolution":
            return math.prod(self.shape[1:])
        return self.shape[-1] if self.orientation == "out_in" else self.shape[-2]

    @once
    def chunks_per_panel(self) -> int:
        return _ceil_div(self.columns, CHUNK_COLUMNS)

    @once
    def panels_per_matrix(self) -> int:
        return _ceil_div(self.rows, PANEL_ROWS)

    @once
    def panels(self) -> int:
        return self.count * self.panels_per_matrix

    @once
    def segments_per_panel(self) -> int:
        """More than 1 only where a panel has over 2,048 columns; then every panel is a unit of its own."""
        return max(1, _ceil_div(self.columns, SEGMENT_COLUMNS))

    @property
    def padded_weights(self) -> int:
        """Weights in all chunks, padding among them."""
        return self.panels * self.chunks_per_panel * CHUNK_WEIGHTS

    @once
    def panels_per_unit(self) -> int:
        return max(1, SEGMENT_WEIGHTS // (CHUNK_WEIGHTS * max(1, self.chunks_per_panel)))

    @once
    def units_per_matrix(self) -> int:
        return _ceil_div(self.panels_per_matrix, self.panels_per_unit)

    @once
    def segments(self) -> int:
        """0 for a tensor without elements."""
        return self.count * self.units_per_matrix * self.segments_per_panel if self.columns else 0

    def segments_before(self, panel: int) -> int:
        """Segments before a panel (counted through all matrices) that begins one, or before the end."""
        matrix, inside = divmod(panel, self.panels_per_matrix)
        return (matrix * self.units_per_matrix + inside // self.panels_per_unit) * self.segments_per_panel

    def segment_chunks(self) -> list[tuple[int, int]]:
        """(first, last) chunk of each segment, chunks counted through all panels of all matrices."""
        ranges: list[tuple[int, int]] = []
        if not self.segments:
            return ranges  # a stack of matrices without rows may have any number of them
        for matrix in range(self.count):
            for unit in range(self.units_per_matrix):
                first_panel = unit * self.panels_per_unit
                last_panel = min(first_panel + self.panels_per_unit, self.panels_per_matrix)
                base = (matrix * self.panels_per_matrix + first_panel) * self.chunks_per_panel
                stop = base + (last_panel - first_panel) * self.chunks_per_panel
                step = SEGMENT_COLUMNS // CHUNK_COLUMNS if self.segments_per_panel > 1 else stop - base
                ranges += [(start, min(start + step, stop)) for start in range(base, stop, max(1, step))]
        return ranges

    @once
    def segment_lengths(self) -> np.ndarray:
        """Chunks of each segment, uint64 [segments]: `segment_chunks` without a step of Python for each of them."""
        if self.segments == 0:
            return np.zeros(0, np.uint64)
        per_panel = self.chunks_per_panel
        if self.segments_per_panel > 1:
            lengths = np.full(self.segments_per_panel, SEGMENT_COLUMNS // CHUNK_COLUMNS, np.uint64)
            lengths[-1] = per_panel - (self.segments_per_panel - 1) * (SEGMENT_COLUMNS // CHUNK_COLUMNS)
            return np.tile(lengths, self.panels)
        lengths = np.full(self.units_per_matrix, self.panels_per_unit * per_panel, np.uint64)
        lengths[-1] = (self.panels_per_matrix - (self.units_per_matrix - 1) * self.panels_per_unit) * per_panel
        return np.tile(lengths, self.count)

    def column_offsets(self) -> np.ndarray | None:
        """Element offset of each column inside a row of a convolution; None where columns are as they are."""
        if self.column_order == "as_is":
            return None
        channels, taps = self.shape[1], math.prod(self.shape[2:])
        index = np.arange(channels * taps, dtype=np.int64).reshape(channels, taps)
        if self.column_order == "tap_channel":
            return np.ascontiguousarray(index.T).reshape(-1)
        blocked = index.reshape(channels // CHANNEL_BLOCK, CHANNEL_BLOCK, taps).transpose(0, 2, 1)
        return np.ascontiguousarray(blocked).reshape(-1)

    def matrices(self, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The tensor as [count, rows, columns], and which of its weights are real (False: fold padding), read-only."""
        if self.view == "folded":
            flat = np.zeros(PANEL_ROWS * self.columns, dtype=words.dtype)
            flat[: self.elements] = words.reshape(-1)
            real = np.arange(flat.size) < self.elements
            return flat.reshape(1, PANEL_ROWS, -1), real.reshape(1, PANEL_ROWS, -1)
        if self.view == "convolution":
            cube = words.reshape(1, self.rows, self.columns)
            offsets = self.column_offsets()
            cube = cube if offsets is None else cube[:, :, offsets]
        else:
            cube = words.reshape(self.count, *self.shape[-2:])
            cube = cube if self.orientation == "out_in" else cube.swapaxes(1, 2)
        return cube, np.broadcast_to(np.True_, cube.shape)

    def elements_at(self, matrix: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        """The element of the tensor, counted in its own order, that `matrices` has at each place; padding lies behind the last."""
        if self.view == "stack" or self.view == "matrix":
            inside = row * self.columns + column if self.orientation == "out_in" else column * self.rows + row
            return np.asarray(matrix * (self.rows * self.columns) + inside)
        offsets = self.column_offsets() if self.view == "convolution" else None
        return np.asarray(row * self.columns + (column if offsets is None else offsets[column]))

    def tensor(self, cube: np.ndarray) -> np.ndarray:
        """Inverse of `matrices`: the tensor in its own shape and order."""
        if self.view == "folded":
            return cube.reshape(-1)[: self.elements].reshape(self.shape)
        if self.view == "convolution":
            offsets = self.column_offsets()
            if offsets is not None:
                ordered = np.empty_like(cube)
                ordered[:, :, offsets] = cube
                cube = ordered
            return cube.reshape(self.shape)
        cube = cube if self.orientation == "out_in" else cube.swapaxes(1, 2)
        return np.ascontiguousarray(cube).reshape(self.shape)


@lru_cache(maxsize=1024)  # planning asks often, of tensors of few shapes
def folded(shape: tuple[int, ...]) -> Geometry:
    return Geometry(shape, "folded")


@lru_cache(maxsize=1024)
def choose(shape: tuple[int, ...], orientation: str = "out_in") -> Geometry:
    """The view that a tensor of this shape gets unless padding would eat the gain (then: `folded`).

    Fewer than 16 rows, fewer than two dimensions and depthwise kernels fold. Three dimensions are a stack where
    the last two could be a matrix, else a one-dimensional convolution.
    """
    geometry = folded(shape)
    if len(shape) == 2:
        geometry = Geometry(shape, "matrix", orientation)
    elif len(shape) == 3 and shape[1] >= PANEL_ROWS and shape[2] >= PANEL_ROWS:
        geometry = Geometry(shape, "stack", orientation)
    elif len(shape) >= 3 and shape[1] > 1:
        taps = math.prod(shape[2:])
        blocked = shape[1] % CHANNEL_BLOCK == 0
        order = "as_is" if taps == 1 else "block_tap_channel" if blocked else "tap_channel"
        geometry = Geometry(shape, "convolution", column_order=order)
    if geometry.rows < PANEL_ROWS or geometry.columns == 0:
        return folded(shape)
    # A tensor that padding grows by over 1/16 has lost most of what coding its exponents can win.
    return folded(shape) if geometry.padded_weights * 16 > geometry.elements * 17 else geometry
