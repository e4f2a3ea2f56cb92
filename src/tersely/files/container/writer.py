"""Writing a file that is whole or not there: under a temporary name, synced, renamed at the end.

Order of bytes: header padded so that data begins at a multiple of 64; coded components, each a multiple of 64; dense
tensors by falling item size, so that each is aligned to its items. Sizes are known only when all tensors are coded,
so components are spooled beside the destination first: memory stays bounded by one tensor.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from tersely.core.dtypes import BY_NAME, BY_TAG
from tersely.core.encoded import Encoded, Node
from tersely.core.errors import ArgumentError, DestinationError
from tersely.files.container import alias, closing, description, limits, pool, stored, temporary
from tersely.files.container.header import Header, entry_bytes, entry_json, is_text, tensor_bytes

METADATA = "tersely"
HEADER_SEAL = "tersely_header_crc32"
_SEAL_MARK = f'"{HEADER_SEAL}":"'.encode()
TRAILING_SPACES = 64
"""FORMAT: at least this many spaces end a header we wrote. Foreign writers pad with fewer than 64, so the number
tells a re-saved file (whose header seal is void) from a damaged one (whose seal must hold)."""
_COPY_BYTES = 1 << 22


MIN_INFO_BYTES = len(description.to_bytes(Encoded((), "uint8", "", "", "", Node("", 1), {}, ""), {}, "0" * 8))
"""No description is shorter than one in which every word is empty."""


def cost_bytes(name: str, encoded: Encoded) -> int:
    """Bytes that a coded tensor takes in a file: components, description and header entries."""
    blank = dict.fromkeys(encoded.components, "0" * 8)
    info = len(description.to_bytes(encoded, blank, "0" * 8))
    entries = sum(
        entry_bytes(f"{name}{description.MARK}{component}", "U8", (size,))
        for component, size in [(n, c.nbytes) for n, c in encoded.components.items()] + [(description.INFO, info)]
    )
    return encoded.nbytes_stored + info + entries


def min_cost_bytes(name: str) -> int:
    """Less than any coded tensor of this name takes, aliases apart: a description, a component, two entries."""
    mark = f"{name}{description.MARK}"
    return MIN_INFO_BYTES + entry_bytes(f"{mark}{description.INFO}", "U8", (1,)) + entry_bytes(mark, "U8", (1,))


def alias_cost_bytes(name: str, info: int) -> int:
    """Bytes that a tensor takes whose description of `info` bytes is all that a file has of it."""
    return info + entry_bytes(f"{name}{description.MARK}{description.INFO}", "U8", (info,))


def dense_cost_bytes(name: str, tag: str, shape: tuple[int, ...]) -> int:
    """Bytes that the same tensor takes as it is."""
    return tensor_bytes(tag, shape) + entry_bytes(name, tag, shape) + 8


def pooled_sizes(
    small: Iterable[tuple[str, str, tuple[int, ...], np.ndarray]], smallest: bool
) -> tuple[int, dict[str, int]]:
    """Bytes that tensors - name, dtype, shape, bytes - take together in a pool, and the share of each in its block.

    smallest: as of `pool.pack`. Where there is too much text for a pool, what they take as they are.
    """
    given = sorted(small, key=lambda one: one[1])
    contents = pool.Contents([], {}, [one[:3] for one in given], b"")
    made = pool.pack(contents, [one[3] for one in given], smallest) if given else b""
    if made is None:
        return sum(dense_cost_bytes(*one[:3]) for one in given), {one[0]: one[3].nbytes for one in given}
    found = pool.Pool(np.frombuffer(made, np.uint8), None, "") if given else None
    return len(made), {one[0]: found.stored_bytes(one[0]) for one in given if found is not None}


@dataclass
class _Dense:
    name: str
    tag: str
    shape: tuple[int, ...]
    bytes: Any  # uint8 array, read when written; where it was spooled, its place there
    pooled: bool


class Writer:
    """Collects tensors, then writes one file. Use as a context manager: the spool is removed in any case."""

    def __init__(self, path: Path, like: Iterable[Path] = (), *, replace: bool = True) -> None:
        """like, replace: as of `temporary.atomic_file`. Raises DestinationError."""
        self._path, self._like, self._replace = path, tuple(like), replace
        try:
            if replace:
                temporary.sweep(path)
            else:
                temporary.refuse_second(path)
            self._spool, self._spool_path = temporary.make(path, temporary.SPOOL)
            self._spool.write(temporary.SPOOL_MARK)
            self._spool.flush()
        except OSError as error:
            raise DestinationError(
                f"{path}: its folder cannot be written: {error.strerror or error}; choose another destination"
            ) from error
        self._aside: IO[bytes] | None = None
        self._aside_path = self._spool_path
        self._components: list[tuple[str, int]] = []
        self._dense: list[_Dense] = []
        self._names: set[str] = set()
        self._stored: dict[str, tuple[str, tuple[int, ...], str | None]] = {}
        self._closing: list[tuple[str, str]] = []

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        for spool, path in ((self._spool, self._spool_path), (self._aside, self._aside_path)):
            with contextlib.suppress(OSError):
                if spool is not None:
                    spool.close()
                    path.unlink(missing_ok=True)

    def _claim(self, name: str) -> None:
        if not is_text(name):
            raise ArgumentError(f"the name {name!r} holds half a character, which no file can: give it another one")
        if description.MARK in name or name == "__metadata__":
            raise ArgumentError(f"the name {name!r} cannot be used: {description.MARK!r} marks components of tersely")
        if name in pool.RESERVED or name == stored.TENSOR:
            raise ArgumentError(f"the name {name!r} cannot be used: files have entries of tersely under it")
        if name in self._names:
            raise ArgumentError(f"the name {name!r} is given twice")
        self._names.add(name)

    def add_encoded(self, name: str, encoded: Encoded, original: Any) -> None:
        """Spool a coded tensor. original: the tensor's bytes, or their CRC-32 as eight digits."""
        self._claim(name)
        crc = original if isinstance(original, str) else description.crc32(original)
        self._stored[name] = (BY_NAME[encoded.dtype].tag, encoded.shape, crc)
        self._spool_encoded(name, encoded, crc)

    def add_alias(self, name: str, other: str, encoded: Encoded, original: Any) -> None:
        """Spool the description of a tensor that is bit for bit `other`, which this file has already.

        encoded: the other tensor, whose view and profile are taken over; components do not matter. original: as of
        `add_encoded`. Raises ArgumentError where the file has no such tensor with bytes of its own.
        """
        crc = original if isinstance(original, str) else description.crc32(original)
        tag, shape, there = self._stored.get(other, ("", (), None))
        if (tag, shape) != (BY_NAME[encoded.dtype].tag, encoded.shape) or there not in (None, crc):
            raise ArgumentError(f"{name!r} cannot be a copy of {other!r}: the file has no such tensor before it")
        if len(other) > limits.NAME_CHARACTERS:
            raise ArgumentError(f"{name!r} cannot be a copy of a tensor of so long a name: {other[:80]!r}...")
        self._claim(name)
        self._spool_encoded(name, alias.described(encoded, other), crc)

    def _spool_encoded(self, name: str, encoded: Encoded, crc: str) -> None:
        self._closing.append((name, BY_NAME[encoded.dtype].tag))
        sums = {component: description.crc32(data) for component, data in encoded.components.items()}
        info = np.frombuffer(description.to_bytes(encoded, sums, crc), np.uint8)
        try:
            for component, data in {description.INFO: info, **encoded.components}.items():
                self._spool.write(memoryview(np.ascontiguousarray(data)))
                self._components.append((f"{name}{description.MARK}{component}", data.nbytes))
        except OSError as error:
            raise DestinationError(f"{self._path}: cannot be written: {error.strerror or error}") from error

    def add_dense(
        self,
        name: str,
        tag: str,
        shape: tuple[int, ...],
        data: np.ndarray,
        spool: bool = False,
        pooled: bool = False,
    ) -> None:
        """Remember a dense tensor; its bytes (uint8) are read when the file is written. spool: put them aside now, for data
        that would stay in memory till then. pooled: it may go into the pool, if the file gets one."""
        self._claim(name)
        self._stored[name] = (tag, shape, None)
        self._dense.append(_Dense(name, tag, shape, self._put_aside(data) if spool and data.size else data, pooled))

    def _put_aside(self, data: np.ndarray) -> slice:
        try:
            if self._aside is None:
                self._aside, self._aside_path = temporary.make(self._path, temporary.SPOOL)
                self._aside.write(temporary.SPOOL_MARK)
            begin = self._aside.tell()
            self._aside.write(memoryview(data))
        except OSError as error:
            raise DestinationError(f"{self._path}: cannot be written: {error.strerror or error}") from error
        return slice(begin, begin + data.nbytes)

    def _fetch_aside(self) -> None:
        """Have what was put aside as a map of the spool."""
        if self._aside is None:
            return
        self._aside.flush()
        mapped = np.memmap(self._aside, np.uint8, "r").view(np.ndarray)
        for item in self._dense:
            item.bytes = mapped[item.bytes] if isinstance(item.bytes, slice) else item.bytes

    def write(
        self,
        metadata: Mapping[str, str],
        facts: Mapping[str, Any],
        check: Any = None,
        closed: bool = False,
        pooled: tuple[bytes, Mapping[str, Any]] | None = None,
        smallest: bool = False,
    ) -> int:
        """Write the file; returns its bytes. facts: file-level entries of our own metadata. closed: with closing
        entries, as files whose metadata says that they are PyTorch's have them in any case.

        check(temporary_path): called on the finished temporary file; what it raises keeps the file from its name.
        pooled: for a file with a pool, what that keeps of the original, verbatim, and the facts of such a file; where
        there is too much text for a pool, the file has none. smallest: as of `pool.pack`.
        """
        self._fetch_aside()
        pieces, dense, last = self._pieces(), self._dense, None
        if pooled is not None and (made := self._pool(pieces, pooled[0], smallest)) is not None:
            pieces, dense, last = made
            facts = pooled[1]
            self._closing += [(one.name, one.tag) for one in self._dense if one.pooled]
        if not (closed or closing.wanted(metadata)):
            self._closing = []
        dense = sorted(dense, key=lambda item: -_item_bytes(item.tag))
        facts = {
            "format": description.VERSION if last is None else description.POOLED_VERSION,
            **facts,
            "dense_crc32": "".join(description.crc32(item.bytes) for item in dense),
        }
        components = [(name, place.stop - place.start) for name, place in pieces]
        if last is not None:
            components = [(pool.PARTS, sum(size for _, size in components))] * bool(components)
            dense.append(last)
        header = self._header(components, dense, {**metadata, METADATA: json.dumps(facts, separators=(",", ":"))})
        with temporary.atomic_file(self._path, self._like, replace=self._replace) as (file, unnamed):
            file.write(header)
            for part in _joined(place for _, place in pieces):
                temporary.copy_part(self._spool, part, file)
            for item in dense:
                for start in range(0, item.bytes.nbytes, _COPY_BYTES):
                    file.write(memoryview(item.bytes[start : start + _COPY_BYTES]))
            file.flush()
            size = file.tell()
            if check is not None:
                check(unnamed)
        return size

    def _pieces(self) -> list[tuple[str, slice]]:
        """Components and their places in the spool."""
        found, position = [], len(temporary.SPOOL_MARK)
        for name, size in self._components:
            found.append((name, slice(position, position + size)))
            position += size
        return found

    def _spooled(self, place: slice) -> bytes:
        self._spool.flush()
        return os.pread(self._spool.fileno(), place.stop - place.start, place.start)

    def _pool(
        self, pieces: list[tuple[str, slice]], original: bytes, smallest: bool
    ) -> tuple[list[tuple[str, slice]], list[_Dense], _Dense] | None:
        """The components and dense tensors that are left outside, and the pool; None where it would hold too much."""
        infos: dict[str, bytes] = {}
        small: list[tuple[str, str, tuple[int, ...]]] = []
        outside, arrays = [], []
        for name, place in pieces:
            size = place.stop - place.start
            if name.endswith(description.MARK + description.INFO):
                infos[name] = self._spooled(place)
            elif 0 < size <= pool.COMPONENT_BYTES:
                small.append((name, "U8", (size,)))
                arrays.append(np.frombuffer(self._spooled(place), np.uint8))
            else:
                outside.append((name, place))
        for item in sorted((item for item in self._dense if item.pooled), key=lambda item: item.tag):
            small.append((item.name, item.tag, item.shape))
            arrays.append(item.bytes)
        parts = [(name, place.stop - place.start) for name, place in outside]
        raw = pool.pack(pool.Contents(parts, infos, small, original), arrays, smallest)
        if raw is None:
            return None
        data = np.frombuffer(raw, np.uint8)
        dense = [item for item in self._dense if not item.pooled]
        return outside, dense, _Dense(pool.TENSOR, "U8", (data.size,), data, False)

    def _header(self, components: list[tuple[str, int]], dense: list[_Dense], metadata: Mapping[str, str]) -> bytes:
        texts = json.dumps({**metadata, HEADER_SEAL: "00000000"}, separators=(",", ":"), ensure_ascii=False)
        parts, position = [f'"__metadata__":{texts}'], 0
        stored: list[tuple[str, str, tuple[int, ...], int]]
        stored = [(name, tag, closing.SHAPE, 0) for name, tag in self._closing]
        stored += [(name, "U8", (size,), size) for name, size in components]
        stored += [(item.name, item.tag, item.shape, tensor_bytes(item.tag, item.shape)) for item in dense]
        for name, tag, shape, size in stored:
            parts.append(entry_json(name, tag, shape, position, position + size))
            position += size
        text = ("{" + ",".join(parts) + "}").encode() + b" " * TRAILING_SPACES
        text += b" " * (-(8 + len(text)) % 64)
        return description.seal(struct.pack("<Q", len(text)) + text, _SEAL_MARK)


def _joined(places: Iterable[slice]) -> Iterator[slice]:
    """Places that rise, those that touch as one."""
    last: slice | None = None
    for place in places:
        if last is not None and last.stop == place.start:
            last = slice(last.start, place.stop)
            continue
        if last is not None:
            yield last
        last = place
    if last is not None:
        yield last


def _item_bytes(tag: str) -> float:
    return BY_TAG[tag].bits / 8


def is_sealed(header: Header) -> bool:
    """Whether the header was written by us and not re-saved since: then its seal must hold.

    One damaged byte can hide one sign of ours, never all of them.
    """
    ours = HEADER_SEAL in header.metadata or METADATA in header.metadata
    ours = ours or any(description.MARK in name or name in pool.RESERVED for name in header.entries)
    return ours and len(header.raw) - len(header.raw.rstrip(b" ")) >= TRAILING_SPACES


def seal_holds(header: Header) -> bool:
    return description.seal_holds(struct.pack("<Q", len(header.raw)) + header.raw, _SEAL_MARK)
