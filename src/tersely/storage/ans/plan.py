"""What the encoder chooses: trimmed bits, palette, symbols, which table codes which row and column. All by size.

A description decodes whatever was chosen, so nothing here is part of the format.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tersely.storage.ans import cuts, survey
from tersely.storage.ans.binary import MAX_NUMBER
from tersely.storage.ans.cuts import BITS_OF_ENTRY, Cut, Heads
from tersely.storage.ans.description import FINEST, MAX_AXES, MAX_PALETTE, MAX_SYMBOLS, Description
from tersely.storage.ans.grouping import SCALE, group, logarithms, set_tables
from tersely.storage.ans.logarithm import ONE, clamped, entropy, log2
from tersely.storage.ans.survey import Surveyed

MANTISSAS = {"F64": 52, "F32": 23, "C64": 23, "BF16": 7, "F16": 10}
"""Bits of a mantissa, by tag: words of these have their sign turned to the lowest bit."""
_SAMPLE = 1 << 12
_FEW, _FEW_WITH_RAW_BITS = 1 << 18, 1 << 15
"""Up to so many words it pays to try ways to say tables: with raw bits, symbols are a small part of a block."""
_MIN_SAVED_SHARE = 500
"""Lowest bits are coded where that saves more than one in so many of all bits: it takes time."""
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


def choose(words: np.ndarray, tag: str, shape: tuple[int, ...], workers: int = 1) -> Plan:
    """How words are coded: those of a tensor of this shape, or of a part of one."""
    mantissa = MANTISSAS.get(tag)
    d = Description(dims=_walk(shape, len(words)))
    d.trim = _trailing_zeros(words, mantissa is not None)
    looked = Surveyed(words, mantissa is not None, d.trim, workers)
    cut = _cut(looked, mantissa)
    sizes = None
    if (palette := _palette(looked, mantissa, cut.bits)) is not None:
        values, numbers = palette
        alone = _cut(numbers, None)
        if alone.bits + _bits_of_palette(values) < cut.bits:
            cut, looked, d.palette = alone, numbers, values
            sizes = _sizes_of_values(values, mantissa, d.trim)
    d.raw, d.zero, d.starts, d.extras, often = cut.raw, cut.zero, cut.starts, cut.extras, cut.often
    if not len(d.palette):
        _code_lowest(d, looked)
    symbols = looked.symbols(d)
    starts_with_zero = cut.zero or (len(d.palette) > 0 and d.raw == 0 and int(d.palette[0]) == 0)
    counts = group(d, symbols, _sizes(d, often, sizes, mantissa, looked.width), often, starts_with_zero)
    # Each lane costs two bytes, and 64 keep a processor busier than 32: words with raw bits have more to pay it from.
    many = 1 << 17 if d.raw and not d.zero else 1 << 18
    d.lanes = 4 if len(words) < 1 << 16 else 32 if len(words) < many else 64
    return Plan(d, symbols, counts)


def _code_lowest(d: Description, looked: Surveyed) -> None:
    """Lowest bits get a table where they are no noise: networks that were converted or rounded on their way."""
    sample, words = looked.sample, len(looked.words)
    best = len(looked.words) * looked.words.dtype.itemsize * 8 * ONE // _MIN_SAVED_SHARE
    for low in _LOW:
        if low > d.raw or _gain_of_lowest(sample.lowest(low, d.zero), low) * words < best * len(sample.words):
            continue
        counts = looked.lowest(low, d.zero)
        if (gain := _gain_of_lowest(counts, low)) > best:
            best, d.low, d.low_logs = gain, low, logarithms(counts[None], FINEST)


def _gain_of_lowest(counts: np.ndarray, low: int) -> int:
    return low * int(counts.sum()) * ONE - entropy(counts) - BITS_OF_ENTRY * len(counts)


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


def _palette(looked: Surveyed, mantissa: int | None, bits: int) -> tuple[np.ndarray, Surveyed] | None:
    """The distinct values, rising, and each word's number among them, where they are few.

    bits: what words take without a palette. Where no numbers of values could take less, there is none.
    """
    words, workers = looked.words, looked.workers
    most = max(min(MAX_PALETTE, len(words) // 8), MAX_SYMBOLS)
    if words.dtype.itemsize == 1 or (mantissa is not None and looked.even(_finest(looked, mantissa))):
        return None
    if looked.width <= survey.MAX_HEAD_BITS:
        often = looked.heads(0)[0]
        values = np.flatnonzero(often).astype(np.uint64)
        if len(values) > most:
            return None
        if entropy(often[often > 0]) + _bits_of_palette(values) >= bits:
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
    if int(values[-1]) > MAX_NUMBER and cuts.widest_gap(values.tolist()) > MAX_NUMBER:
        return None
    return values, Surveyed(looked.numbers(values), False, 0, workers)


def _bits_of_palette(values: np.ndarray) -> int:
    gaps = np.minimum(np.diff(values, prepend=np.uint64(0)), np.uint64(clamped(1 << 63) - 1))
    return int((log2(gaps.astype(np.int64) + 1) + 3 * ONE).sum())


def _sizes_of_values(values: np.ndarray, mantissa: int | None, trim: int) -> np.ndarray:
    if mantissa is None:
        middle = int(values[len(values) // 2])
        return _octaves([2 * abs(value - middle) for value in values.tolist()])
    return _shifted((values >> np.uint64(1)).astype(np.int64), SCALE.bit_length() - 1 - max(mantissa - trim, 0))


def _octaves(halves: list[int]) -> np.ndarray:
    """Logarithms of half so much and a half."""
    return (log2(np.array([clamped(one + 1) for one in halves], np.int64)) - ONE) // (ONE // SCALE)


def _shifted(numbers: np.ndarray, places: int) -> np.ndarray:
    return numbers << places if places >= 0 else numbers >> -places


def _coarsest(looked: Surveyed, mantissa: int) -> int:
    """The most raw bits of a float that are tried: its mantissa and its sign."""
    return max(mantissa - looked.trim + 1, 0)


def _finest(looked: Surveyed, mantissa: int) -> int:
    """The fewest raw bits of a float that are tried."""
    return max(min(_coarsest(looked, mantissa) - _FINEST_MOVED, looked.width - 8), 0)


def _cut(looked: Surveyed, mantissa: int | None) -> Cut:
    """The best way to cut values; there is always one."""
    width, count = looked.width, len(looked.words)
    if mantissa is not None:
        finest, coarsest = _finest(looked, mantissa), _coarsest(looked, mantissa)
        raws = [raw for raw in range(finest, coarsest + 1) if raw <= width]
    elif width <= survey.MAX_HEAD_BITS:
        finest, raws = 0, list(range(max(width - 8, 0) + 1))
    else:
        finest = _raw_of_integers(looked)
        raws = [finest + more for more in range(3)]
    raws += [max(width - 8, 0)]
    if width - finest <= survey.MAX_HEAD_BITS:
        counts, zeros = looked.heads(finest)
        heads = np.flatnonzero(counts)
        often, heads = counts[heads].astype(np.int64), heads.astype(np.uint64)
    else:
        values = looked.values()
        zeros = int((values == 0).sum())
        heads, often = np.unique(values >> np.uint64(finest), return_counts=True)
    return cuts.best(Heads(heads, often, finest, width, count, zeros), raws, mantissa is not None)


def _raw_of_integers(looked: Surveyed) -> int:
    """The fewest raw bits of wide integers that leave 256 heads, by a sample."""
    values = looked.values()
    sample, least = values[:: max(len(values) // _SAMPLE, 1)], looked.width - 8
    while least and len(np.unique(sample >> np.uint64(least - 1))) <= MAX_SYMBOLS:
        least -= 1
    return least


def _sizes(d: Description, often: np.ndarray, known: np.ndarray | None, mantissa: int | None, width: int) -> np.ndarray:
    """A number for each symbol, in parts of an octave, that grows with the logarithm of the words it stands for."""
    halves = [2 * start + (1 << extra) - 1 for start, extra in zip(d.starts, d.extras, strict=True)]
    if known is not None:
        return np.asarray(known[[min((half << d.raw) // 2, len(known) - 1) for half in halves]])
    if mantissa is not None:
        return _shifted(np.array(halves, np.int64), d.raw - 2 + SCALE.bit_length() - 1 - max(mantissa - d.trim, 0))
    whole, middle = 2 << max(width - d.raw, 0), halves[int(often.argmax())]
    away = [abs(half - middle) for half in halves]
    return _octaves([min(one, whole - one) for one in away])
