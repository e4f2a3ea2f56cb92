"""Blocks of words in NumPy: the oracle of the kernels, short rather than fast.

A word's value is the word without its trimmed bits, the sign below the rest where it is a float; or its number in the
palette. What is above its `raw` lowest bits is its head, which a symbol stands for. Raw bits are kept as they are, but
for the `low` lowest, which are coded by a table of their own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from tersely.core.errors import CorruptError
from tersely.storage.ans.binary import Reader, Writer
from tersely.storage.ans.description import (
    FINEST,
    PRECISION,
    STREAM_SYMBOLS,
    Description,
    Stream,
    describe,
    frequencies,
)

LOWEST = 1 << 16
GROUP = 64


def values_of(words: np.ndarray, d: Description, rotated: bool) -> np.ndarray:
    """Words (unsigned) as 64-bit values."""
    bits = words.dtype.itemsize * 8
    out = words.astype(np.uint64)
    if rotated:
        sign = out >> np.uint64(bits - 1)
        out = (out & np.uint64((1 << bits - 1) - 1)) >> np.uint64(d.trim) << np.uint64(1) | sign
    else:
        out = out >> np.uint64(d.trim)
    return np.searchsorted(d.palette, out).astype(np.uint64) if len(d.palette) else out


def words_of(values: np.ndarray, d: Description, rotated: bool, dtype: np.dtype) -> np.ndarray:
    """The words that have these values. Raises CorruptError for a number that the palette does not have."""
    if len(d.palette):
        if values.size and int(values.max()) >= len(d.palette):
            raise CorruptError("a block has a number beyond its palette")
        values = d.palette[values.astype(np.int64)]
    if not rotated:
        return (values << np.uint64(d.trim)).astype(dtype)
    sign = (values & np.uint64(1)) << np.uint64(dtype.itemsize * 8 - 1)
    return (values >> np.uint64(1) << np.uint64(d.trim) | sign).astype(dtype)


def symbols_of(values: np.ndarray, d: Description) -> tuple[np.ndarray, np.ndarray]:
    """The symbol of each value, and its head's distance from where the symbol begins."""
    heads = values >> np.uint64(d.raw)
    first = int(d.zero)
    starts = np.array(d.starts[first:], np.uint64)
    symbols = np.searchsorted(starts, heads, side="right") - 1 + first
    distances = heads - np.array(d.starts, np.uint64)[np.maximum(symbols, 0)]
    if d.zero:
        symbols, distances = np.where(values == 0, 0, symbols), np.where(values == 0, np.uint64(0), distances)
    return symbols.astype(np.uint8), distances


def tables_of(d: Description) -> np.ndarray:
    """Which table each word's symbol is coded by."""
    total = np.full(d.dims, d.base, np.int64)
    for axis, classes in enumerate(d.classes):
        if classes is not None:
            total += classes.reshape([-1 if other == axis else 1 for other in range(len(d.dims))])
    return np.clip(total, 0, max(len(d.logs), 1) - 1).reshape(-1).astype(np.uint8)


def encode(words: np.ndarray, d: Description, rotated: bool) -> bytes:
    """A block of words; writes the lengths of the streams into the description."""
    values, tables = values_of(words, d, rotated), tables_of(d)
    symbols, distances = symbols_of(values, d)
    table, low_table = _frequencies(d)
    d.streams, payload = [], []
    for first in range(0, len(words), STREAM_SYMBOLS):
        part = slice(first, first + STREAM_SYMBOLS)
        stream = Stream()
        if len(d.starts) > 1:
            coded = _encode_symbols(symbols[part], tables[part], table, d.lanes)
            stream.words = len(coded) // 2 - 2 * d.lanes
            payload.append(coded)
        kept = values[part][symbols[part] != 0] if d.zero else values[part]
        stream.kept = len(kept)
        if d.low:
            low = (kept & np.uint64((1 << d.low) - 1)).astype(np.uint8)
            coded = _encode_symbols(low, np.zeros(len(low), np.uint8), low_table, d.lanes)
            stream.low = len(coded) // 2 - 2 * d.lanes
            payload.append(coded)
        payload.append(_pack_raw(kept >> np.uint64(d.low), d.raw - d.low))
        extra = _pack_bits(distances[part], np.array(d.extras)[symbols[part]])
        stream.extra = len(extra)
        payload.append(extra)
        d.streams.append(stream)
    writer = Writer()
    describe(writer, d, len(words), words.dtype.itemsize * 8)
    side = writer.finish()
    return len(side).to_bytes(4, "little") + side + b"".join(payload)


