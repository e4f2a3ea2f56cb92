"""Whether blocks can repeat often enough to be looked for: a few thousand of them, drawn anywhere, rule most out."""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np

from tersely.codes.selection.blocks.layout import NARROWER, SHAPES, block_words, height, width
from tersely.core.geometry import Geometry

DRAWN = 4096
"""Blocks that are compared."""
MIN_REPEATED = 4
"""Repetitions among them below which no dictionary is worth having."""
_BEGINNING_BYTES = 8
"""Of each block that is drawn, what is compared before whole blocks are."""


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
    return _repetitions(words, geometry, shape) >= MIN_REPEATED


def repeating(words: np.ndarray, geometry: Geometry) -> list[str]:
    """The shapes, but 'row', whose blocks may repeat often enough.

    Blocks that are alike are made of narrower ones that are: where none of those repeats, the wider are not looked at.
    """
    found: dict[str, int] = {}
    for shape in SHAPES:
        if shape != "row" and found.get(NARROWER.get(shape, ""), 1):
            found[shape] = _repetitions(words, geometry, shape)
    return [shape for shape, count in found.items() if count >= MIN_REPEATED]


def _repetitions(words: np.ndarray, geometry: Geometry, shape: str) -> int:
    """Repetitions among those that are drawn, or more; as many as it takes where there are few blocks to draw from."""
    places = _places(geometry, shape)
    if places < 2 * DRAWN:
        return MIN_REPEATED
    # Blocks that are alike begin alike: few tensors are looked at further.
    whole = block_words(shape, geometry)
    beginning = min(whole, max(1, _BEGINNING_BYTES // words.itemsize))
    alike = _repeated(_taken(words, geometry, _beginnings(geometry, shape, beginning)))
    if alike < MIN_REPEATED or beginning == whole:
        return alike
    return _repeated(_taken(words, geometry, _elements(geometry, shape, whole)))


def _places(geometry: Geometry, shape: str) -> int:
    return geometry.count * (geometry.rows // height(shape)) * (geometry.columns // width(shape, geometry))


@cache
def _fractions() -> np.ndarray:
    """Numbers below 1, rising, the same every time."""
    return np.sort(np.random.default_rng(0).random(DRAWN))


def _elements(geometry: Geometry, shape: str, count: int) -> np.ndarray:
    """Where the first words of the blocks that are drawn lie, column by column: [blocks, words]."""
    tall, wide = height(shape), width(shape, geometry)
    down, across = geometry.rows // tall, geometry.columns // wide
    drawn = (_fractions() * _places(geometry, shape)).astype(np.int64)
    drawn = drawn[np.diff(drawn, prepend=-1) > 0]  # each place once: it would repeat itself
    numbers, column = np.divmod(drawn, across)
    matrix, row = np.divmod(numbers, down)
    first = np.arange(count)
    rows = (row * tall)[:, None] + first % tall
    columns = (column * wide)[:, None] + first // tall
    return geometry.elements_at(matrix[:, None], rows, columns)  # of 64 bits: `take` would make them so each time


_beginnings = lru_cache(maxsize=128)(_elements)
"""The same of few words: networks have many tensors of few shapes."""


def _taken(words: np.ndarray, geometry: Geometry, elements: np.ndarray) -> np.ndarray:
    flat = words.reshape(-1)
    found = flat.take(elements, mode="clip")
    return found if geometry.view != "folded" else np.where(elements < flat.size, found, flat.dtype.type(0))


def _repeated(blocks: np.ndarray) -> int:
    """How many of them are one of the others again."""
    if blocks.shape[1] * blocks.itemsize == 8:
        sums = np.sort(blocks.view(np.uint64).reshape(-1))
    else:  # equal blocks have equal sums; sums that are equal by chance only make the search go on
        sums = np.sort(blocks.astype(np.uint64) @ _odd(blocks.shape[1]))
    return int((sums[1:] == sums[:-1]).sum())


@lru_cache(maxsize=64)
def _odd(count: int) -> np.ndarray:
    """Odd numbers, the same every time."""
    found = np.random.default_rng(0).integers(1 << 63, size=count, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    found.flags.writeable = False
    return found
