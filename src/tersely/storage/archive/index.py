"""The index of a stored file: integers as varints, seven bits a byte, lowest first, in their one shortest form.

    kind | sections of the text, their bytes | copies: count, then (gap, tensor) pairs | blocks: count, then bytes of each
    | [SHA-256 of the original] | CRC-32 of each block | CRC-32 of the index

Nothing here depends on what the tensors are: those stand in the text, which the first blocks hold.
FORMAT: docs/FORMAT.md, "Stored files".
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tersely.core.errors import CorruptError
from tersely.storage.archive import limits
from tersely.storage.numbers import Cursor, varints

HEADER, SHORT_HEADER, OTHER_FILES = 0, 1, 2
"""Kinds of originals: a safetensors file, whose header is the text, as it is or without what follows from the rest of it;
files of another format, kept as pieces."""
_SHA256, _CRC = 32, 4


@dataclass(frozen=True)
class Index:
    """kind: of the original. sections: bytes of each section of the text. copies: tensors that have the bytes of an earlier one,
    by number. sizes, sums: bytes and CRC-32 of each block. sha256: of a safetensors original, else empty."""

    kind: int
    sections: tuple[int, ...]
    copies: Mapping[int, int]
    sizes: Sequence[int]
    sums: Sequence[int]
    sha256: bytes = b""

    @property
    def text_bytes(self) -> int:
        return sum(self.sections)

    def pack(self) -> bytes:
        """The index with its length before it and its checksum after it."""
        numbers = [self.kind, len(self.sections), *self.sections, len(self.copies)]
        before = -1
        for number, other in sorted(self.copies.items()):
            numbers += [number - before - 1, other]
            before = number
        numbers += [len(self.sizes), *self.sizes]
        body = varints(numbers) + self.sha256 + struct.pack(f"<{len(self.sums)}I", *self.sums)
        return varints([len(body)]) + body + struct.pack("<I", zlib.crc32(body))


def parse(data: memoryview) -> tuple[Index, int]:
    """The index that a stored file begins with, and the bytes it takes; blocks fill the rest exactly.

    Raises CorruptError. What it makes is no larger than a few times the index itself.
    """
    cursor = Cursor(data)
    length = cursor.number(len(data), "its length")
    body = cursor.bytes(length)
    (stored,) = struct.unpack("<I", cursor.bytes(_CRC))
    if zlib.crc32(body) != stored:
        raise CorruptError("the index's checksum does not hold; get the file again")
    index = _parse_body(Cursor(body))
    if cursor.at + sum(index.sizes) != len(data):
        raise CorruptError(
            f"the blocks take {sum(index.sizes)} bytes, the file has {len(data) - cursor.at}: truncated, or something was "
            "appended"
        )
    return index, cursor.at


def _parse_body(cursor: Cursor) -> Index:
    kind = cursor.number(OTHER_FILES, "the kind of the original")
    sections = tuple(
        cursor.number(limits.TEXT_BYTES, "bytes of the text") for _ in range(cursor.number(3, "sections of the text"))
    )
    if not sections or sum(sections) > limits.TEXT_BYTES:
        raise CorruptError("the text is too long, or there is none; get the file again")
    copies: dict[int, int] = {}
    before = -1
    for _ in range(cursor.number(cursor.left // 2, "the number of copies")):
        number = before + 1 + cursor.number(limits.TEXT_BYTES, "a copy")
        other = cursor.number(max(0, number - 1), "what a copy is one of")
        if number == other or other in copies:
            raise CorruptError("a copy is one of a copy; get the file again")
        copies[number] = other
        before = number
    count = cursor.number(cursor.left // (1 + _CRC), "the number of blocks")
    sizes = [cursor.number(limits.CODED_BYTES, "bytes of a block") for _ in range(count)]
    sha256 = bytes(cursor.bytes(_SHA256)) if kind != OTHER_FILES else b""
    sums = struct.unpack(f"<{count}I", cursor.bytes(_CRC * count))
    if cursor.left or 0 in sizes:
        raise CorruptError("the index holds more than it should, or an empty block; get the file again")
    return Index(kind, sections, copies, sizes, sums, sha256)
