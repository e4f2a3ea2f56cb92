"""Where values are cut into symbols and raw bits: all ways that may be good, the smallest by exact counts."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from tersely.backends.cpu import native
from tersely.storage.ans.binary import MAX_NUMBER
from tersely.storage.ans.description import MAX_EXTRA, MAX_SYMBOLS, PRECISION
from tersely.storage.ans.logarithm import ONE, entropy

BITS_OF_ENTRY: Final = 144179
"""What a table takes for a symbol: 2.2 bits."""


@dataclass
class Cut:
    """A way to cut values: what the description says of it, how often each symbol occurs, and bits, in parts, without the
    help of classes."""

    raw: int
    zero: bool
    starts: list[int]
    extras: list[int]
    often: np.ndarray
    bits: int


@dataclass
class Heads:
    """What values begin with, above `finest` bits of `width`: those that occur, rising, and how often.

    total: values; zeros: those that are 0.
    """

    values: np.ndarray
    counts: np.ndarray
    finest: int
    width: int
    total: int
    zeros: int


def best(heads: Heads, raws: Sequence[int], floats: bool) -> Cut:
    """The smallest cut.

    raws: raw bits to try, at least those of `heads`. floats: whether all are tried, where integers need no more than three
    cuts.
    """
    raws = sorted(set(raws))
    if not native.available():
        return reference(heads, raws, floats)
    numbers = np.array([heads.finest, heads.width, heads.total, heads.zeros, floats, *raws], np.int64)
    raw, zero, bits, starts, extras, often = native.module.ans_cut(heads.values, heads.counts, numbers)
    starts = np.frombuffer(starts, np.uint64).tolist()
    return Cut(raw, zero, starts, list(extras), np.frombuffer(often, np.int64), bits)


def reference(heads: Heads, raws: Sequence[int], floats: bool) -> Cut:
    """What `best` finds; there is always one."""
    found: list[Cut] = []
    zeros = heads.zeros
    for raw in raws:
        known, firsts = np.unique(heads.values >> np.uint64(raw - heads.finest), return_index=True)
        often = np.add.reduceat(heads.counts, firsts)
        if len(known) > 2 * MAX_SYMBOLS and raw < heads.width - 8:
            continue
        for zero in (False, True) if zeros > heads.total // 64 and raw > 0 else (False,):
            # No symbols take less than heads by their frequencies.
            least = entropy(often) + raw * heads.total * ONE if not zero else 0
            if floats and found and least >= min(one.bits for one in found):
                continue
            others = often - zeros * (zero & (known == 0))
            cut = _cut(known[others > 0].tolist(), others[others > 0].tolist(), heads, raw, zero)
            if cut is not None:
                found.append(cut)
        if not floats and len(found) >= 3:
            break
    return min(found, key=lambda one: one.bits)


def widest_gap(rising: Sequence[int]) -> int:
    """The largest number that a description would have to say of these."""
    return max(later - earlier for earlier, later in itertools.pairwise([0, *rising]))


def _cut(known: list[int], often: list[int], heads: Heads, raw: int, zero: bool) -> Cut | None:
    """Symbols for heads. None: too many.

    Heads so rare that a table could not say how rare share a symbol with their neighbours. zero: whether words that are 0
    have a symbol of their own, without raw bits.
    """
    starts, extras, kept, bits = [], [], [], 0
    before = list(itertools.accumulate(often, initial=0))
    at, rare = 0, heads.total >> PRECISION + 1
    while at < len(known):
        end, extra = at + 1, 0
        for wider in range(1, MAX_EXTRA + 1) if often[at] <= rare else ():
            # All that lies in the interval counts, or a common head would be swallowed.
            last = bisect.bisect_left(known, known[at] + (1 << wider), at)
            if last > end and before[last] - before[at] <= rare:
                end, extra = last, wider
            elif last > end or last == len(known):
                break
        mass = before[end] - before[at]
        starts.append(known[at])
        extras.append(extra)
        kept.append(mass)
        bits += extra * mass * ONE
        at = end
    if zero:
        starts, extras, kept = [0, *starts], [0, *extras], [heads.zeros, *kept]
    if not 0 < len(starts) <= MAX_SYMBOLS or (starts[-1] > MAX_NUMBER and widest_gap(starts) > MAX_NUMBER):
        return None
    common = np.array(kept, np.int64)
    bits += entropy(common) + raw * (heads.total - heads.zeros * zero) * ONE + BITS_OF_ENTRY * len(kept)
    bits += heads.total * len(kept) * 16 // 5  # a fifth of what a frequency of 2^-12 takes, for each
    return Cut(raw, zero, starts, extras, common, bits)
