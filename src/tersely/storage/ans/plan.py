"""What the encoder chooses: trimmed bits, palette, symbols, which table codes which row and column. All by size.

A description decodes whatever was chosen, so nothing here is part of the format.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tersely.storage.ans import survey
from tersely.storage.ans.binary import MAX_NUMBER
from tersely.storage.ans.description import (
    FINEST,
    MAX_AXES,
    MAX_EXTRA,
    MAX_PALETTE,
    MAX_SYMBOLS,
    PRECISION,
    Description,
)
from tersely.storage.ans.grouping import entropy, group, logarithms, set_tables
from tersely.storage.ans.survey import Surveyed

MANTISSAS = {"F64": 52, "F32": 23, "C64": 23, "BF16": 7, "F16": 10}
"""Bits of a mantissa, by tag: words of these have their sign turned to the lowest bit."""
_SAMPLE = 1 << 12
_BITS_OF_ENTRY = 2.2
_FEW, _FEW_WITH_RAW_BITS = 1 << 18, 1 << 15
"""Up to so many words it pays to try ways to say tables: with raw bits, symbols are a small part of a block."""
_MIN_SAVED_SHARE = 0.002
"""Lowest bits are coded where that saves more than this share of all bits: it takes time."""
_LOW = (4, 8)
"""So many lowest bits of a value are tried; that of a float begins with its sign."""
_FINEST_MOVED = 2
"""So many bits of a mantissa may be part of a symbol: a third one saves nothing, and takes time. Of float16, another one may."""


@dataclass
class Plan:
    """A description, its streams left open, the symbol of each word, and what the tables count."""

    description: Description
    symbols: np.ndarray
    counts: np.ndarray

    def variants(self) -> Iterator[None]:
        """Ways to say the tables, one after another set in the description: in coarse or fine steps, evened or not.

        Of few words, tables are a good part of a block; of many, there is one way.
        """
        yield
        if len(self.symbols) > (_FEW_WITH_RAW_BITS if self.description.raw else _FEW) or not len(self.counts):
            return
        for even, steps in itertools.product((0, 1, 3), (2, 4, 8)):
            set_tables(self.description, self.counts, steps, even)
            yield


@dataclass
class _Cut:
    """A way to cut values: what the description says of it, and bits without the help of classes."""

    raw: int
    zero: bool
    starts: list[int]
    extras: list[int]
    often: np.ndarray
    bits: float


def choose(words: np.ndarray, tag: str, shape: tuple[int, ...], workers: int = 1) -> Plan:
    """How words are coded: those of a tensor of this shape, or of a part of one."""
    mantissa = MANTISSAS.get(tag)
    d = Description(dims=_walk(shape, len(words)))
    d.trim = _trailing_zeros(words, mantissa is not None)
    looked = Surveyed(words, mantissa is not None, d.trim, workers)
    cut = min(_cuts(looked, mantissa), key=lambda one: one.bits)
    sizes = None
    if (palette := _palette(looked, cut.bits)) is not None:
        values, numbers = palette
        alone = min(_cuts(numbers, None), key=lambda one: one.bits)
        if alone.bits + _bits_of_palette(values) < cut.bits:
            cut, looked, d.palette = alone, numbers, values
            sizes = _sizes_of_values(values, mantissa)
    d.raw, d.zero, d.starts, d.extras, often = cut.raw, cut.zero, cut.starts, cut.extras, cut.often
    if not len(d.palette):
        _code_lowest(d, looked)
    symbols = looked.symbols(d)
    starts_with_zero = cut.zero or (len(d.palette) > 0 and d.raw == 0 and int(d.palette[0]) == 0)
    sizes = _clipped(_sizes(d, often, sizes, mantissa, looked.width), often, starts_with_zero)
    counts = group(d, symbols, sizes, often)
    # Each lane costs two bytes, and 64 keep a processor busier than 32: words with raw bits have more to pay it from.
    many = 1 << 17 if d.raw and not d.zero else 1 << 18
    d.lanes = 4 if len(words) < 1 << 16 else 32 if len(words) < many else 64
    return Plan(d, symbols, counts)


def _code_lowest(d: Description, looked: Surveyed) -> None:
    """Lowest bits get a table where they are no noise: networks that were converted or rounded on their way."""
    step = max(len(looked.words) // (2 * _SAMPLE), 1)
    sample = looked.part(step)
    best = _MIN_SAVED_SHARE * len(looked.words) * looked.words.dtype.itemsize * 8
    for low in _LOW:
        if low > d.raw or _gain_of_lowest(sample.lowest(low, d.zero), low) * step < best:
            continue
        counts = looked.lowest(low, d.zero)
        if (gain := _gain_of_lowest(counts, low)) > best:
            best, d.low, d.low_logs = gain, low, logarithms(counts[None], FINEST)


def _gain_of_lowest(counts: np.ndarray, low: int) -> float:
    return low * int(counts.sum()) - entropy(counts) - _BITS_OF_ENTRY * len(counts)


def _walk(shape: tuple[int, ...], count: int) -> tuple[int, ...]:
    dims = [length for length in shape if length > 1]
    if math.prod(dims) != count:
        dims = [count]
    while len(dims) > MAX_AXES:
        dims[:2] = [dims[0] * dims[1]]
    return tuple(dims) or (1,)


def _trailing_zeros(words: np.ndarray, rotated: bool) -> int:
    bits = words.dtype.itemsize * 8
    if int(np.bitwise_or.reduce(words[:_SAMPLE])) & 1:
        return 0
    some = int(np.bitwise_or.reduce(words)) & ((1 << bits - rotated) - 1)
    return (some & -some).bit_length() - 1 if some else 0


def _palette(looked: Surveyed, bits: float) -> tuple[np.ndarray, Surveyed] | None:
    """The distinct values, rising, and each word's number among them, where they are few.

    bits: what words take without a palette. Where no numbers of values could take less, there is none.
    """
    words, workers = looked.words, looked.workers
    most = max(min(MAX_PALETTE, len(words) // 8), MAX_SYMBOLS)
    if words.dtype.itemsize == 1:
        return None
    if looked.width <= survey.MAX_HEAD_BITS:
        often = looked.heads(0)[0]
        values = np.flatnonzero(often).astype(np.uint64)
        if len(values) > most:
            return None
        if entropy(often[often > 0].astype(np.int64)) + _bits_of_palette(values) >= bits:
            return None
    else:
        found = survey.few_words(words, workers)
        if found is None:
            # Of few distinct words a sample has most more than once.
            once = np.unique(words[:: max(len(words) // _SAMPLE, 1)], return_counts=True)[1] == 1
            if once.mean() > 0.75:
                return None
            found = np.unique(words)
        if len(found) > most:
            return None
        values = np.sort(Surveyed(found, looked.rotated, looked.trim, workers).values())
    if int(values[-1]) > MAX_NUMBER and _widest_gap(values.tolist()) > MAX_NUMBER:
        return None
    return values, Surveyed(looked.numbers(values), False, 0, workers)


def _widest_gap(rising: list[int]) -> int:
    """The largest number that a description would have to say of these."""
    return max(later - earlier for earlier, later in itertools.pairwise([0, *rising]))


def _bits_of_palette(values: np.ndarray) -> float:
    return float((np.log2(np.diff(values.astype(np.float64), prepend=-1.0) + 1) + 3).sum())


def _sizes_of_values(values: np.ndarray, mantissa: int | None) -> np.ndarray:
    if mantissa is None:
        return np.log2(np.abs(values.astype(np.float64) - float(np.median(values))) + 0.5)
    return (values >> np.uint64(1)).astype(np.float64) / (1 << mantissa)


def _cuts(looked: Surveyed, mantissa: int | None) -> list[_Cut]:
    """Ways to cut values; there is always one."""
    width, count = looked.width, len(looked.words)
    if mantissa is not None:
        coarsest = max(mantissa - looked.trim + 1, 0)
        finest = max(min(coarsest - _FINEST_MOVED, width - 8), 0)
        raws = [raw for raw in range(finest, coarsest + 1) if raw <= width]
    elif width <= survey.MAX_HEAD_BITS:
        finest, raws = 0, list(range(max(width - 8, 0) + 1))
    else:
        finest = _raw_of_integers(looked)
        raws = [finest + more for more in range(3)]
    raws += [max(width - 8, 0)]
    if width - finest <= survey.MAX_HEAD_BITS:
        counts, zeros, _ = looked.heads(finest)
        heads = np.flatnonzero(counts).astype(np.uint64)
        counts = counts[counts > 0].astype(np.int64)
    else:
        values = looked.values()
        zeros = int((values == 0).sum())
        heads, counts = np.unique(values >> np.uint64(finest), return_counts=True)
    found: list[_Cut] = []
    for raw in sorted(set(raws)):
        known, firsts = np.unique(heads >> np.uint64(raw - finest), return_index=True)
        often = np.add.reduceat(counts, firsts)
        if len(known) > 2 * MAX_SYMBOLS and raw < width - 8:
            continue
        for zero in (False, True) if zeros > count // 64 and raw > 0 else (False,):
            # No symbols take less than heads by their frequencies.
            least = entropy(often) + raw * count if not zero else 0.0
            if mantissa is not None and found and least >= min(one.bits for one in found):
                continue
            cut = _cut(known, often - zeros * (zero & (known == 0)), count, raw, zeros if zero else None)
            if cut is not None:
                found.append(cut)
        if mantissa is None and len(found) >= 3:
            break
    return found


def _raw_of_integers(looked: Surveyed) -> int:
    """The fewest raw bits of wide integers that leave 256 heads, by a sample."""
    values = looked.values()
    sample, least = values[:: max(len(values) // _SAMPLE, 1)], looked.width - 8
    while least and len(np.unique(sample >> np.uint64(least - 1))) <= MAX_SYMBOLS:
        least -= 1
    return least


def _cut(heads: np.ndarray, often: np.ndarray, total: int, raw: int, zeros: int | None) -> _Cut | None:
    """Symbols for heads. None: too many.

    Heads so rare that a table could not say how rare share a symbol with their neighbours. zeros: how many words are
    a symbol of their own, without raw bits.
    """
    some = often > 0
    heads_, often_ = heads[some].tolist(), often[some].tolist()
    starts, extras, kept, bits = [], [], [], 0.0
    before = list(itertools.accumulate(often_, initial=0))
    at, rare = 0, total >> PRECISION + 1
    while at < len(heads_):
        end, extra = at + 1, 0
        for wider in range(1, MAX_EXTRA + 1) if often_[at] <= rare else ():
            # All that lies in the interval counts, or a common head would be swallowed.
            last = bisect.bisect_left(heads_, heads_[at] + (1 << wider), at)
            if last > end and before[last] - before[at] <= rare:
                end, extra = last, wider
            elif last > end or last == len(heads_):
                break
        mass = before[end] - before[at]
        starts.append(heads_[at])
        extras.append(extra)
        kept.append(mass)
        bits += extra * mass
        at = end
    if zeros is not None:
        starts, extras, kept = [0, *starts], [0, *extras], [zeros, *kept]
    if not 0 < len(starts) <= MAX_SYMBOLS or (starts[-1] > MAX_NUMBER and _widest_gap(starts) > MAX_NUMBER):
        return None
    common = np.array(kept, np.int64)
    bits += entropy(common) + raw * (total - (zeros or 0)) + _BITS_OF_ENTRY * len(kept)
    bits += total * len(kept) * 0.2 / (1 << PRECISION)
    return _Cut(raw, zeros is not None, starts, extras, common, bits)


def _sizes(d: Description, often: np.ndarray, known: np.ndarray | None, mantissa: int | None, width: int) -> np.ndarray:
    """A number for each symbol that grows with the logarithm of the words it stands for."""
    middle = np.array(d.starts, np.float64) + (np.exp2(d.extras) - 1) / 2
    if known is not None:
        return np.asarray(known[np.minimum((middle * (1 << d.raw)).astype(int), len(known) - 1)])
    if mantissa is not None:
        return np.asarray(middle * float(1 << d.raw) / float(2 << max(mantissa - d.trim, 0)))
    whole = float(1 << max(width - d.raw, 0))
    away = np.abs(middle - middle[int(often.argmax())])
    return np.asarray(np.log2(np.minimum(away, whole - away) + 0.5))


def _clipped(sizes: np.ndarray, often: np.ndarray, zero: bool) -> np.ndarray:
    """Sizes from the smallest common one on, and none far from the median: a few words do not decide.

    zero: symbol 0 is the word 0, which counts as a little smaller than the smallest of the others.
    """
    first = int(zero and len(sizes) > 1)
    sizes, own = sizes.copy(), often[first:]
    some = sizes[first:]
    common = some[own > own.sum() / 1000]
    order = np.argsort(some)
    middle = np.searchsorted(np.cumsum(own[order]), own.sum() / 2)
    median = float(some[order][min(int(middle), len(some) - 1)])
    least = max(float(common.min()), median - 6) if len(common) else median - 6
    sizes[first:] = np.clip(some, least, median + 6)
    sizes[:first] = least - 1
    return sizes
