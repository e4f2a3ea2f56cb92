"""Integers as protobuf writes them: seven bits a byte, lowest first, the high bit set on all but the last byte.

Only the one shortest form of a number is read: what `decode` takes, `encode` gives back byte for byte.
See: the protobuf encoding guide, "Base 128 varints". Negative numbers are extended to 64 bits, so they have ten bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tersely.core.dtypes import DType

_BLOCK = 1 << 18
"""Numbers at a time: each needs some thirty bytes while it is worked on."""
_LONGEST = 10


def _integer(dtype: DType) -> np.dtype:
    return np.dtype(f"<{'i' if dtype.name.startswith('int') else 'u'}{dtype.bits // 8}")


def encode(raw: np.ndarray, dtype: DType) -> Iterator[np.ndarray]:
    """The bytes of an array, seen as signed or unsigned integers of its width, as runs of varints."""
    values = raw.view(_integer(dtype))
    for first in range(0, values.size, _BLOCK):
        words = values[first : first + _BLOCK].astype(np.int64).view(np.uint64)
        lengths = np.ones(words.size, np.int64)
        for shift in range(7, 64, 7):
            lengths += words >> np.uint64(shift) != 0
        starts = np.cumsum(lengths) - lengths
        out = np.empty(int(lengths.sum()), np.uint8)
        for k in range(int(lengths.max(initial=0))):
            there = lengths > k
            low = (words[there] >> np.uint64(7 * k)).astype(np.uint8) & 0x7F
            out[starts[there] + k] = low | (lengths[there] > k + 1).astype(np.uint8) << 7
        yield out


def decode(raw: np.ndarray, dtype: DType, count: int) -> np.ndarray | None:
    """The bytes of the array that `encode` would write as `raw`; None where there is none with `count` elements."""
    ends = np.flatnonzero(raw < 128) + 1
    if ends.size != count or (count and ends[-1] != raw.size) or (raw.size and not count):
        return None
    values = np.empty(count, _integer(dtype))
    begin = 0
    for first in range(0, count, _BLOCK):
        stops = ends[first : first + _BLOCK] - begin
        block = raw[begin : begin + int(stops[-1])]
        starts = np.concatenate(([0], stops[:-1]))
        lengths = stops - starts
        if lengths.max() > _LONGEST:
            return None
        words = np.zeros(stops.size, np.uint64)
        for k in range(int(lengths.max())):
            there = lengths > k
            words[there] |= (block[starts[there] + k] & 0x7F).astype(np.uint64) << np.uint64(7 * k)
        values[first : first + _BLOCK] = words.view(np.int64).astype(values.dtype)
        begin += int(stops[-1])
    found = values.view(np.uint8)
    position = 0
    for block in encode(found, dtype):
        if not np.array_equal(block, raw[position : position + block.size]):
            return None
        position += block.size
    return found
