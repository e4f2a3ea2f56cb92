"""Which table codes which row and column: classes of an axis' coordinates by how large their words are.

The sum of a word's classes picks its table, so tables are steps of size: a row of large words in a column of small ones
is coded as what is in between.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from tersely.storage.ans import survey
from tersely.storage.ans.description import CLASS_ZERO, MAX_TABLES, PRECISION, Description

_BITS_OF_ENTRY, _BITS_OF_TABLE, _BITS_OF_AXIS = 2.2, 24.0, 20.0
_STEPS = (0.5, 0.3, 0.9, 1.6, 3.0)
"""Steps of classes, in standard deviations of what is divided into them."""
_FEWEST = 1024
"""Fewer words are coded by one table."""
_SAMPLE, _TABLES, _SAMPLE_OF_FEW, _FEW_TABLES = 1 << 17, (4, 8, MAX_TABLES), 1 << 14, (4,)
"""Where words have raw bits, symbols are a small part of a block: fewer words are looked at, and few tables, which stay
in the first cache while a block is decoded, cost less than 0.01 %."""
_SCALE = 256
"""Sizes are summed as integers, in steps of 1/256."""


def entropy(counts: np.ndarray) -> float:
    """Bits of symbols that occur so often, under their own frequencies."""
    return _bits(counts.reshape(1, -1))


def _bits(counts: np.ndarray) -> float:
    """Bits of symbols that occur so often in each table, [tables][symbols]."""
    some, totals = counts[counts > 0].astype(np.float64), counts.sum(1).astype(np.float64)
    return float(totals @ np.log2(np.maximum(totals, 1)) - some @ np.log2(some))


def group(d: Description, symbols: np.ndarray, sizes: np.ndarray, often: np.ndarray) -> np.ndarray:
    """Fill in classes and tables; returns how often each symbol occurs in each table.

    sizes: of each symbol, growing with the logarithm of its words. often: how often it occurs.
    """
    d.classes = [None] * len(d.dims)
    if len(d.starts) == 1:
        return np.zeros((0, 1), np.int64)
    classes, base, tables = _search(d, symbols, sizes) if len(symbols) >= _FEWEST else (d.classes, 0, 1)
    counts = often.reshape(1, -1)
    if tables > 1:
        counts = survey.counts(symbols, d.dims, classes, base, tables, len(d.starts))
    return _fill(d, classes, base, counts)


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


def _search(d: Description, symbols: np.ndarray, sizes: np.ndarray) -> tuple[list[np.ndarray | None], int, int]:
    """Classes, base and number of tables."""
    scaled = np.zeros(256, np.int16)
    scaled[: len(sizes)] = np.round((sizes - sizes.mean()) * _SCALE)
    per = [len(symbols) / length for length in d.dims]
    sums = survey.axis_sums(symbols, scaled, d.dims)
    means = [own / each for own, each in zip(sums, per, strict=True)]
    overall = means[0].mean()
    deviations = [(mean - overall) / _SCALE for mean in means]
    spread = math.sqrt(sum(float(one.var()) for one in deviations)) or 1.0
    deviations = [one / spread for one in deviations]
    usable = [axis for axis, each in enumerate(per) if each >= 8]
    many = d.raw > 0 and not d.zero and len(symbols) > _SAMPLE
    enough, numbers = (_SAMPLE_OF_FEW, _FEW_TABLES) if many else (_SAMPLE, _TABLES)
    # Large tensors are looked at by some of their rows.
    step = max(len(symbols) // enough, 1) if d.dims[0] >= 64 else 1
    step = min(step, d.dims[0] // 16 or 1)
    cube = np.ascontiguousarray(symbols.reshape(d.dims)[::step])
    some = cube.reshape(-1)
    times = len(symbols) / len(some)

    @functools.cache
    def classes_of(axis: int, width: float) -> tuple[np.ndarray, float]:
        classes = np.clip(np.round(deviations[axis] / width), -CLASS_ZERO, CLASS_ZERO - 1).astype(np.int8)
        often = np.bincount(classes.astype(np.int64) + CLASS_ZERO, minlength=2 * CLASS_ZERO)
        return classes, entropy(often) + _BITS_OF_AXIS

    def by_axis(axes: tuple[int, ...], width: float) -> list[np.ndarray | None]:
        return [classes_of(axis, width)[0] if axis in axes else None for axis in range(len(d.dims))]

    def bits(axes: tuple[int, ...], width: float, tables: int) -> float:
        part = by_axis(axes, width)
        if part[0] is not None:
            part[0] = part[0][::step]
        counts = survey.counts(some, cube.shape, part, tables // 2, tables, len(d.starts))
        used, entries = int(counts.any(1).sum()), int((counts > 0).sum())
        # Frequencies of a sample fit it better than they fit the rest (Miller, 1955).
        fit = (times - 1) * (entries - used) / (2 * math.log(2))
        side = _BITS_OF_TABLE * used + _BITS_OF_ENTRY * entries
        return times * _bits(counts) + fit + side + sum(classes_of(axis, width)[1] for axis in axes)

    sets = list(dict.fromkeys([tuple(usable[:1]), tuple(usable[-1:]), tuple(usable)]))
    ways = {
        (axes, width, numbers[-1]): 0.0 for axes in sets if axes for width in (_STEPS[:1] if d.raw else _STEPS[::2])
    }
    for way in ways:
        ways[way] = bits(*way)
    if not ways:
        return d.classes, 0, 1
    axes = min(ways, key=lambda way: ways[way])[0]
    for width in _STEPS[:3] if d.raw else _STEPS:
        for tables in numbers:
            if (axes, width, tables) not in ways:
                ways[axes, width, tables] = bits(axes, width, tables)
    axes, width, tables = min(ways, key=lambda way: ways[way])
    # Some rows are not like all: both are compared by the same ones.
    if ways[axes, width, tables] >= bits((), 1.0, 1):
        return d.classes, 0, 1
    return by_axis(axes, width), tables // 2, tables


def _fill(d: Description, classes: list[np.ndarray | None], base: int, counts: np.ndarray) -> np.ndarray:
    """Write classes into a description, and tables from the first that is used to the last. Returns what they count."""
    used = np.flatnonzero(counts.sum(1))
    first = int(min(used[0], base))
    counts = counts[first : used[-1] + 1]
    for row in range(1, len(counts)):
        if not counts[row].any():
            counts[row] = counts[row - 1]
    if not counts[0].any():
        counts[0] = counts[np.flatnonzero(counts.sum(1))[0]]
    d.classes, d.base = classes, base - first
    per_table = counts.sum() / len(counts)
    set_tables(d, counts, 4 if per_table < 1 << 13 else 8 if per_table < 1 << 16 else 16)
    return counts
