"""The pool: a coded block of a file's small entries and descriptions, and where its components lie.

    tersely.parts    components, one after another, as they are: what is mapped and multiplied
    tersely.pool     index | text: which entries there are, the original's header, descriptions | blocks of small entries

A file that has hundreds of small tensors, each with a description and entries of a header, would spend more on these
than on weights. The text is decoded when the file is opened, each block when one of its entries is first asked for.
FORMAT: docs/FORMAT.md, "The pool".
"""

from __future__ import annotations

import json
import math
import struct
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tersely.core import forks
from tersely.core.dtypes import BY_TAG
from tersely.core.errors import CorruptError, FormatError
from tersely.files.container import limits
from tersely.files.container.description import MARK
from tersely.files.container.header import Entry, is_text, tensor_bytes
from tersely.storage import codec
from tersely.storage.numbers import Cursor, varints

TENSOR, PARTS = "tersely.pool", "tersely.parts"
RESERVED = frozenset({TENSOR, PARTS})
"""Names that no tensor of a user has."""
COMPONENT_BYTES = 4096
"""Components of at most so many bytes, directories and tables, are decoded when the file is opened; others are mapped."""
_U8 = BY_TAG["U8"]
_CRC = 4
_LINE = 64
_KEYS = ("infos", "parts", "small")


@dataclass(frozen=True)
class Contents:
    """What a pool says. parts: names and bytes of components in `tersely.parts`. infos: descriptions, by their names.
    small: the entries whose bytes are in blocks. original: what the file keeps of its original, verbatim."""

    parts: Sequence[tuple[str, int]]
    infos: Mapping[str, bytes]
    small: Sequence[tuple[str, str, tuple[int, ...]]]
    original: bytes

    def text(self) -> tuple[bytes, bytes, bytes]:
        """Its sections: the list of entries, the original, the descriptions."""
        document = {
            "infos": [[name, len(info)] for name, info in self.infos.items()],
            "parts": list(self.parts),
            "small": list(self.small),
        }
        text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
        return text, self.original, b"".join(self.infos.values())


def spec_of(tag: str, shape: tuple[int, ...]) -> codec.Spec:
    """An entry as an item of a block; of elements that are no whole bytes it has the bytes they lie in."""
    dtype = BY_TAG[tag]
    return codec.Spec(_U8, dtype.array_shape(shape)) if dtype.packed else codec.Spec(dtype, shape)


def blocks_of(small: Sequence[tuple[str, str, tuple[int, ...]]]) -> Iterator[list[int]]:
    """Which entries, by number, share a block: neighbours of one dtype, as many as fit, components apart from tensors."""
    block: list[int] = []
    held, before = 0, ("", False)
    for number, (name, tag, shape) in enumerate(small):
        kind, size = (tag, MARK in name), tensor_bytes(tag, shape)
        if block and (kind != before or held + size > limits.POOL_BYTES):
            yield block
            block, held = [], 0
        block.append(number)
        held, before = held + size, kind
    if block:
        yield block


def pack(contents: Contents, arrays: Sequence[np.ndarray], smallest: bool = False) -> bytes | None:
    """The bytes of a pool; None where its text is longer than a reader takes.

    arrays: the bytes of its small entries. smallest: blocks may be of the slow coder, which takes a second for a
    megabyte, where they are smaller so. The text, which is decoded whenever the file is opened, never is.
    """
    sections = contents.text()
    text = np.frombuffer(b"".join(sections), np.uint8)
    if text.size > limits.POOL_TEXT_BYTES:
        return None
    blocks = [codec.encode([codec.Item(text, _U8, (text.size,))], mixed=False)]
    for numbers in blocks_of(contents.small):
        items = []
        for number in numbers:
            spec = spec_of(*contents.small[number][1:])
            items.append(codec.Item(np.ascontiguousarray(arrays[number]).reshape(-1), spec.dtype, spec.shape))
        blocks.append(codec.encode(items, mixed=smallest))
    body = varints([*map(len, sections), len(blocks), *map(len, blocks)])
    body += struct.pack(f"<{len(blocks)}I", *map(zlib.crc32, blocks))
    return b"".join([varints([len(body)]), body, struct.pack("<I", zlib.crc32(body)), *blocks])


