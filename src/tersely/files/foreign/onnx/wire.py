"""Protobuf as far as its lengths: fields of a message with the range of their bytes, nothing copied or built.

Weights stay where they are, and what the model does not say about them need not be understood.
See: the protobuf encoding guide. Groups (wire types 3 and 4) do not occur in ONNX.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tersely.core.errors import CorruptError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}
_LONGEST = 10


@dataclass(frozen=True, slots=True)
class Field:
    """number, wire: its key. begin, end: the bytes of its value, length not among them. value: of a varint."""

    number: int
    wire: int
    begin: int
    end: int
    value: int = 0


@dataclass(frozen=True)
class Message:
    """Bytes [begin, end) of a file as a message."""

    data: memoryview
    begin: int
    end: int
    file: str

    def inside(self, field: Field) -> Message:
        """A field's own bytes as a message."""
        return Message(self.data, field.begin, field.end, self.file)

    def fields(self) -> Iterator[Field]:
        """Yields the fields in order. Raises CorruptError with the byte."""
        at = self.begin
        while at < self.end:
            start = at
            key, at = self.varint(at)
            number, wire = key >> 3, key & 7
            if number == 0:
                raise CorruptError(
                    "a field with number 0: damaged, or not a protobuf message", file=self.file, file_byte=start
                )
            if wire == VARINT:
                first = at
                value, at = self.varint(at)
                yield Field(number, wire, first, at, value)
                continue
            if wire == BYTES:
                length, at = self.varint(at)
            elif wire in _FIXED:
                length = _FIXED[wire]
            else:
                raise CorruptError(f"wire type {wire}: damaged, or not an ONNX model", file=self.file, file_byte=start)
            if length > self.end - at:
                raise CorruptError(
                    f"a field claims {length} bytes where {self.end - at} are left: truncated, or not an ONNX model",
                    file=self.file,
                    file_byte=start,
                )
            yield Field(number, wire, at, at + length)
            at += length

    def varint(self, at: int) -> tuple[int, int]:
        """The number at a byte, and the byte after it. Raises CorruptError."""
        value = 0
        for shift in range(0, 7 * _LONGEST, 7):
            if at >= self.end:
                raise CorruptError(
                    "a number is cut short: truncated, or not an ONNX model", file=self.file, file_byte=at
                )
            byte = self.data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & (1 << 64) - 1, at
        raise CorruptError(
            "a number of more than ten bytes: damaged, or not an ONNX model", file=self.file, file_byte=at
        )

    def text(self, field: Field) -> str:
        """A field of text. Raises CorruptError."""
        if field.wire != BYTES:
            raise CorruptError("a number where text is expected", file=self.file, file_byte=field.begin)
        try:
            return bytes(self.data[field.begin : field.end]).decode()
        except UnicodeDecodeError as error:
            raise CorruptError("a name is not UTF-8", file=self.file, file_byte=field.begin + error.start) from None

    def integers(self, field: Field) -> list[int]:
        """A repeated integer, packed or one of many; as signed 64-bit numbers."""
        if field.wire == VARINT:
            found = [field.value]
        elif field.wire == BYTES:
            found, at, inner = [], field.begin, self.inside(field)
            while at < field.end:
                value, at = inner.varint(at)
                found.append(value)
        else:
            raise CorruptError("a list of numbers has the wrong type", file=self.file, file_byte=field.begin)
        return [value - (1 << 64) if value >> 63 else value for value in found]
