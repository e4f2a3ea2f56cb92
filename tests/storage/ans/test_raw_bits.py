"""Every number of raw bits has kernels of its own: each once, under every instruction set, with groups that are not whole."""

from __future__ import annotations

import numpy as np
import pytest
from support.arrays import needs_native

from tersely.backends.cpu import isa
from tersely.storage.ans import coder, reference
from tersely.storage.ans.description import FINEST, Description
from tersely.storage.ans.grouping import logarithms, set_tables
from tersely.storage.ans.plan import Plan

CASES = [(8, False, 0), (16, True, 0), (16, True, 3), (16, False, 0), (32, True, 0), (32, True, 2), (32, False, 5)]


def _coded(bits: int, rotated: bool, trim: int, raw: int, lanes: int) -> tuple[np.ndarray, Plan]:
    """Words whose heads are few, of more than 128 symbols where there are so many, one of them with extra bits."""
    rng = np.random.default_rng(raw)
    width = bits - trim
    most = 1 << width - raw
    starts = np.sort(rng.choice(min(most, 1 << 16), min(most, 200), replace=False)).astype(np.uint64)
    extras = np.zeros(len(starts), np.int64)
    if len(starts) > 1:
        gap = int(starts[-1] - starts[-2])
        extras[-2] = gap.bit_length() - 1
    count = 9 * 64 * lanes + 77
    symbols = rng.integers(0, len(starts), count)
    heads = starts[symbols] + (rng.integers(0, 1 << 20, count) % (1 << extras[symbols])).astype(np.uint64)
    values = heads << np.uint64(raw) | rng.integers(0, 1 << raw, count, dtype=np.uint64)
    d = Description(lanes=lanes, trim=trim, raw=raw, starts=starts.tolist(), extras=extras.tolist(), dims=(count,))
    d.classes = [None]
    often = np.bincount(symbols, minlength=len(starts)).reshape(1, -1)
    if len(starts) > 1:
        set_tables(d, often, 16)
    return reference.words_of(values, d, rotated, np.dtype(f"<u{bits // 8}")), Plan(d, symbols.astype(np.uint8), often)


@needs_native
@pytest.mark.parametrize(("bits", "rotated", "trim"), CASES)
def test_every_number_of_raw_bits(bits: int, rotated: bool, trim: int) -> None:
    for raw in range(bits - trim + 1):
        words, chosen = _coded(bits, rotated, trim, raw, 32 if raw % 2 else 64)
        expected = reference.encode(words, chosen.description, rotated)
        assert np.array_equal(reference.decode(expected, len(words), rotated, words.dtype), words)
        for name in isa.available():
            with isa.using(name):
                assert coder.encode_words(words, chosen, rotated, 1) == expected, (raw, name)
                back = coder.decode_words(memoryview(expected), len(words), words.dtype, rotated, 1)
                assert np.array_equal(back.view(words.dtype), words), (raw, name)


def _on_a_line(bits: int, rotated: bool, trim: int, raw: int, low: int) -> tuple[np.ndarray, Plan]:
    """Words whose heads follow each other, but for rare ones before them, and behind them with extra bits."""
    rng = np.random.default_rng(raw + 100 * low)
    most = 1 << bits - trim - raw
    first = most // 2
    starts = np.array([0, 1, *range(first, first + 20), first + 30, first + 50], np.uint64)
    extras = np.zeros(len(starts), np.int64)
    extras[-2:] = 3, 4
    count = 13 * 64 * 64 + 77
    symbols = rng.integers(2, len(starts) - 2, count)
    symbols[::199] = rng.integers(0, len(starts), len(symbols[::199]))
    heads = starts[symbols] + (rng.integers(0, 1 << 20, count) % (1 << extras[symbols])).astype(np.uint64)
    values = heads << np.uint64(raw) | rng.integers(0, 1 << raw, count, dtype=np.uint64)
    if low:
        values &= ~np.uint64(1 << low - 1) | rng.integers(0, 2, count, dtype=np.uint64) << np.uint64(low - 1)
    d = Description(lanes=64, trim=trim, raw=raw, starts=starts.tolist(), extras=extras.tolist(), dims=(count,))
    d.classes = [None]
    often = np.bincount(symbols, minlength=len(starts)).reshape(1, -1)
    set_tables(d, often, 16)
    if low:
        d.low = low
        counts = np.bincount((values & np.uint64((1 << low) - 1)).astype(np.int64), minlength=1 << low)
        d.low_logs = logarithms(counts[None], FINEST)
    return reference.words_of(values, d, rotated, np.dtype(f"<u{bits // 8}")), Plan(d, symbols.astype(np.uint8), often)


@needs_native
@pytest.mark.parametrize(("bits", "rotated", "trim"), CASES[1:])
def test_heads_that_follow_each_other(bits: int, rotated: bool, trim: int) -> None:
    for raw in range(rotated, bits - trim - 7):
        for low in {0, min(1, raw), min(4, raw), min(8, raw)}:
            words, chosen = _on_a_line(bits, rotated, trim, raw, low)
            expected = reference.encode(words, chosen.description, rotated)
            assert np.array_equal(reference.decode(expected, len(words), rotated, words.dtype), words)
            for name in isa.available():
                with isa.using(name):
                    assert coder.encode_words(words, chosen, rotated, 1) == expected, (raw, low, name)
                    back = coder.decode_words(memoryview(expected), len(words), words.dtype, rotated, 1)
                    assert np.array_equal(back.view(words.dtype), words), (raw, low, name)
