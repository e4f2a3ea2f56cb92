"""What the encoder chooses: trimmed bits, palette, symbols, which table codes which row and column. All by size.

A description decodes whatever was chosen, so nothing here is part of the format.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from tersely.storage.ans.binary import MAX_BITS
from tersely.storage.ans.description import (
    CLASS_ZERO,
    MAX_AXES,
    MAX_EXTRA,
    MAX_PALETTE,
    MAX_SYMBOLS,
    MAX_TABLES,
    PRECISION,
    Description,
)
from tersely.storage.ans.reference import symbols_of, values_of

MANTISSAS = {"F64": 52, "F32": 23, "C64": 23, "BF16": 7, "F16": 10}
"""Bits of a mantissa, by tag: words of these have their sign turned to the lowest bit."""
_SAMPLE = 1 << 12
_BITS_OF_ENTRY, _BITS_OF_TABLE = 2.2, 24.0
_STEPS_OF_CLASSES = (0.2, 0.35, 0.6, 1.0, 2.0)


@dataclass
class _Symbols:
    """A way to cut values: what the description says of it, and bits without the help of classes."""

    raw: int
    zero: bool
    starts: list[int]
    extras: list[int]
    bits: float


def entropy(counts: np.ndarray) -> float:
    """Bits of symbols that occur so often, under their own frequencies."""
    some = counts[counts > 0].astype(np.float64)
    return float(-(some * np.log2(some / some.sum())).sum())


def choose(words: np.ndarray, tag: str, shape: tuple[int, ...]) -> Description:
    """A description of words, its streams left open."""
    bits = words.dtype.itemsize * 8
    mantissa = MANTISSAS.get(tag)
    d = Description(dims=_walk(shape, len(words)))
    d.trim = _trailing_zeros(words, mantissa is not None)
    values = values_of(words, d, mantissa is not None)
    sizes: np.ndarray | None = None
    if (palette := _palette(values, bits)) is not None:
        d.palette = palette
        sizes = _sizes_of_words(palette, mantissa)
        values = np.searchsorted(palette, values).astype(np.uint64)
    width = (len(d.palette) - 1).bit_length() if len(d.palette) else bits - d.trim
    symbols = min(_cuts(values, width, mantissa, d), key=lambda cut: cut.bits)
    d.raw, d.zero, d.starts, d.extras = symbols.raw, symbols.zero, symbols.starts, symbols.extras
    coded, _ = symbols_of(values, d)
    _choose_tables(d, coded, _sizes(d, coded, sizes, mantissa, width))
    d.lanes = 32 if len(words) > 1 << 16 else 4
    return d


def _walk(shape: tuple[int, ...], count: int) -> tuple[int, ...]:
    dims = [length for length in shape if length > 1]
    if math.prod(dims) != count:
        dims = [count]
    while len(dims) > MAX_AXES:
        dims[:2] = [dims[0] * dims[1]]
    return tuple(dims) or (1,)


def _trailing_zeros(words: np.ndarray, rotated: bool) -> int:
    bits = words.dtype.itemsize * 8
    some = int(np.bitwise_or.reduce(words)) & ((1 << bits - rotated) - 1)
    return (some & -some).bit_length() - 1 if some else 0


def _palette(values: np.ndarray, bits: int) -> np.ndarray | None:
    """The distinct values, where there are few of them and a byte does not hold a word."""
    if bits == 8:
        return None
    sample = values[:: max(len(values) // _SAMPLE, 1)]
    if len(np.unique(sample)) > max(len(sample) // 2, 256):
        return None
    found = np.unique(values)
    if int(np.diff(found, prepend=np.uint64(0)).max()) >= 1 << MAX_BITS - 1:  # the number of a gap would be too long
        return None
    return found if len(found) <= min(MAX_PALETTE, max(len(values) // 8, 1)) else None


def _sizes_of_words(palette: np.ndarray, mantissa: int | None) -> np.ndarray:
    if mantissa is None:
        return np.log2(np.abs(palette.astype(np.float64) - float(np.median(palette))) + 0.5)
    return (palette >> np.uint64(1)).astype(np.float64) / (1 << mantissa)


def _cuts(values: np.ndarray, width: int, mantissa: int | None, d: Description) -> list[_Symbols]:
    count, found = len(values), []
    if len(d.palette) or mantissa is None:
        raws = [max(width - 8, 0)] if len(d.palette) or width <= 8 else _raws_of_integers(values, width)
    else:
        raws = [max(mantissa - d.trim + 1 - moved, 0) for moved in (0, 1, 2, 3)]
    zeros = int((values == 0).sum())
    for raw in dict.fromkeys([*raws, max(width - 8, 0)]):
        for zero in {False, zeros > count // 64 and raw > 0}:
            heads = values >> np.uint64(raw)
            heads = heads[values != 0] if zero else heads
            known, counts = np.unique(heads, return_counts=True)
            cut = _bins(known.astype(np.int64).tolist(), counts.tolist(), count, MAX_SYMBOLS - zero)
            if cut is None:
                continue
            starts, extras, per_bin, extra_bits = cut
            kept = np.array([zeros] * zero + per_bin)
            bits = entropy(kept) + extra_bits + raw * (count - zeros * zero) + _BITS_OF_ENTRY * len(kept)
            bits += count * len(kept) * 0.2 / (1 << PRECISION)
            found.append(_Symbols(raw, zero, [0] * zero + starts, [0] * zero + extras, bits))
    return found


def _raws_of_integers(values: np.ndarray, width: int) -> list[int]:
    """The fewest raw bits that leave 256 heads, and more."""
    sample, least = values[:: max(len(values) // _SAMPLE, 1)], width - 8
    while least and len(np.unique(sample >> np.uint64(least - 1))) <= MAX_SYMBOLS:
        least -= 1
    return [least + more for more in range(3) if least + more <= width]


def _bins(
    heads: list[int], counts: list[int], total: int, most: int
) -> tuple[list[int], list[int], list[int], float] | None:
    """Symbols for heads: where each begins, its extra bits, how often it occurs, all extra bits. None: too many.

    Heads so rare that a table could not say how rare share a symbol with their neighbours.
    """
    starts, extras, kept, bits = [], [], [], 0.0
    at, rare = 0, total >> PRECISION + 1
    while at < len(heads):
        end, mass, extra = at + 1, counts[at], 0
        while end < len(heads) and mass + counts[end] <= rare:
            needed = (heads[end] - heads[at]).bit_length()
            if needed > MAX_EXTRA:
                break
            extra, mass, end = needed, mass + counts[end], end + 1
        while end < len(heads) and heads[end] < heads[at] + (1 << extra):
            mass, end = mass + counts[end], end + 1
        starts.append(heads[at])
        extras.append(extra)
        kept.append(mass)
        bits += extra * mass
        at = end
    return (starts, extras, kept, bits) if 0 < len(starts) <= most else None


def _sizes(d: Description, coded: np.ndarray, known: np.ndarray | None, mantissa: int | None, width: int) -> np.ndarray:
    """A number for each symbol that grows with the logarithm of the words it stands for."""
    middle = np.array(d.starts, np.float64) + (np.exp2(d.extras) - 1) / 2
    if known is not None:
        places = np.minimum((middle * (1 << d.raw)).astype(int), len(known) - 1)
        sizes = known[places]
    elif mantissa is not None:
        sizes = middle * (1 << d.raw) / (2 << max(mantissa - d.trim, 0))
    else:
        counts = np.bincount(coded, minlength=len(d.starts))
        whole = float(1 << max(width - d.raw, 0))
        away = np.abs(middle - middle[int(counts.argmax())])
        sizes = np.log2(np.minimum(away, whole - away) + 0.5)
    counts = np.bincount(coded, minlength=len(sizes))
    common = sizes[counts > len(coded) / 1000] if (counts > len(coded) / 1000).any() else sizes
    order = np.argsort(sizes)
    median = float(sizes[order][np.searchsorted(np.cumsum(counts[order]), len(coded) / 2).clip(0, len(sizes) - 1)])
    return np.clip(sizes, max(float(common.min()), median - 6), median + 6)


def _choose_tables(d: Description, coded: np.ndarray, sizes: np.ndarray) -> None:
    symbols = len(d.starts)
    if symbols == 1:
        d.classes = [None] * len(d.dims)
        return
    best = _Tables(d, coded, [None] * len(d.dims), 0, 1)
    if len(coded) >= 1024:
        cube = sizes[coded].reshape(d.dims)
        overall = cube.mean()
        means = [cube.mean(axis=tuple(o for o in range(cube.ndim) if o != axis)) - overall for axis in range(cube.ndim)]
        usable = [axis for axis, length in enumerate(d.dims) if length <= len(coded) // 8]
        for axes in dict.fromkeys([tuple(usable[:1]), tuple(usable[-1:]), tuple(usable)]):
            for step, tables in itertools.product(_STEPS_OF_CLASSES, (4, 8, MAX_TABLES)):
                classes = [
                    np.clip(np.round(mean / step), -CLASS_ZERO, CLASS_ZERO - 1).astype(np.int8)
                    if axis in axes
                    else None
                    for axis, mean in enumerate(means)
                ]
                best = min(best, _Tables(d, coded, classes, tables // 2, tables), key=lambda one: one.bits)
    d.classes, d.base, d.steps, d.logs = best.classes, best.base, best.steps, best.logs()


class _Tables:
    """A choice of classes, with what it costs."""

    def __init__(self, d: Description, coded: np.ndarray, classes: list[np.ndarray | None], base: int, tables: int):
        self.classes, self.base = classes, base
        total = np.full(d.dims, base, np.int64)
        self.bits = 0.0
        for axis, own in enumerate(classes):
            if own is not None:
                total += own.reshape([-1 if other == axis else 1 for other in range(len(d.dims))])
                self.bits += entropy(np.unique(own, return_counts=True)[1]) + 20
        which = np.clip(total, 0, tables - 1).reshape(-1)
        symbols = len(d.starts)
        counts = np.bincount(which * symbols + coded, minlength=tables * symbols).reshape(tables, symbols)
        used = np.flatnonzero(counts.sum(1))
        self.base -= int(used[0])
        self.counts = counts[used[0] : used[-1] + 1]
        if self.base < 0:  # what is below table 0 is coded by it as well
            self.counts, self.base = counts[: used[-1] + 1], base
        for row in range(len(self.counts)):
            if not self.counts[row].any():
                self.counts[row] = self.counts[row - 1]
        self.bits += sum(map(entropy, self.counts)) + _BITS_OF_TABLE * len(self.counts)
        self.bits += _BITS_OF_ENTRY * int((self.counts > 0).sum())
        per_table = len(coded) / len(self.counts)
        self.steps = 4 if per_table < 1 << 13 else 8 if per_table < 1 << 16 else 16

    def logs(self) -> np.ndarray:
        """Quantised logarithms, never 0 for a symbol that occurs."""
        shares = self.counts / self.counts.sum(1, keepdims=True)
        with np.errstate(divide="ignore"):
            logs = np.round((np.log2(shares) + PRECISION + 1) * self.steps)
        return np.where(self.counts > 0, 1 + np.clip(logs, 0, (PRECISION + 1) * self.steps), 0).astype(np.uint8)
