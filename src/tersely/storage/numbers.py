"""Integers of at least 0 as varints: seven bits a byte, lowest first, in their one shortest form."""

from __future__ import annotations

from collections.abc import Iterable

from tersely.core.errors import CorruptError


def varints(numbers: Iterable[int]) -> bytes:
    """Integers of at least 0, one after another."""
    found = bytearray()
    for number in numbers:
        while number > 127:
            found.append(number & 127 | 128)
            number >>= 7
        found.append(number)
    return bytes(found)


class Cursor:
    """Integers and bytes of an index that are read one after another, each held to a limit."""

    def __init__(self, data: memoryview) -> None:
        self._data, self.at = data, 0

    @property
    def left(self) -> int:
        """How many bytes have not been read."""
        return len(self._data) - self.at

    def number(self, limit: int, what: str) -> int:
        """The next integer. Raises CorruptError, saying what it is, where it ends too early or is above the limit."""
        value = shift = 0
        while True:
            if not self.left or shift > 63:
                raise CorruptError(f"the index ends in {what}; get the file again")
            byte = self._data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
        if value > limit or (byte == 0 and shift):
            raise CorruptError(f"the index has {value} for {what}, which cannot be; get the file again")
        return value

    def bytes(self, count: int) -> memoryview:
        """The next bytes. Raises CorruptError where there are fewer."""
        if count > self.left:
            raise CorruptError("the index is too short; get the file again")
        self.at += count
        return self._data[self.at - count : self.at]
