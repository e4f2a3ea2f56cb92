"""Whether blocks can repeat often enough to be looked for: a few thousand of them, drawn anywhere, rule most out."""

from __future__ import annotations

import numpy as np

from tersely.codes.selection.blocks.layout import height, width
from tersely.core.geometry import Geometry

DRAWN = 4096
"""Blocks that are compared."""
MIN_REPEATED = 4
"""Repetitions among them below which no dictionary is worth having."""


def may_repeat(words: np.ndarray, geometry: Geometry, shape: str) -> bool:
    """Tell whether C-contiguous words may have few enough distinct blocks for a dictionary, by a sample of them.

    A dictionary of 65,536 blocks that holds at most nine tenths of a tensor's blocks repeats 23 or more of 4,096 that
    are drawn, give or take five, and smaller dictionaries more (the birthday problem): fewer than four do not happen.
    The draw is the same every time.

    Args:
        words: unsigned words of the tensor, in its own shape.
        geometry: how they are seen as matrices.
        shape: of the blocks, one of `layout.SHAPES` but 'row'.
    """
    cube, _ = geometry.matrices(words)
    tall, wide = height(shape), width(shape, geometry)
    count, down, across = cube.shape[0], cube.shape[1] // tall, cube.shape[2] // wide
    if count * down * across < 2 * DRAWN:
        return True
    rng = np.random.default_rng(0)
    drawn = np.unique(rng.integers(count * down * across, size=DRAWN))  # each place once: it would repeat itself
    matrix, row, column = np.unravel_index(drawn, (count, down, across))
    rows = row[:, None, None] * tall + np.arange(tall)[None, :, None]
    columns = column[:, None, None] * wide + np.arange(wide)[None, None, :]
    blocks = cube[matrix[:, None, None], rows, columns].reshape(drawn.size, -1)
    # Blocks that are equal have equal sums; sums that are equal by chance only make the search go on.
    odd = rng.integers(1 << 63, size=blocks.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    sums = (blocks.astype(np.uint64) * odd).sum(axis=1, dtype=np.uint64)
    repeated = drawn.size - np.unique(sums).size
    return repeated >= MIN_REPEATED
