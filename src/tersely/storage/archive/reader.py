"""A stored file: the index, the text, and any tensor of it decoded alone. Nothing is decoded until it is asked for.

Two gates: `index.parse` and `texts.parse` make values of bytes, each held to a limit; then the layout that follows from
the tensors must have as many blocks as the index has. Only then blocks are decoded, each to what its tensors say.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tersely.core import forks
from tersely.core.dtypes import BY_TAG, DType
from tersely.core.errors import CorruptError, FormatError, TerselyError, TooLargeError, VerificationError
from tersely.files.container import header, stored
from tersely.files.container.header import Entry
from tersely.storage import codec
from tersely.storage.archive import layout, texts
from tersely.storage.archive.ahead import ReadAhead
from tersely.storage.archive.index import Index, parse
from tersely.storage.archive.layout import Block

CODERS = {
    codec.STORED: "plain",
    codec.ANS: "ans",
    codec.MIXING: "mixing",
    codec.DIFFERENCES: "differences",
    codec.JOINED: "mixing",
}
"""Coders by the first byte of a block, for people."""
_POOLS = 8
"""Blocks of several tensors that are kept decoded: they are wanted again."""


class Archive:
    """An open stored file. entries: its tensors, by number, in the order of the original. text: what is no tensor."""

    def __init__(self, path: str | os.PathLike[str], *, mapped: bool = True, threads: int = 1) -> None:
        """threads: workers that decode. Raises CorruptError or UnsupportedError naming the place, TerselyError where the file
        cannot be opened."""
        self.path, self.file = Path(path), str(path)
        self._map: mmap.mmap | None = None
        data = self._load(mapped)
        self.file_bytes = len(data)
        found = header.parse(lambda start, stop: data[start:stop], len(data), self.file)
        stored.check(found, self.file)
        payload = data[found.data_start :]
        try:
            self.index, begin = parse(payload)
        except CorruptError as error:
            raise error.located(file=self.file) from None
        self._start = found.data_start + begin
        self._data = payload[begin:]
        ends = np.cumsum(np.array(self.index.sizes, np.int64)).tolist()
        self._begins = [0, *ends[:-1]] if ends else []
        self.renew()
        self._threads = threads
        self._of: dict[int, list[int]] = {}
        self._pools: dict[int, list[np.ndarray]] = {}
        self.blocks: list[Block] = []
        self.entries: list[Entry] = []
        self.text = self._parse_text()
        self.entries = self.text.entries
        self._check_copies()
        first = len(self.blocks)
        try:
            self.blocks += layout.tensor_blocks(self.entries, self.index.copies, len(self.index.sizes) - first)
        except CorruptError as error:
            raise error.located(file=self.file) from None
        if len(self.blocks) != len(self.index.sizes):
            raise CorruptError(
                f"the file has {len(self.index.sizes)} blocks, its tensors need {len(self.blocks)}; get the file again",
                file=self.file,
            )
        self._place: dict[int, int] = {}
        for number, block in enumerate(self.blocks):
            for place, part in enumerate(block.parts):
                self._of.setdefault(part.tensor, []).append(number)
                self._place[part.tensor] = place
        self._ahead = ReadAhead(self._decoded, [block.nbytes for block in self.blocks], threads)
        forks.renew_in_children(self)

    def renew(self) -> None:
        """A lock of this process."""
        self._lock = threading.Lock()

    def _load(self, mapped: bool) -> memoryview:
        try:
            with open(self.path, "rb") as file:
                if not mapped or os.fstat(file.fileno()).st_size == 0:
                    return memoryview(file.read())
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                return memoryview(self._map)
        except IsADirectoryError:
            raise TerselyError(f"{self.file} is a folder; give one of its .safetensors files") from None
        except FileNotFoundError:
            raise TerselyError(f"{self.file} does not exist") from None
        except OSError as error:
            raise TerselyError(f"{self.file} cannot be read: {error.strerror or error}") from error

    def _parse_text(self) -> texts.Text:
        index: Index = self.index
        self.blocks = layout.text_blocks(index.text_bytes)
        if len(self.blocks) > len(index.sizes):
            raise CorruptError("the text needs more blocks than there are; get the file again", file=self.file)
        whole = b"".join(self._decoded(number)[0].tobytes() for number in range(len(self.blocks)))
        sections, at = [], 0
        for size in index.sections:
            sections.append(whole[at : at + size])
            at += size
        return texts.parse(index.kind, sections, self.file)

    def _check_copies(self) -> None:
        for number, other in self.index.copies.items():
            if number >= len(self.entries) or self.entries[number].nbytes != self.entries[other].nbytes:
                raise CorruptError("a copy of a tensor of another size; get the file again", file=self.file)

    # -- blocks ----------------------------------------------------------------------------------------------------

    def coded(self, number: int) -> memoryview:
        """A block as it is in the file."""
        begin = self._begins[number]
        return self._data[begin : begin + self.index.sizes[number]]

    def _decoded(self, number: int, threads: int = 1) -> list[np.ndarray]:
        block, data = self.blocks[number], self.coded(number)
        try:
            other = self._reference(number)
            reference = None if other is None else self._decoded(other, threads)[0]
            found = codec.decode(data, block.specs, threads, reference)
        except MemoryError:
            raise self._at(number, TooLargeError("a block takes more memory than there is")) from None
        except FormatError as error:
            raise self._at(number, error) from None
        if block_sum(found, data) != self.index.sums[number]:
            raise self._at(number, CorruptError("the checksum does not hold; get the file again"))
        if self.coded(number)[0] != codec.STORED:  # whose items are the file's own bytes
            self._forget(number)
        return found

    def _reference(self, number: int) -> int | None:
        """The block that a block has differences from, None for one that has none. Raises CorruptError."""
        block = self.blocks[number]
        if not (back := codec.back_of(self.coded(number))):
            return None
        tensor = block.parts[0].tensor
        others = self._of.get(tensor - back, [])
        place = number - self._of.get(tensor, [number])[0]
        if len(block.parts) == 1 and tensor - back >= 0 and place < len(others):
            part, one = block.parts[0], self.blocks[others[place]].parts
            alike = len(one) == 1 and (one[0].begin, one[0].end, one[0].spec) == (part.begin, part.end, part.spec)
            if alike and self.coded(others[place])[0] != codec.DIFFERENCES:
                return others[place]
        raise CorruptError("a reference to what is no tensor like this, or has one itself; get the file again")

    def reference(self, number: int) -> int | None:
        """The tensor that any block of this one has differences from."""
        number = self.stored_as(number)
        backs = [codec.back_of(self.coded(block)) for block in self._of.get(number, [])]
        return next((number - back for back in backs if back), None)

    def _forget(self, number: int) -> None:
        """Let the system drop the mapped pages of a block: keeps long jobs small."""
        begin = self._start + self._begins[number]
        first = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE
        length = (begin + self.index.sizes[number]) // mmap.PAGESIZE * mmap.PAGESIZE - first
        if self._map is not None and length > 0 and hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED, first, length)

    def _at(self, number: int, error: FormatError) -> FormatError:
        """An error about a block, with its place: that of its first tensor."""
        first = self.blocks[number].parts[0].tensor
        error.file_byte = self._start + self._begins[number]
        return error.located(file=self.file, tensor=self.entries[first].name if first >= 0 else None)

    # -- tensors ---------------------------------------------------------------------------------------------------

    def stored_as(self, number: int) -> int:
        """The tensor whose blocks have the bytes of this one."""
        return self.index.copies.get(number, number)

    def tensor(self, number: int) -> np.ndarray:
        """The bytes of a tensor, uint8, in memory of their own or of a pool that is not written to. Raises CorruptError."""
        number = self.stored_as(number)
        size = self.entries[number].nbytes
        blocks = self._of.get(number, [])
        with self._lock:
            if not blocks:
                return np.empty(0, np.uint8)
            if self.blocks[blocks[0]].pooled or len(blocks) == 1:
                return self._part(blocks[0], number)
            try:
                raw = np.empty(size, np.uint8)
            except MemoryError:
                name = self.entries[number].name
                raise TooLargeError(
                    f"{size} bytes are more memory than there is", file=self.file, tensor=name
                ) from None
            for block in blocks:
                part = self.blocks[block].parts[0]
                raw[part.begin : part.end] = self._ahead.get(block)[0]
            return raw

    def _part(self, block: int, number: int) -> np.ndarray:
        """A tensor that is in one block."""
        if not self.blocks[block].pooled:
            return self._ahead.get(block)[0]
        if block not in self._pools:
            while len(self._pools) >= _POOLS:
                del self._pools[next(iter(self._pools))]
            self._pools[block] = self._ahead.get(block)
        return self._pools[block][self._place[number]]

    def stored_bytes(self) -> list[int]:
        """What the file has of each tensor: its blocks, its share of a block by the bytes it had, 0 for a copy."""
        found = [0] * len(self.entries)
        for block, size in zip(self.blocks, self.index.sizes, strict=True):
            done = given = 0
            for part in block.parts if block.parts[0].tensor >= 0 else ():
                done += part.end - part.begin
                share = size * done // block.nbytes - given
                given += share
                found[part.tensor] += share
        return found

    def coder(self, number: int) -> str:
        """The coder of a tensor's first block; '' for a tensor without bytes."""
        blocks = self._of.get(self.stored_as(number), [])
        return CODERS.get(self.coded(blocks[0])[0], "unknown") if blocks else ""

    def pooled(self, number: int) -> bool:
        """Whether a tensor shares its block."""
        blocks = self._of.get(self.stored_as(number), [])
        return bool(blocks) and self.blocks[blocks[0]].pooled

    # -- the original ----------------------------------------------------------------------------------------------

    def pieces(self, number: int) -> Iterator[np.ndarray]:
        """The bytes of a tensor, one block of it after another: no more of it is in memory. Raises CorruptError."""
        number = self.stored_as(number)
        blocks = self._of.get(number, [])
        if len(blocks) < 2:
            yield self.tensor(number)
            return
        for block in blocks:
            with self._lock:
                piece = self._ahead.get(block)[0]
            yield piece

    def original(self) -> Iterator[tuple[int, np.ndarray | bytes]]:
        """A safetensors original, piece by piece, each with the number of its tensor, -1 for what is before them."""
        raw = self.text.header.raw
        yield -1, len(raw).to_bytes(8, "little") + raw
        for number in range(len(self.entries)):
            for piece in self.pieces(number):
                yield number, piece

    @property
    def original_bytes(self) -> int:
        """Bytes of the original's files."""
        pieces = self.text.pieces
        if pieces is not None:
            return pieces.file_bytes
        return self.text.header.data_start + sum(entry.nbytes for entry in self.entries)

    def check_original(self, progress: object = None) -> None:
        """Decode everything and compare the original's SHA-256. Raises VerificationError, CorruptError.

        progress: called with the bytes and the name of each tensor.
        """
        told: set[str] = set()

        def tensor(name: str) -> tuple[np.ndarray, DType]:
            entry = self.text.header.entries[name]
            if callable(progress) and name not in told:
                told.add(name)
                progress(entry.nbytes, name)
            return self.tensor(self.number(name)), BY_TAG[entry.tag]

        if self.text.pieces is not None:
            for part in self.text.pieces.files:
                if not part.check_rebuilt(tensor):
                    raise VerificationError(f"{part.name} does not come out with its SHA-256", file=self.file)
            return
        digest, told_to = hashlib.sha256(), -1
        for number, piece in self.original():
            digest.update(piece)
            if callable(progress) and number > told_to:
                progress(self.entries[number].nbytes, self.entries[number].name)
            told_to = number
        if digest.digest() != self.index.sha256:
            raise VerificationError("the original does not come out with its SHA-256", file=self.file)

    def number(self, name: str) -> int:
        """The number of a tensor. Raises KeyError."""
        if not hasattr(self, "_numbers"):
            self._numbers = {entry.name: number for number, entry in enumerate(self.entries)}
        return self._numbers[name]


def block_sum(items: list[np.ndarray], block: bytes | memoryview) -> int:
    """The CRC-32 of a block: of what it is decoded to, then of itself, so that neither can change unseen."""
    crc = 0
    for item in items:
        crc = zlib.crc32(item, crc)
    return zlib.crc32(block, crc)
