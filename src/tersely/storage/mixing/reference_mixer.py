"""Tables, mixer and arithmetic coder of level `max` in Python: what the C++ ones must equal bit for bit.

Integers only, so that every machine has the same. See mixer.hpp for where the method is from.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

PROBABILITY_BITS = 16
STRETCH_LIMIT = 4095
COUNT_LIMIT = 1000
BUCKETS = 12
MAX_WEIGHT = 1 << 24
_STEP = 4598194991441371038
"""exp(-0.75 / 256) in 2^-62: the one constant of the logistic function."""
_MASK32 = (1 << 32) - 1
_MASK64 = (1 << 64) - 1


@cache
def tables() -> tuple[list[int], list[int], list[int]]:
    """Returns squash (of t + 4096), stretch (of the first 12 bits of a probability), rate (of a count)."""
    one = power = 1 << 62
    squash = [0] * 8192
    for t in range(4097):
        high = min(65520, max(16, (one << PROBABILITY_BITS) // (one + power)))
        if t < 4096:
            squash[4096 + t] = high
        squash[4096 - t] = 65536 - high
        power = power * _STEP >> 62
    stretch, t = [], 0
    for p in range(4096):
        while t < 8191 and squash[t] < 16 * p + 8:
            t += 1
        stretch.append(min(2047, max(-2047, t - 4096)))
    return squash, stretch, [655360 // (10 * n + 16) for n in range(1024)]


def mix_hash(a: int, b: int, c: int = 0) -> int:
    """Mixes three words of 32 bits to a hash of 32 bits."""
    h = (a * 0x9E3779B1 ^ (b + 0x7F4A7C15) * 0x85EBCA6B ^ (c + 0x165667B1) * 0xC2B2AE35) & _MASK32
    h ^= h >> 15
    h = h * 0x2C1B3C6D & _MASK32
    return h ^ h >> 13


class Encoder:
    """A binary arithmetic coder: one decision at a time, by the probability (of 65,536) that its bit is 1."""

    encodes = True

    def __init__(self) -> None:
        self._low, self._range = 0, _MASK64
        self._words = 0

    def code(self, bit: int, probability: int) -> int:
        bound = (self._range >> PROBABILITY_BITS) * probability
        if bit:
            self._range = bound
        else:
            self._low += bound
            self._range -= bound
        if self._range <= _MASK32:
            self._low <<= 32
            self._range <<= 32
            self._words += 1
        return bit

    def finish(self) -> bytes:
        """Returns a multiple of 2^32 that is within the range, without the last word, which is 0."""
        return (self._low + _MASK32 >> 32).to_bytes(4 * self._words + 4, "big")


class Decoder:
    """The inverse of `Encoder`; reads zeros beyond the end, and `exact` says so."""

    encodes = False

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        self._range, self._value = _MASK64, 0
        for _ in range(2):
            self._value = self._value << 32 | self._next()

    def _next(self) -> int:
        self._at += 4
        return int.from_bytes(self._data[self._at - 4 : self._at], "big") if self._at <= len(self._data) else 0

    @property
    def exact(self) -> bool:
        """Whether all words were read, and one beyond them, which is 0."""
        return self._at == len(self._data) + 4

    def code(self, bit: int, probability: int) -> int:
        bound = (self._range >> PROBABILITY_BITS) * probability
        bit = int(self._value < bound)
        if bit:
            self._range = bound
        else:
            self._value -= bound
            self._range -= bound
        if self._range <= _MASK32:
            self._range <<= 32
            self._value = (self._value << 32 | self._next()) & _MASK64  # a damaged value may be beyond the range
        return bit


Coder = Encoder | Decoder


class BitWriter:
    """Bits that are kept as they are, lowest first."""

    def __init__(self) -> None:
        self._value, self._count = 0, 0
        self._out = bytearray()

    def bits(self, value: int, count: int) -> int:
        self._value |= value << self._count
        self._count += count
        whole = self._count // 8
        self._out += (self._value & (1 << 8 * whole) - 1).to_bytes(whole, "little")
        self._value >>= 8 * whole
        self._count -= 8 * whole
        return value

    def finish(self) -> bytes:
        return bytes(self._out) + (bytes([self._value]) if self._count else b"")


class BitReader:
    """The inverse of `BitWriter`; reads zeros beyond the end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def bits(self, value: int, count: int) -> int:
        begin, shift = divmod(self._at, 8)
        self._at += count
        found = int.from_bytes(self._data[begin : begin + (shift + count + 7) // 8], "little")
        return found >> shift & (1 << count) - 1

    @property
    def exact(self) -> bool:
        """Whether all was read, nothing beyond it, and what fills the last byte is zeros."""
        whole = (self._at + 7) // 8 == len(self._data)
        return whole and (self._at % 8 == 0 or self._data[-1] >> self._at % 8 == 0)


Bits = BitWriter | BitReader


Slot = tuple[int, int]
"""How likely a bit is 1 in a context, 22 bits, and how often it was seen there."""
NEW_SLOT: Slot = 1 << 21, 0


def moved(slot: Slot, bit: int) -> Slot:
    """The slot after a bit: it moves the less the more often it was seen."""
    p, count = slot
    p += (((1 << 22) - 1 if bit else 0) - p) * tables()[2][count] >> 16
    return p, min(COUNT_LIMIT, count + 1)


def code_alone(coder: Coder, bit: int, slots: dict[int, Slot], at: int) -> int:
    """Codes one bit by a slot alone."""
    slot = slots.get(at, NEW_SLOT)
    bit = coder.code(bit, min(65520, max(16, slot[0] >> 6)))
    slots[at] = moved(slot, bit)
    return bit


class Mixer:
    """The prediction of one bit from several contexts, mixed in the logistic domain.

    Args:
        contexts: how many; the first is the base, the others say how they differ from it.
        lines: of slots, a power of 2.
        line_bits: logarithm of a line's slots.
        sets: of weights.
        doubt: a context that was seen n times begins with the weight trust / 100 * n / (n + doubt).
        trust: in hundredths.
        rate: how fast weights learn.
    """

    def __init__(self, contexts: int, lines: int, line_bits: int, sets: int, doubt: int, trust: int, rate: int) -> None:
        self._mask, self._line_bits, self._rate = lines - 1, line_bits, rate
        self.slots: dict[int, Slot] = {}
        first = [65536] * BUCKETS
        others = [65536 * n // (n + doubt) * trust // 100 for n in ((1 << bucket) - 1 for bucket in range(BUCKETS))]
        self._weights = [[list(others) if context else list(first) for context in range(contexts)] for _ in range(sets)]

    def line(self, hashed: int) -> int:
        """The number of the first slot of a hash's line."""
        return (hashed & self._mask) << self._line_bits

    def code(self, coder: Coder, bit: int, lines: Sequence[int], local: int, chosen: int) -> int:
        """Codes one bit. lines: one for each context; local: the slot of it; chosen: the set of weights."""
        squash, stretch, _ = tables()
        weights = self._weights[chosen]
        slots = [self.slots.get(line + local, NEW_SLOT) for line in lines]
        base = stretch[slots[0][0] >> 10]
        says = [base] + [stretch[p >> 10] - base for p, _ in slots[1:]]
        buckets = [0] + [min(BUCKETS - 1, count.bit_length()) for _, count in slots[1:]]
        total = sum(said * weights[context][buckets[context]] for context, said in enumerate(says))
        mixed = min(STRETCH_LIMIT, max(-STRETCH_LIMIT, total >> 16))
        probability = squash[mixed + 4096]
        bit = coder.code(bit, probability)
        error = (65536 if bit else 0) - probability
        for context, line in enumerate(lines):
            weight = weights[context][buckets[context]] + (says[context] * error * self._rate + (1 << 17) >> 18)
            weights[context][buckets[context]] = min(MAX_WEIGHT, max(-MAX_WEIGHT, weight))
            self.slots[line + local] = moved(slots[context], bit)
        return bit
