"""Which table codes which row and column: classes of an axis' coordinates by how large their words are.

The sum of a word's classes picks its table, so tables are steps of size: a row of large words in a column of small ones
is coded as what is in between. All is counted in integers, so that every machine chooses the same.
"""

from __future__ import annotations

import functools
import math
from typing import Final

import numpy as np

from tersely.backends.cpu import native
from tersely.storage.ans.cuts import BITS_OF_ENTRY
from tersely.storage.ans.description import CLASS_ZERO, MAX_TABLES, PRECISION, Description
from tersely.storage.ans.logarithm import ONE, entropy, log2
from tersely.storage.ans.reference import tables_of

SCALE: Final = 256
"""Sizes are given in parts of an octave."""
_BITS_OF_TABLE, _BITS_OF_AXIS = 24 * ONE, 20 * ONE
_STEPS = (5, 3, 9, 16, 30)
"""Steps of classes, in tenths of the standard deviation of what is divided into them."""
_FEWEST = 1024
"""Fewer words are coded by one table."""
_SAMPLE, _TABLES, _SAMPLE_OF_FEW, _FEW_TABLES = 1 << 17, (4, 8, MAX_TABLES), 1 << 14, (4,)
"""Where words have raw bits, symbols are a small part of a block: fewer words are looked at, and few tables, which stay
in the first cache while a block is decoded, cost less than 0.01 %."""
_SHARE, _SUMMED, _FEWEST_ROWS, _FEWEST_COLUMNS = 2, 16, 64, 256
"""Rows and columns of many words are measured by one in so many runs of so many words, where they are long enough."""
_FIT = 47274
"""1 / (2 ln 2), in parts of a bit: what a frequency of a sample fits it better than it fits the rest (Miller, 1955)."""

Way = tuple[tuple[int, ...], int, int]
"""Axes that have classes, their step, and the number of tables."""


def group(d: Description, symbols: np.ndarray, sizes: np.ndarray, often: np.ndarray, zero: bool) -> np.ndarray:
    """Fill in classes and tables; returns how often each symbol occurs in each table.

    sizes: of each symbol, int64 in parts of an octave, growing with the logarithm of its words. often: how often it occurs.
    zero: whether symbol 0 is the word 0, which counts as a little smaller than the smallest of the others.
    """
    d.classes = [None] * len(d.dims)
    if len(d.starts) == 1:
        return np.zeros((0, 1), np.int64)
    many = len(symbols) >= _FEWEST
    if many and native.available():
        return _native(d, symbols, sizes, often, zero)
    counts = often.reshape(1, -1)
    if many:
        d.classes, d.base, counts = _grouped(d, symbols, clipped(sizes, often, zero), often)
    per_table = counts.sum() // len(counts)
    set_tables(d, counts, 4 if per_table < 1 << 13 else 8 if per_table < 1 << 16 else 16)
    return counts


def _native(d: Description, symbols: np.ndarray, sizes: np.ndarray, often: np.ndarray, zero: bool) -> np.ndarray:
    numbers = np.array([zero, d.raw > 0, d.zero, *d.dims], np.int64)
    d.base, d.steps, classed, classes, found, logs = native.module.ans_group(symbols, sizes, often, numbers)
    every = np.frombuffer(classes, np.int8)
    d.classes, at = [], 0
    for has, length in zip(classed, d.dims, strict=True):
        d.classes.append(every[at : at + length] if has else None)
        at += length if has else 0
    d.logs = np.frombuffer(logs, np.uint8).reshape(-1, len(sizes))
    return np.frombuffer(found, np.uint32).reshape(-1, 256)[:, : len(sizes)]


def clipped(sizes: np.ndarray, often: np.ndarray, zero: bool) -> np.ndarray:
    """Sizes from the smallest common one on, and none far from the median: a few words do not decide. From 0 on."""
    first = int(zero and len(sizes) > 1)
    sizes, own = sizes.copy(), often[first:]
    some = sizes[first:]
    common = some[1000 * own > own.sum()]
    order = np.argsort(some, kind="stable")
    middle = np.searchsorted(2 * np.cumsum(own[order]), own.sum())
    median = int(some[order][min(int(middle), len(some) - 1)])
    least = max(int(common.min()), median - 6 * SCALE) if len(common) else median - 6 * SCALE
    sizes[first:] = np.clip(some, least, median + 6 * SCALE)
    sizes[:first] = least - SCALE
    return np.asarray(sizes - sizes.min())


def set_tables(d: Description, counts: np.ndarray, steps: int, even: int = 0) -> None:
    """Tables of symbols that occur so often, their logarithms in 1/steps.

    even: how often counts are averaged with their neighbours', which makes them shorter to say.
    """
    smooth = counts.astype(np.int64)
    for _ in range(even):
        sides = np.pad(smooth, ((0, 0), (1, 1)), mode="edge")
        smooth = sides[:, :-2] + 2 * smooth + sides[:, 2:]
    d.steps = steps
    d.logs = np.where(counts > 0, logarithms(smooth, steps), 0).astype(np.uint8)


