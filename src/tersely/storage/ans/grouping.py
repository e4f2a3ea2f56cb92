"""Which table codes which row and column: classes of an axis' coordinates by how large their words are.

The sum of a word's classes picks its table, so tables are steps of size: a row of large words in a column of small ones
is coded as what is in between.
"""

from __future__ import annotations

import math

import numpy as np

from tersely.storage.ans import survey
from tersely.storage.ans.description import CLASS_ZERO, MAX_TABLES, PRECISION, Description

_BITS_OF_ENTRY, _BITS_OF_TABLE, _BITS_OF_AXIS = 2.2, 24.0, 20.0
_STEPS = (0.5, 0.3, 0.9, 1.6, 3.0)
"""Steps of classes, in standard deviations of what is divided into them."""
_FEWEST = 1024
"""Fewer words are coded by one table."""
_SAMPLE = 1 << 17
_SCALE = 256
"""Sizes are summed as integers, in steps of 1/256."""


def entropy(counts: np.ndarray) -> float:
    """Bits of symbols that occur so often, under their own frequencies."""
    some = counts[counts > 0].astype(np.float64)
    return float(-(some * np.log2(some / some.sum())).sum())


def group(d: Description, symbols: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Fill in classes and tables; returns how often each symbol occurs in each table.

    sizes: of each symbol, growing with the logarithm of its words.
    """
    d.classes = [None] * len(d.dims)
    if len(d.starts) == 1:
        return np.zeros((0, 1), np.int64)
    whole = _Choice(d, symbols, d.dims, d.classes, 0, 1)
    if len(symbols) >= _FEWEST:
        best = _search(d, symbols, sizes, whole)
        if best is not whole:
            whole = _Choice(d, symbols, d.dims, best.classes, best.base, best.tables)
    return whole.fill(d)


def set_tables(d: Description, counts: np.ndarray, steps: int, even: int = 0) -> None:
    """Tables of symbols that occur so often, their logarithms in 1/steps.

    even: how often counts are averaged with their neighbours', which makes them shorter to say.
    """
    smooth = counts.astype(np.float64)
    for _ in range(even):
        sides = np.pad(smooth, ((0, 0), (1, 1)), mode="edge")
        smooth = (sides[:, :-2] + 2 * smooth + sides[:, 2:]) / 4
    d.steps = steps
    d.logs = np.where(counts > 0, logarithms(smooth, steps), 0).astype(np.uint8)


def logarithms(counts: np.ndarray, steps: int) -> np.ndarray:
    """Logarithms in 1/steps of the shares of a table's counts, [tables][symbols], as a description says them.

    Never 0 for a symbol that occurs.
    """
    with np.errstate(divide="ignore"):
        logs = np.round((np.log2(counts / counts.sum(1, keepdims=True)) + PRECISION + 1) * steps)
    return np.where(counts > 0, 1 + np.clip(logs, 0, (PRECISION + 1) * steps), 0).astype(np.uint8)


def _search(d: Description, symbols: np.ndarray, sizes: np.ndarray, alone: _Choice) -> _Choice:
    scaled = np.zeros(256, np.int16)
    scaled[: len(sizes)] = np.round((sizes - sizes.mean()) * _SCALE)
    per = [len(symbols) / length for length in d.dims]
    means = [survey.axis_sums(symbols, scaled, d.dims, axis) / each for axis, each in enumerate(per)]
    overall = means[0].mean()
    deviations = [(mean - overall) / _SCALE for mean in means]
    spread = math.sqrt(sum(float(one.var()) for one in deviations)) or 1.0
    deviations = [one / spread for one in deviations]
    usable = [axis for axis, each in enumerate(per) if each >= 8]
    # Large tensors are looked at by some of their rows.
    step = max(len(symbols) // _SAMPLE, 1) if d.dims[0] >= 64 else 1
    step = min(step, d.dims[0] // 16 or 1)
    cube = np.ascontiguousarray(symbols.reshape(d.dims)[::step])
    some = cube.reshape(-1)

    def bits(axes: tuple[int, ...], width: float, tables: int) -> float:
        classes = _classes(deviations, axes, width)
        part = [one[::step] if axis == 0 and one is not None else one for axis, one in enumerate(classes)]
        choice = _Choice(d, some, cube.shape, part, tables // 2, tables)
        return choice.symbol_bits * len(symbols) / len(some) + choice.side_bits + _bits_of_classes(classes)

    sets = list(dict.fromkeys([tuple(usable[:1]), tuple(usable[-1:]), tuple(usable)]))
    ways = {(axes, width, MAX_TABLES): 0.0 for axes in sets if axes for width in (_STEPS[:1] if d.raw else _STEPS[::2])}
    for way in ways:
        ways[way] = bits(*way)
    if not ways:
        return alone
    axes = min(ways, key=lambda way: ways[way])[0]
    # Where words have raw bits, symbols are a small part of a block, and fewer ways are tried.
    for width in _STEPS[:3] if d.raw else _STEPS:
        for tables in (MAX_TABLES,) if d.raw and len(symbols) > _SAMPLE else (4, 8, MAX_TABLES):
            if (axes, width, tables) not in ways:
                ways[axes, width, tables] = bits(axes, width, tables)
    axes, width, tables = min(ways, key=lambda way: ways[way])
    # Some rows are not like all: both are compared by the same ones.
    if ways[axes, width, tables] >= bits((), 1.0, 1):
        return alone
    return _Choice(d, some[:1], (1,), [None], tables // 2, tables).with_classes(_classes(deviations, axes, width))


def _classes(deviations: list[np.ndarray], axes: tuple[int, ...], width: float) -> list[np.ndarray | None]:
    return [
        np.clip(np.round(one / width), -CLASS_ZERO, CLASS_ZERO - 1).astype(np.int8) if axis in axes else None
        for axis, one in enumerate(deviations)
    ]


def _bits_of_classes(classes: list[np.ndarray | None]) -> float:
    return sum(entropy(np.unique(own, return_counts=True)[1]) + _BITS_OF_AXIS for own in classes if own is not None)


class _Choice:
    """Classes and a number of tables, with what symbols cost under them."""

    def __init__(
        self,
        d: Description,
        symbols: np.ndarray,
        dims: tuple[int, ...],
        classes: list[np.ndarray | None],
        base: int,
        tables: int,
    ) -> None:
        self.classes, self.base, self.tables = classes, base, tables
        self.counts = survey.counts(symbols, dims, classes, base, tables, len(d.starts))
        self.symbol_bits = sum(map(entropy, self.counts))
        used = int((self.counts.sum(1) > 0).sum())
        self.side_bits = _BITS_OF_TABLE * used + _BITS_OF_ENTRY * int((self.counts > 0).sum())

    def with_classes(self, classes: list[np.ndarray | None]) -> _Choice:
        self.classes = classes
        return self

    def fill(self, d: Description) -> np.ndarray:
        """Write it into a description: tables from the first that is used to the last. Returns what they count."""
        used = np.flatnonzero(self.counts.sum(1))
        first = int(min(used[0], self.base))
        counts = self.counts[first : used[-1] + 1]
        for row in range(1, len(counts)):
            if not counts[row].any():
                counts[row] = counts[row - 1]
        if not counts[0].any():
            counts[0] = counts[np.flatnonzero(counts.sum(1))[0]]
        d.classes, d.base = self.classes, self.base - first
        per_table = counts.sum() / len(counts)
        set_tables(d, counts, 4 if per_table < 1 << 13 else 8 if per_table < 1 << 16 else 16)
        return counts
