"""The safetensors header, read strictly: 8 bytes of length, JSON, then data without holes or overlaps.

    [u64 length n][n bytes JSON: {"name": {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {...}}][data]

See: the safetensors format (README of the safetensors project, "Format") and docs/FORMAT.md.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from laconic.container import limits
from laconic.dtypes import BY_TAG
from laconic.errors import CorruptError, UnsupportedError


@dataclass(frozen=True)
class Entry:
    """One tensor of a file. tag: safetensors dtype. begin, end: bytes inside the data region."""

    name: str
    tag: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def nbytes(self) -> int:
        return self.end - self.begin


@dataclass(frozen=True)
class Header:
    """A parsed header. raw: its bytes as they stand in the file, padding included, length word not."""

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]
    raw: bytes

    @property
    def data_start(self) -> int:
        """File position of the first data byte."""
        return 8 + len(self.raw)

    def by_offset(self) -> list[Entry]:
        """Entries in the order of their bytes."""
        return sorted(self.entries.values(), key=lambda entry: (entry.begin, entry.end))


def tensor_bytes(tag: str, shape: tuple[int, ...]) -> int:
    """Bytes that a tensor of this dtype and shape has in a file."""
    bits = BY_TAG[tag].bits
    for length in shape:
        bits *= length
    return -(-bits // 8)


def parse(read: Any, file_bytes: int, file: str) -> Header:
    """Header of a file. read(start, stop) returns its bytes. Raises CorruptError or UnsupportedError with the place."""
    if file_bytes < 8:
        raise CorruptError(
            f"{file_bytes} bytes are too few for a safetensors file; get the file again", file=file, byte=file_bytes
        )
    (length,) = struct.unpack("<Q", read(0, 8))
    if length > limits.HEADER_BYTES:
        raise CorruptError(
            f"the header claims {length} bytes (limit {limits.HEADER_BYTES}): not a safetensors file, or damaged",
            file=file,
            byte=0,
        )
    if length > file_bytes - 8:
        raise CorruptError(
            f"the header claims {length} bytes, the file has {file_bytes - 8} after its length: "
            "truncated, or not a safetensors file",
            file=file,
            byte=0,
        )
    raw = bytes(read(8, 8 + length))
    return parse_bytes(raw, file_bytes - 8 - length, file)


def parse_bytes(raw: bytes, data_bytes: int | None, file: str) -> Header:
    """Header from its bytes; data_bytes: length of the data region, None where there is none to compare with."""
    document = _load(raw, file)
    metadata = document.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CorruptError("__metadata__ is not an object of strings", file=file, byte=8)
    entries = {name: _entry(name, value, file) for name, value in document.items()}
    header = Header(entries, metadata, raw)
    position = 0
    for entry in header.by_offset():
        if entry.begin != position:
            kind = "overlaps the one before" if entry.begin < position else "leaves a hole before it"
            raise CorruptError(f"the tensor {kind}", file=file, tensor=entry.name, byte=header.data_start + entry.begin)
        position = entry.end
    if data_bytes is not None and position != data_bytes:
        raise CorruptError(
            f"the tensors end at byte {header.data_start + position}, the file at {header.data_start + data_bytes}: "
            "truncated, or something was appended",
            file=file,
            byte=header.data_start + min(position, data_bytes),
        )
    return header


def _load(raw: bytes, file: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise CorruptError(f"the name {twice!r} occurs twice in the header", file=file, byte=8)
        return found

    def refuse(text: str) -> Any:
        raise CorruptError(
            f"the header holds {text[:20]}, which is no number of a safetensors header", file=file, byte=8
        )

    def whole(text: str) -> int:
        return refuse(text) if len(text) > 20 else int(text)

    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CorruptError(
            "the header is not UTF-8: not a safetensors file, or damaged", file=file, byte=8 + error.start
        ) from None
    if not text.startswith("{"):
        raise CorruptError("the header does not begin with '{': not a safetensors file", file=file, byte=8)
    try:
        document = json.loads(
            text, object_pairs_hook=unique, parse_int=whole, parse_float=refuse, parse_constant=refuse
        )
    except json.JSONDecodeError as error:
        place = 8 + len(text[: error.pos].encode())
        raise CorruptError(
            f"the header is not JSON: {error.msg}; not a safetensors file, or damaged", file=file, byte=place
        ) from None
    except RecursionError:
        raise CorruptError("the header is nested too deeply", file=file, byte=8) from None
    return dict(document)


def _entry(name: str, value: Any, file: str) -> Entry:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise CorruptError("a tensor needs exactly dtype, shape and data_offsets", file=file, tensor=name, byte=8)
    tag, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(tag, str) or tag not in BY_TAG:
        raise UnsupportedError(f"unknown dtype {tag!r}: this laconic knows {', '.join(BY_TAG)}", file=file, tensor=name)
    if not isinstance(shape, list) or len(shape) > limits.DIMENSIONS or not all(_is_count(n) for n in shape):
        raise CorruptError(
            f"the shape is not a list of at most {limits.DIMENSIONS} whole numbers", file=file, tensor=name
        )
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_count(n) for n in offsets):
        raise CorruptError("data_offsets are not two whole numbers", file=file, tensor=name)
    entry = Entry(name, tag, tuple(shape), offsets[0], offsets[1])
    if entry.begin > entry.end or tensor_bytes(tag, entry.shape) != entry.nbytes:
        raise CorruptError(
            f"offsets {offsets} give {entry.nbytes} bytes, dtype {tag} and shape {shape} need "
            f"{tensor_bytes(tag, entry.shape)}; get the file again",
            file=file,
            tensor=name,
            byte=8,
        )
    if math.prod(max(1, length) for length in shape) >= limits.ELEMENTS:  # where one dimension is empty
        raise CorruptError(f"no array can have shape {shape}; get the file again", file=file, tensor=name, byte=8)
    return entry


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def entry_json(name: str, tag: str, shape: tuple[int, ...], begin: int, end: int) -> str:
    """One tensor as it stands in a header we write: compact JSON, no trailing comma."""
    key = json.dumps(name, ensure_ascii=False)
    return (
        f'{key}:{{"dtype":"{tag}","shape":{json.dumps(list(shape), separators=(",", ":"))},'
        f'"data_offsets":[{begin},{end}]}}'
    )


def entry_bytes(name: str, tag: str, shape: tuple[int, ...]) -> int:
    """What one tensor adds to a header, with ten digits for each offset and its comma: an upper estimate."""
    return len(entry_json(name, tag, shape, 0, 0).encode()) + 19