def logarithms(counts: np.ndarray, steps: int) -> np.ndarray:
    """Logarithms in 1/steps of the shares of a table's counts, [tables][symbols], as a description says them.

    Never 0 for a symbol that occurs.
    """
    shares = log2(counts) - log2(counts.sum(1, keepdims=True)) + (PRECISION + 1) * ONE
    logs = np.clip(shares * steps + ONE // 2 >> 16, 0, (PRECISION + 1) * steps)
    return np.where(counts > 0, 1 + logs, 0).astype(np.uint8)


Groups = tuple[list[np.ndarray | None], int, np.ndarray]
"""Classes by axis, the base, and counts by table and symbol."""


def _grouped(d: Description, symbols: np.ndarray, sizes: np.ndarray, often: np.ndarray) -> Groups:
    classes, base, tables = _search(d, symbols, sizes)
    counts = often.reshape(1, -1)
    if tables > 1:
        counts = _counts(symbols, d.dims, classes, base, tables, len(d.starts))
    return _used(classes, base, counts)


def _search(d: Description, symbols: np.ndarray, sizes: np.ndarray) -> tuple[list[np.ndarray | None], int, int]:
    """Classes, base and number of tables."""
    per = [len(symbols) // length for length in d.dims]
    many = d.raw > 0 and not d.zero and len(symbols) > _SAMPLE
    sums = _axis_sums(symbols, sizes, d.dims, many)
    overall = (int(sums[0][0].sum()) << 8) // int(sums[0][1].sum())
    deviations = [(own << 8) // each - overall for own, each in sums]
    spread = math.isqrt(sum(int((one * one >> 8).sum()) // len(one) for one in deviations) << 8) or 1
    usable = [axis for axis, each in enumerate(per) if each >= 8]
    enough, numbers = (_SAMPLE_OF_FEW, _FEW_TABLES) if many else (_SAMPLE, _TABLES)
    # Large tensors are looked at by some of their rows.
    step = max(len(symbols) // enough, 1) if d.dims[0] >= 64 else 1
    step = min(step, d.dims[0] // 16 or 1)
    cube = np.ascontiguousarray(symbols.reshape(d.dims)[::step])
    some = cube.reshape(-1)
    rows, kept = d.dims[0], cube.shape[0]

    @functools.cache
    def classes_of(axis: int, width: int) -> tuple[np.ndarray, int]:
        wide = width * spread
        classes = np.clip((20 * deviations[axis] + wide) // (2 * wide), -CLASS_ZERO, CLASS_ZERO - 1).astype(np.int8)
        often = np.bincount(classes.astype(np.int64) + CLASS_ZERO, minlength=2 * CLASS_ZERO)
        return classes, entropy(often) + _BITS_OF_AXIS

    def by_axis(axes: tuple[int, ...], width: int) -> list[np.ndarray | None]:
        return [classes_of(axis, width)[0] if axis in axes else None for axis in range(len(d.dims))]

    def bits(way: Way) -> int:
        axes, width, tables = way
        part = by_axis(axes, width)
        if part[0] is not None:
            part[0] = part[0][::step]
        counts = _counts(some, cube.shape, part, tables // 2, tables, len(d.starts))
        used, entries = int(counts.any(1).sum()), int((counts > 0).sum())
        fit = (rows - kept) * (entries - used) * _FIT // kept
        side = _BITS_OF_TABLE * used + BITS_OF_ENTRY * entries
        return entropy(counts) * rows // kept + fit + side + sum(classes_of(axis, width)[1] for axis in axes)

    sets = list(dict.fromkeys([tuple(usable[:1]), tuple(usable[-1:]), tuple(usable)]))
    found: dict[Way, int] = {}
    for axes in sets:
        for width in (_STEPS[:1] if d.raw else _STEPS[::2]) if axes else ():
            found[axes, width, numbers[-1]] = bits((axes, width, numbers[-1]))
    if not found:
        return [None] * len(d.dims), 0, 1
    axes = min(found, key=lambda way: found[way])[0]
    for width in _STEPS[:3] if d.raw else _STEPS:
        for tables in numbers:
            if (axes, width, tables) not in found:
                found[axes, width, tables] = bits((axes, width, tables))
    best = min(found, key=lambda way: found[way])
    # Some rows are not like all: both are compared by the same ones.
    if found[best] >= bits(((), 10, 1)):
        return [None] * len(d.dims), 0, 1
    return by_axis(*best[:2]), best[2] // 2, best[2]


def _axis_sums(
    symbols: np.ndarray, sizes: np.ndarray, dims: tuple[int, ...], many: bool
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The sums of symbols' sizes, by coordinate of each axis, and how many they are of; of many words, of a part of them."""
    rows, columns = dims[0], len(symbols) // dims[0]
    share = _SHARE if many and rows >= _FEWEST_ROWS and columns >= _FEWEST_COLUMNS else 1
    own = (np.arange(rows)[:, None] - np.arange(columns) // _SUMMED) % share == 0
    cube, counted, axes = np.where(own, sizes[symbols].reshape(own.shape), 0), own.reshape(dims), range(len(dims))
    others = [tuple(other for other in axes if other != axis) for axis in axes]
    return [(cube.reshape(dims).sum(axis=one), counted.sum(axis=one, dtype=np.int64)) for one in others]


def _counts(
    symbols: np.ndarray, dims: tuple[int, ...], classes: list[np.ndarray | None], base: int, tables: int, kinds: int
) -> np.ndarray:
    """How often each of `kinds` symbols is coded by each table: [tables][kinds]."""
    d = Description(dims=dims, classes=classes, base=base, logs=np.zeros((tables, 1), np.uint8))
    which = tables_of(d).astype(np.int64)
    return np.bincount(which * kinds + symbols, minlength=tables * kinds).reshape(tables, kinds)


def _used(classes: list[np.ndarray | None], base: int, counts: np.ndarray) -> Groups:
    """Tables from the first that is used to the last; one between that is not counts as the one before it."""
    used = np.flatnonzero(counts.sum(1))
    first = int(min(used[0], base))
    counts = counts[first : used[-1] + 1]
    if not counts[0].any():
        counts[0] = counts[used[0] - first]
    for row in range(1, len(counts)):
        if not counts[row].any():
            counts[row] = counts[row - 1]
    return classes, base - first, counts