def decode(block: bytes, count: int, rotated: bool, dtype: np.dtype) -> np.ndarray:
    """The words of a block. Raises CorruptError."""
    size = int.from_bytes(block[:4], "little")
    if len(block) < 4 or size > len(block) - 4:
        raise CorruptError("a block is shorter than its description")
    reader = Reader(block[4 : 4 + size])
    d = describe(reader, Description(), count, dtype.itemsize * 8)
    reader.finish()
    several, raw, states = len(d.starts) > 1, d.raw - d.low, 4 * d.lanes
    sizes = [
        (
            (states + 2 * s.words) * several,
            (states + 2 * s.low) * (d.low > 0),
            s.kept * (raw // 8),
            -(-s.kept // GROUP) * 8 * (raw % 8),
            s.extra,
        )
        for s in d.streams
    ]
    if sum(map(sum, sizes)) != len(block) - 4 - size:
        raise CorruptError("the streams of a block are not as long as it says")
    tables = tables_of(d)
    table, low_table = _frequencies(d)
    out, at = np.empty(count, dtype), 4 + size
    for number, (stream, lengths) in enumerate(zip(d.streams, sizes, strict=True)):
        part = slice(number * STREAM_SYMBOLS, min((number + 1) * STREAM_SYMBOLS, count))
        ends = list(itertools.accumulate(lengths, initial=at))
        pieces = [np.frombuffer(block[a:b], np.uint8) for a, b in itertools.pairwise(ends)]
        at = ends[-1]
        symbols = np.zeros(part.stop - part.start, np.uint8)
        if several:
            symbols = _decode_symbols(pieces[0], tables[part], table, d.lanes)
        kept = symbols != 0 if d.zero else np.ones(len(symbols), bool)
        if int(kept.sum()) != stream.kept:
            raise CorruptError("a stream of a block has another number of zeros than it says")
        extras = np.array(d.extras)[symbols]
        values = np.array(d.starts, np.uint64)[symbols] + _unpack_bits(pieces[4], extras) << np.uint64(d.raw)
        values[kept] |= _unpack_raw(pieces[2], pieces[3], stream.kept, raw) << np.uint64(d.low)
        if d.low:
            values[kept] |= _decode_symbols(pieces[1], np.zeros(stream.kept, np.uint8), low_table, d.lanes)
        out[part] = words_of(values, d, rotated, dtype)
    return out


def _frequencies(d: Description) -> tuple[np.ndarray, np.ndarray]:
    """Of symbols, [tables][symbols], and of lowest bits, [1][2^low]."""
    return (
        np.array([frequencies(logs, d.steps) for logs in d.logs]),
        np.array([frequencies(logs, FINEST) for logs in d.low_logs]),
    )


def _encode_symbols(symbols: np.ndarray, tables: np.ndarray, table: np.ndarray, lanes: int) -> bytes:
    """States, then 16-bit words: backwards, each step's words in the order of lanes."""
    begins = np.cumsum(table, axis=1) - table
    states = np.full(lanes, LOWEST, np.int64)
    out: list[np.ndarray] = []
    for first in reversed(range(0, len(symbols), lanes)):
        step, which = symbols[first : first + lanes], tables[first : first + lanes]
        active = states[: len(step)]
        frequency, begin = table[which, step], begins[which, step]
        full = active >= frequency << 32 - PRECISION
        out.append((active[full] & 0xFFFF).astype("<u2"))
        active = np.where(full, active >> 16, active)
        states[: len(step)] = (active // frequency << PRECISION) + active % frequency + begin
    return states.astype("<u4").tobytes() + b"".join(words.tobytes() for words in reversed(out))


def _decode_symbols(data: np.ndarray, tables: np.ndarray, table: np.ndarray, lanes: int) -> np.ndarray:
    symbol_at = np.array([np.repeat(np.arange(table.shape[1]), row) for row in table])
    begins = np.cumsum(table, axis=1) - table
    states = data[: 4 * lanes].view("<u4").astype(np.int64)
    words, at = data[4 * lanes :].view("<u2").astype(np.int64), 0
    out = np.empty(len(tables), np.uint8)
    for first in range(0, len(tables), lanes):
        which = tables[first : first + lanes]
        active = states[: len(which)]
        slot = active & (1 << PRECISION) - 1
        step = symbol_at[which, slot]
        out[first : first + lanes] = step
        active = table[which, step] * (active >> PRECISION) + slot - begins[which, step]
        low = np.flatnonzero(active < LOWEST)
        if at + len(low) > len(words):
            raise CorruptError("a stream of a block ends too early")
        active[low] = active[low] << 16 | words[at : at + len(low)]
        at += len(low)
        states[: len(which)] = active
    if at != len(words) or (states != LOWEST).any():
        raise CorruptError("a stream of a block does not end where its symbols do")
    return out


def _planes(bits: int) -> Iterator[tuple[int, int]]:
    """The planes of a field of up to 7 bits, the highest first: how wide, and from which bit on."""
    for width in (4, 2, 1):
        if bits & width:
            yield width, bits & width - 1


def _pack_raw(values: np.ndarray, raw: int) -> bytes:
    """Whole bytes, the lowest, of one value after another; then the bits above them in planes, 64 values at a time."""
    whole = raw // 8
    low = values.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :whole].tobytes()
    fields = np.zeros((-(-len(values) // GROUP), GROUP), np.uint8)
    fields.reshape(-1)[: len(values)] = values >> np.uint64(8 * whole) & np.uint64((1 << raw % 8) - 1)
    planes = []
    for width, shift in _planes(raw % 8):
        plane = (fields >> shift & (1 << width) - 1).reshape(-1, 8 // width, 8 * width)
        planes.append((plane << (np.arange(8 // width, dtype=np.uint8) * width)[:, None]).sum(1, dtype=np.uint8))
    return low + (np.concatenate(planes, axis=1).tobytes() if planes else b"")


def _unpack_raw(low: np.ndarray, packed: np.ndarray, count: int, raw: int) -> np.ndarray:
    whole = raw // 8
    bytes_ = np.zeros((count, 8), np.uint8)
    bytes_[:, :whole] = low.reshape(count, whole)
    out = bytes_.view("<u8").reshape(-1).astype(np.uint64)
    if raw % 8:
        groups = packed.reshape(-1, 8 * (raw % 8))
        fields, at = np.zeros((len(groups), GROUP), np.uint64), 0
        for width, shift in _planes(raw % 8):
            plane = groups[:, None, at : at + 8 * width] >> (np.arange(8 // width, dtype=np.uint8) * width)[:, None]
            fields |= (plane & (1 << width) - 1).reshape(-1, GROUP).astype(np.uint64) << np.uint64(shift)
            at += 8 * width
        out |= fields.reshape(-1)[:count] << np.uint64(8 * whole)
    return out


def _bit_places(widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each bit of values of these widths, lowest bit first, whose it is and which."""
    owner = np.repeat(np.arange(len(widths)), widths)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(widths) - widths, widths)


def _pack_bits(values: np.ndarray, widths: np.ndarray) -> bytes:
    owner, place = _bit_places(widths)
    return np.packbits(
        (values[owner] >> place.astype(np.uint64) & np.uint64(1)).astype(np.uint8), bitorder="little"
    ).tobytes()


def _unpack_bits(data: np.ndarray, widths: np.ndarray) -> np.ndarray:
    if -(-int(widths.sum()) // 8) != len(data):
        raise CorruptError("a stream of a block has another number of extra bits than it says")
    owner, place = _bit_places(widths)
    out = np.zeros(len(widths), np.uint64)
    bits = np.unpackbits(data, bitorder="little")[: len(owner)].astype(np.uint64) << place.astype(np.uint64)
    np.bitwise_or.at(out, owner, bits)
    return out
