"""What a block of words says before its streams, in the order in which it says it (docs/FORMAT.md has the meaning).

`describe` is the syntax, for both ways: a `Writer` codes what the description has, a `Reader` fills it in. Every check is
made while reading, before anything is made as large as a number says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from tersely.core.errors import CorruptError
from tersely.storage.ans.binary import Reader, Writer

LANES: Final = (4, 32, 64)
PRECISION: Final = 12
"""Frequencies of a table sum to 2^12."""
MAX_SYMBOLS, MAX_TABLES, MAX_PALETTE, MAX_AXES, MAX_EXTRA, MAX_LOW = 256, 16, 4096, 6, 24, 8
STREAM_SYMBOLS: Final = 1 << 18
CLASS_BITS: Final = 5
CLASS_ZERO: Final = 1 << CLASS_BITS - 1
FINEST: Final = 16
"""Logarithms of frequencies are kept in steps of 1/2, 1/4, 1/8 or 1/16."""

(HEAD, LENGTHS, PALETTE, GAPS, EXTRAS, STREAMS, CLASSES, ABSENT, RESIDUAL, FLAGS, BASE, TABLES, STEPS, LONG) = range(14)
"""Kinds of contexts."""
WIDE_LANES, ZERO, WIDE_SYMBOLS, CLASSED, WIDEST_LANES, LOW = range(6)
"""Contexts of the kind FLAGS."""


@dataclass
class Stream:
    """What a stream has.

    words, low: 16-bit words of rANS behind the states of symbols and of lowest bits. kept: weights that have raw bits.
    extra: bytes of extra bits.
    """

    words: int = 0
    low: int = 0
    kept: int = 0
    extra: int = 0


@dataclass
class Description:
    """How the words of a tensor come of symbols and raw bits, and symbols of tables.

    lanes: states of rANS. trim: lowest bits that are zero in all words. raw: bits of a word below its head, kept as they
    are but for the `low` lowest, which a table of their own codes.
    zero: whether symbol 0 is the word 0, which has no raw bits. palette: words by number, rising; empty for none.
    starts, extras: symbol s stands for heads from starts[s] on, 2^extras[s] of them. dims: the shape as it is walked.
    classes: for each axis the class of each coordinate, or None. base: is added to the sum of classes. logs:
    [tables][symbols], logarithms of frequencies in 1/steps, plus one; 0 for none. low_logs: [1][2^low], in 1/`FINEST`.
    streams: one for each 2^18 words.
    """

    lanes: int = 32
    trim: int = 0
    raw: int = 0
    zero: bool = False
    palette: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))
    starts: list[int] = field(default_factory=list)
    extras: list[int] = field(default_factory=list)
    dims: tuple[int, ...] = ()
    classes: list[np.ndarray | None] = field(default_factory=list)
    base: int = 0
    steps: int = 16
    logs: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    low: int = 0
    low_logs: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    streams: list[Stream] = field(default_factory=list)


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise CorruptError(f"{problem} in the description of a block")


def describe(coder: Writer | Reader, d: Description, count: int, word_bits: int) -> Description:
    """Code a description of `count` words, or read it into `d`, which is returned. Raises CorruptError."""
    lanes = LANES.index(d.lanes)
    if coder.bit(FLAGS * 64 + WIDE_LANES, int(lanes > 0)):
        d.lanes = LANES[1 + coder.bit(FLAGS * 64 + WIDEST_LANES, int(lanes == 2))]
    else:
        d.lanes = LANES[0]
    d.trim = coder.number(HEAD, d.trim)
    _require(d.trim < word_bits, "too many trimmed bits")
    entries = coder.number(PALETTE, len(d.palette))
    _require(entries <= MAX_PALETTE, "too long a palette")
    if entries:
        d.palette = _rising(coder, PALETTE, d.palette, entries)
        _require(int(d.palette[-1]) < 1 << word_bits - d.trim, "a palette of too large words")
        value_bits = (entries - 1).bit_length()
    else:
        value_bits = word_bits - d.trim
    d.raw = coder.number(HEAD, d.raw)
    _require(d.raw <= value_bits, "too many raw bits")
    d.zero = bool(coder.bit(FLAGS * 64 + ZERO, int(d.zero)))
    if coder.bit(FLAGS * 64 + LOW, int(d.low > 0)):
        d.low = 1 + coder.direct(3, max(d.low - 1, 0))
        _require(d.low <= d.raw and not entries, "lowest bits of none")
        d.low_logs = _rows(coder, 1, 1 << d.low, FINEST, d.low_logs)
    _bins(coder, d, value_bits - d.raw)
    _axes(coder, d, count)
    if len(d.starts) > 1:
        _tables(coder, d)
    streams = -(-count // STREAM_SYMBOLS)
    for number in range(streams):
        if not coder.reading:
            stream = d.streams[number]
        else:
            stream = Stream()
            d.streams.append(stream)
        symbols = min(count - number * STREAM_SYMBOLS, STREAM_SYMBOLS)
        if len(d.starts) > 1:
            stream.words = coder.number(STREAMS, stream.words)
            _require(stream.words <= symbols, "a stream of too many words")
        if d.low:
            stream.low = coder.number(STREAMS, stream.low)
            _require(stream.low <= symbols, "a stream of too many words")
        stream.kept = symbols - (coder.number(STREAMS, symbols - stream.kept) if d.zero else 0)
        _require(stream.kept >= 0, "more zeros than weights")
        if any(d.extras):
            stream.extra = coder.number(STREAMS, stream.extra)
            _require(stream.extra <= symbols * MAX_EXTRA, "too many extra bits")
    return d


def _rising(coder: Writer | Reader, kind: int, values: np.ndarray, count: int) -> np.ndarray:
    out, last = [], -1
    for number in range(count):
        wanted = 0 if coder.reading else int(values[number]) - last - 1
        last += 1 + coder.number(kind, wanted)
        _require(last < 1 << 64, "a number of more than 64 bits")
        out.append(last)
    return np.array(out, np.uint64)


def _bins(coder: Writer | Reader, d: Description, head_bits: int) -> None:
    count = 1 + coder.number(HEAD, len(d.starts) - 1)
    _require(count <= MAX_SYMBOLS, "too many symbols")
    wide = coder.bit(FLAGS * 64 + WIDE_SYMBOLS, int(any(d.extras)))
    starts, extras, end = [], [], 0
    for number in range(count):
        known = not coder.reading
        if number == 0 and d.zero:
            starts.append(0)
            extras.append(0)
            continue
        end += coder.number(GAPS, d.starts[number] - end if known else 0)
        starts.append(end)
        extras.append(coder.number(EXTRAS, d.extras[number] if known else 0) if wide else 0)
        _require(extras[-1] <= MAX_EXTRA, "too many extra bits of a symbol")
        end += 1 << extras[-1]
        _require(starts[-1] < 1 << head_bits, "a head beyond the last")
    d.starts, d.extras = starts, extras


def _axes(coder: Writer | Reader, d: Description, count: int) -> None:
    axes = 1 + coder.number(LENGTHS, len(d.dims) - 1)
    _require(axes <= MAX_AXES, "too many axes")
    dims = []
    for number in range(axes):
        dims.append(1 + coder.number(LENGTHS, 0 if coder.reading else d.dims[number] - 1))
        _require(dims[-1] <= count, "too long an axis")
    _require(math.prod(dims) == count, "axes of another tensor")
    d.dims = tuple(dims)
    classes: list[np.ndarray | None] = []
    for number, length in enumerate(dims):
        known = None if coder.reading else d.classes[number]
        if not coder.bit(FLAGS * 64 + CLASSED, int(known is not None)):
            classes.append(None)
            continue
        wanted = np.zeros(length, np.int64) if known is None else known.astype(np.int64) + CLASS_ZERO
        found = [coder.tree(CLASSES, CLASS_BITS, value) for value in wanted.tolist()]
        classes.append((np.array(found) - CLASS_ZERO).astype(np.int8))
    d.classes = classes
    d.base = coder.tree(BASE, 4, d.base)


def _tables(coder: Writer | Reader, d: Description) -> None:
    tables = 1 + coder.tree(TABLES, 4, len(d.logs) - 1)
    d.steps = 2 << coder.tree(STEPS, 2, d.steps.bit_length() - 2)
    d.logs = _rows(coder, tables, len(d.starts), d.steps, d.logs)


def _rows(coder: Writer | Reader, tables: int, symbols: int, steps: int, known: np.ndarray) -> np.ndarray:
    """Logarithms of tables, [tables][symbols]; `known` while they are written."""
    most = (PRECISION + 1) * steps + 1
    before = [0] * symbols
    rows = []
    for number in range(tables):
        wanted = [0] * symbols if coder.reading else known[number].tolist()
        row: list[int] = []
        last, size = most // 2, 0
        for symbol in range(symbols):
            context = 2 * (row[-1] > 0 if symbol else 1) + (before[symbol] > 0 if number else 1)
            if not coder.bit(ABSENT * 64 + context + 4 * (number > 0), int(wanted[symbol] > 0)):
                row.append(0)
                continue
            guess = last
            if before[symbol]:
                guess = before[symbol]
                if symbol and row[-1] and before[symbol - 1]:
                    guess = min(max(last + before[symbol] - before[symbol - 1], 1), most)
            error = _signed(coder, (0 if size == 0 else 1 if size < 3 else 2), wanted[symbol] - guess)
            size = abs(error)
            last = guess + error
            _require(1 <= last <= most, "a frequency out of range")
            row.append(last)
        _require(any(row), "an empty table")
        rows.append(row)
        before = row
    return np.array(rows, np.uint8)


def _signed(coder: Writer | Reader, context: int, value: int) -> int:
    """Small signed numbers: whether it is zero, the sign, then the size in unary up to 14, a number beyond."""
    at = RESIDUAL * 64 + context * 20
    if not coder.bit(at, int(value != 0)):
        return 0
    negative = coder.bit(at + 1, int(value < 0))
    size, wanted = 1, abs(value)
    while size < 15 and coder.bit(at + 1 + size, int(size < wanted)):
        size += 1
    if size == 15:
        size += coder.number(LONG, max(wanted - 15, 0))
    return -size if negative else size


_POWERS = [round(2 ** (14 + i / FINEST)) for i in range(FINEST)]


def frequencies(logs: np.ndarray, steps: int) -> np.ndarray:
    """The frequencies of one table, each below 2^12, that sum to 2^12: where a logarithm is not 0 at least 1.

    What is missing to the sum goes to the largest, the first of equals; what is too much is taken from the largest, at
    most half of it at a time. A table of one symbol leaves 1 to its neighbour.
    """
    weights = [
        0 if not log else _POWERS[(log - 1) % steps * (FINEST // steps)] << (log - 1) // steps for log in map(int, logs)
    ]
    total, whole = sum(weights), 1 << PRECISION
    out = [max(1, weight * whole // total) if weight else 0 for weight in weights]
    left = whole - sum(out)
    while left:
        largest = max(range(len(out)), key=lambda i: (out[i], -i))
        change = max(left, -(out[largest] // 2))
        out[largest] += change
        left -= change
    largest = max(range(len(out)), key=lambda i: (out[i], -i))
    if out[largest] == whole:
        out[largest] -= 1
        out[largest + 1 if largest + 1 < len(out) else largest - 1] = 1
    return np.array(out, np.int64)