class Pool:
    """The pool of an open file. entries: what is in it or in its parts, by name; only parts lie where they say."""

    def __init__(self, raw: np.ndarray, parts: Entry | None, file: str) -> None:
        """raw: the bytes of `tersely.pool`. parts: the entry `tersely.parts`. Raises CorruptError or UnsupportedError."""
        self._file = file
        self.renew()
        try:
            sections, self._blocks = _index(memoryview(raw))
            whole = self._decoded(0, [codec.Spec(_U8, (sum(sections),))])[0].tobytes()
            document = _document(whole[: sections[0]])
            self.original = whole[sections[0] : sections[0] + sections[1]]
            self.entries: dict[str, Entry] = {}
            self._infos = self._take_infos(document["infos"], whole[sections[0] + sections[1] :])
            self._take_parts(document["parts"], parts)
            self._take_small(document["small"], len(whole))
        except FormatError as error:
            raise error.located(file=file, tensor=TENSOR) from None
        self._arrays: dict[int, list[np.ndarray]] = {}
        forks.renew_in_children(self)

    def renew(self) -> None:
        """A lock of this process."""
        self._lock = threading.Lock()

    def __contains__(self, name: object) -> bool:
        """Whether an entry of this name is coded here, and lies nowhere in the file as it is."""
        return name in self._infos or name in self._place

    def raw(self, name: str) -> np.ndarray:
        """The bytes of an entry of the pool, uint8, read-only, at a multiple of 64. Raises CorruptError."""
        if name in self._infos:
            return np.frombuffer(self._infos[name], np.uint8)
        block, at = self._place[name]
        with self._lock:
            if block not in self._arrays:
                try:
                    found = self._decoded(block, self._specs[block])
                except FormatError as error:
                    raise error.located(file=self._file, tensor=TENSOR) from None
                self._arrays[block] = _aligned(found)
            return self._arrays[block][at]

    def stored_bytes(self, name: str) -> int:
        """An entry's share of the bytes of its block."""
        block = 0 if name in self._infos else self._place[name][0]
        return -(-len(self._blocks[block][0]) * self.entries[name].nbytes // max(1, self._sizes[block]))

    def _decoded(self, number: int, specs: Sequence[codec.Spec]) -> list[np.ndarray]:
        block, stored = self._blocks[number]
        if zlib.crc32(block) != stored:
            raise CorruptError(f"the checksum of block {number} does not hold; get the file again")
        return codec.decode(block, specs)

    def _claim(self, name: Any, entry: Entry) -> None:
        if not isinstance(name, str) or not is_text(name) or name in self.entries or name in RESERVED:
            raise CorruptError("an entry has no name of its own; get the file again")
        self.entries[name] = entry

    def _take_infos(self, rows: Any, texts: bytes) -> dict[str, bytes]:
        infos, at = {}, 0
        for name, size in _rows(rows, 2):
            if not _is_count(size) or size > len(texts) - at:
                raise CorruptError("descriptions are missing; get the file again")
            self._claim(name, Entry(name, "U8", (size,), 0, size))
            infos[name] = texts[at : at + size]
            at += size
        if at != len(texts):
            raise CorruptError("there are more descriptions than entries; get the file again")
        return infos

    def _take_parts(self, rows: Any, parts: Entry | None) -> None:
        begin, end = (0, 0) if parts is None else (parts.begin, parts.end)
        if parts is not None and (parts.tag != "U8" or len(parts.shape) != 1):
            raise CorruptError(f"{PARTS} must be U8 with one dimension; get the file again")
        for name, size in _rows(rows, 2):
            if not _is_count(size) or size > end - begin:
                raise CorruptError(f"{PARTS} is too short, or missing; get the file again")
            self._claim(name, Entry(name, "U8", (size,), begin, begin + size))
            begin += size
        if begin != end:
            raise CorruptError(f"{PARTS} is longer than its components; get the file again")

    def _take_small(self, rows: Any, text_bytes: int) -> None:
        small = []
        for name, tag, shape in _rows(rows, 3):
            size = _checked_bytes(tag, shape)
            self._claim(name, Entry(name, tag, tuple(shape), 0, size))
            small.append((name, tag, tuple(shape)))
        blocks = list(blocks_of(small))
        if len(blocks) != len(self._blocks) - 1:
            raise CorruptError(
                f"there are {len(self._blocks)} blocks, the entries need {len(blocks) + 1}; get the file again"
            )
        self._specs = [[codec.Spec(_U8, (text_bytes,))], *([spec_of(*small[k][1:]) for k in block] for block in blocks)]
        self._sizes = [sum(spec.size for spec in specs) for specs in self._specs]
        self._place = {small[k][0]: (b + 1, at) for b, block in enumerate(blocks) for at, k in enumerate(block)}


def _index(data: memoryview) -> tuple[list[int], list[tuple[memoryview, int]]]:
    """Bytes of the sections of the text; each block with its checksum."""
    cursor = Cursor(data)
    body = Cursor(cursor.bytes(cursor.number(len(data), "its length")))
    whole = body.bytes(body.left)
    (stored,) = struct.unpack("<I", cursor.bytes(_CRC))
    if zlib.crc32(whole) != stored:
        raise CorruptError("the index's checksum does not hold; get the file again")
    body = Cursor(whole)
    sections = [body.number(limits.POOL_TEXT_BYTES, "bytes of the text") for _ in range(3)]
    if sum(sections) > limits.POOL_TEXT_BYTES:
        raise CorruptError("the text is too long; get the file again")
    count = body.number(body.left // (1 + _CRC), "the number of blocks")
    sizes = [body.number(len(data), "bytes of a block") for _ in range(count)]
    sums = struct.unpack(f"<{count}I", body.bytes(_CRC * count))
    if body.left or not count or sum(sizes) != cursor.left:
        raise CorruptError("the blocks do not fill it: truncated, or something was appended")
    return sections, [(cursor.bytes(size), crc) for size, crc in zip(sizes, sums, strict=True)]


def _document(raw: bytes) -> dict[str, Any]:
    try:
        document = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CorruptError(f"its text is damaged: {str(error)[:100]}; get the file again") from None
    if not isinstance(document, dict) or set(document) != set(_KEYS):
        raise CorruptError(f"its text has other fields than {', '.join(_KEYS)}; get the file again")
    return document


def _rows(rows: Any, length: int) -> list[list[Any]]:
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == length for row in rows):
        raise CorruptError(f"an entry does not have {length} fields; get the file again")
    return rows


def _checked_bytes(tag: Any, shape: Any) -> int:
    """Bytes of an entry that a block may hold. Raises CorruptError."""
    if not isinstance(tag, str) or tag not in BY_TAG or not isinstance(shape, list) or len(shape) > limits.DIMENSIONS:
        raise CorruptError("an entry has no dtype, or no shape; get the file again")
    if not all(map(_is_count, shape)) or math.prod(max(1, length) for length in shape) >= limits.ELEMENTS:
        raise CorruptError("an entry has no shape; get the file again")
    bits = BY_TAG[tag].bits * math.prod(shape)
    if not 0 < bits <= 8 * limits.POOL_BYTES or bits % 8:
        raise CorruptError(f"an entry of {bits} bits, which no block holds; get the file again")
    return bits // 8


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _aligned(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The same bytes where components lie: at multiples of 64, with as many bytes behind the last one."""
    begins = np.cumsum([0] + [-(-array.size // _LINE) * _LINE for array in arrays]).tolist()
    room = np.zeros(begins[-1] + 2 * _LINE, np.uint8)
    first = -room.ctypes.data % _LINE
    found = []
    for array, begin in zip(arrays, begins, strict=False):
        place = room[first + begin : first + begin + array.size]
        place[:] = array
        place.flags.writeable = False
        found.append(place)
    return found
