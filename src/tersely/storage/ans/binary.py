"""The coder of side information: binary decisions, each with an adaptive probability.

A probability is the mean of two 16-bit estimates that follow the decisions at different speeds, so a context is of use
after few of them and still comes to rest. The coder narrows an interval of 32-bit numbers; what follows the last byte
counts as zero. `Writer` and `Reader` have the same methods: whoever describes a syntax with them has described both ways.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from tersely.core.errors import CorruptError

FAST, SLOW = 4, 7
HALF = 1 << 15
MAX_BITS = 63
MAX_NUMBER = (1 << MAX_BITS) - 2
"""The largest that `number` can say."""
CONTEXTS_PER_KIND = 64


class _Coder(ABC):
    def __init__(self) -> None:
        self._estimates: dict[int, list[int]] = {}
        self._low, self._high = 0, 0xFFFFFFFF

    def bit(self, context: int, value: int = 0) -> int:
        """One decision under the probability of its context."""
        estimates = self._estimates.setdefault(context, [HALF, HALF])
        value = self._decide(estimates[0] + estimates[1] >> 1, value)
        for which, rate in enumerate((FAST, SLOW)):
            if value:
                estimates[which] += 0xFFFF - estimates[which] >> rate
            else:
                estimates[which] -= estimates[which] >> rate
        return value

    def direct(self, count: int, value: int = 0) -> int:
        """`count` decisions that are as likely either way, the highest bit first."""
        out = 0
        for place in reversed(range(count)):
            out = out << 1 | self._decide(HALF, value >> place & 1)
        return out

    def number(self, kind: int, value: int = 0) -> int:
        """A number from 0 to `MAX_NUMBER`: how many bits its successor has, in unary, then those below the highest."""
        bits, value = 0, max(value, 0)  # what is passed while reading counts for nothing
        wanted = (value + 1).bit_length() - 1
        while self.bit(kind * CONTEXTS_PER_KIND + bits, int(bits < wanted)):
            bits += 1
            if bits == MAX_BITS:
                raise CorruptError("the side information of a block has a number of more than 63 bits")
        return (1 << bits | self.direct(bits, value + 1 & ~(1 << wanted))) - 1

    def tree(self, kind: int, bits: int, value: int = 0) -> int:
        """A number of `bits` bits (at most 6), each under the probability of those before it."""
        node = 1
        for place in reversed(range(bits)):
            node = node << 1 | self.bit(kind * CONTEXTS_PER_KIND + node, value >> place & 1)
        return node - (1 << bits)

    def _split(self, probability: int) -> int:
        # At least one number stays on either side: 1 <= probability < 2^16.
        probability = min(max(probability, 32), 0xFFFF - 32)
        return self._low + ((self._high - self._low) >> 16) * probability

    @abstractmethod
    def _decide(self, probability: int, value: int) -> int:
        """One decision by the probability that it is 1; a reader does not look at the value. Returns it."""


class Writer(_Coder):
    """Writes decisions; `finish` returns the bytes."""

    reading = False

    def __init__(self) -> None:
        super().__init__()
        self._out = bytearray()

    def _decide(self, probability: int, value: int) -> int:
        middle = self._split(probability)
        if value:
            self._high = middle
        else:
            self._low = middle + 1
        while not (self._low ^ self._high) >> 24:
            self._out.append(self._high >> 24)
            self._low = self._low << 8 & 0xFFFFFFFF
            self._high = self._high << 8 & 0xFFFFFFFF | 0xFF
        return value

    def finish(self) -> bytes:
        for size in range(5):
            place = 32 - 8 * size
            end = -(-self._low >> place) << place
            if end <= self._high:
                break
        return bytes(self._out) + end.to_bytes(5, "big")[1 : 1 + size]


class Reader(_Coder):
    """Reads decisions from bytes; what is read too far is a CorruptError."""

    reading = True
    _SPARE = 4

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data, self._at, self._code = data, 0, 0
        for _ in range(4):
            self._code = self._code << 8 | self._next()

    def _next(self) -> int:
        self._at += 1
        if self._at <= len(self._data):
            return self._data[self._at - 1]
        if self._at > len(self._data) + self._SPARE:
            raise CorruptError("the side information of a block ends too early")
        return 0

    def _decide(self, probability: int, value: int) -> int:
        middle = self._split(probability)
        value = int(self._code <= middle)
        if value:
            self._high = middle
        else:
            self._low = middle + 1
        while not (self._low ^ self._high) >> 24:
            self._low = self._low << 8 & 0xFFFFFFFF
            self._high = self._high << 8 & 0xFFFFFFFF | 0xFF
            self._code = (self._code << 8 & 0xFFFFFFFF) | self._next()
        return value

    def finish(self) -> None:
        """All bytes must have been of use: at least the last one was looked at."""
        if self._at < len(self._data):
            raise CorruptError("a block has bytes behind its side information")
