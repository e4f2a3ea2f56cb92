"""The safetensors header, read strictly: 8 bytes of length, JSON, then data without holes or overlaps.

    [u64 length n][n bytes JSON][data]
    JSON: {"name": {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {...}}

See: the safetensors format (README of the safetensors project, "Format") and docs/FORMAT.md.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from json.encoder import encode_basestring  # type: ignore[attr-defined]  # of text that is not ASCII as it is
from operator import attrgetter
from typing import Any, NamedTuple

from tersely.core.dtypes import BY_TAG
from tersely.core.errors import CorruptError, UnsupportedError
from tersely.files.container import limits


class Entry(NamedTuple):
    """One tensor of a file. tag: safetensors dtype. begin, end: bytes inside the data region."""

    name: str
    tag: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def nbytes(self) -> int:
        return self.end - self.begin

    @property
    def array_shape(self) -> tuple[int, ...]:
        """The shape of the array that holds it, for people and for NumPy; `shape` is what headers say."""
        return BY_TAG[self.tag].array_shape(self.shape)


@dataclass(frozen=True)
class Header:
    """A parsed header. raw: its bytes as they stand in the file, padding included, length word not."""

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]
    raw: bytes

    @cached_property
    def data_start(self) -> int:
        """File position of the first data byte."""
        return 8 + len(self.raw)

    def by_offset(self) -> list[Entry]:
        """Entries in the order of their bytes."""
        return sorted(self.entries.values(), key=attrgetter("begin", "end"))


def tensor_bytes(tag: str, shape: tuple[int, ...]) -> int:
    """Bytes that a tensor of this dtype and shape has in a file."""
    return -(-BY_TAG[tag].bits * math.prod(shape) // 8)


def parse(read: Any, file_bytes: int, file: str) -> Header:
    """Header of a file. read(start, stop) returns its bytes. Raises CorruptError or UnsupportedError with the place."""
    if file_bytes < 8:
        raise CorruptError(
            f"{file_bytes} bytes are too few for a safetensors file; get the file again",
            file=file,
            file_byte=file_bytes,
        )
    (length,) = struct.unpack("<Q", read(0, 8))
    if length > limits.HEADER_BYTES:
        raise CorruptError(
            f"the header claims {length} bytes (limit {limits.HEADER_BYTES}): not a safetensors file, or damaged",
            file=file,
            file_byte=0,
        )
    if length > file_bytes - 8:
        raise CorruptError(
            f"the header claims {length} bytes, the file has {file_bytes - 8} after its length: "
            "truncated, or not a safetensors file",
            file=file,
            file_byte=0,
        )
    raw = bytes(read(8, 8 + length))
    return parse_bytes(raw, file_bytes - 8 - length, file)


def parse_bytes(raw: bytes, data_bytes: int | None, file: str) -> Header:
    """Header from its bytes; data_bytes: length of the data region, None where there is none to compare with."""
    document = _load(raw, file)
    metadata = document.pop("__metadata__", None)
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CorruptError("__metadata__ is not an object of strings", file=file, file_byte=8)
    header = Header({name: _entry(name, value, file) for name, value in document.items()}, metadata, raw)
    position = 0
    for entry in header.by_offset():
        if entry.begin != position:
            kind = "overlaps the one before" if entry.begin < position else "leaves a hole before it"
            raise CorruptError(
                f"the tensor {kind}", file=file, tensor=entry.name, file_byte=header.data_start + entry.begin
            )
        position = entry.end
    if data_bytes is not None and position != data_bytes:
        raise CorruptError(
            f"the tensors end at byte {header.data_start + position} of the file, which has {header.data_start + data_bytes}: "
            "truncated, or something was appended",
            file=file,
            file_byte=header.data_start + min(position, data_bytes),
        )
    return header


class _Twice(dict[str, Any]):
    """An object of JSON in which a name occurs again. twice: the first such name, whose last value counts."""

    twice = ""


class _Odd:
    """A number that headers have no use for; the fields that the format does not know may hold it."""

    def __init__(self, text: str) -> None:
        self.text = text


def _load(raw: bytes, file: str) -> dict[str, Any]:
    """The object of a header. Fields unknown to the format are its writer's affair, as for the safetensors library."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        counted = _Twice(found)
        counted.twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        return counted

    def refuse(text: str) -> Any:
        raise CorruptError(_no_number(text), file=file, file_byte=8)

    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CorruptError(
            "the header is not UTF-8: not a safetensors file, or damaged", file=file, file_byte=8 + error.start
        ) from None
    if not text.lstrip(" \t\r\n").startswith("{"):
        raise CorruptError("the header does not begin with '{': not a safetensors file", file=file, file_byte=8)
    try:
        document = json.loads(text, object_pairs_hook=unique, parse_float=_Odd, parse_constant=refuse)
    except json.JSONDecodeError as error:
        byte = 8 + len(text[: error.pos].encode())
        raise CorruptError(
            f"the header is not JSON: {error.msg}; not a safetensors file, or damaged", file=file, file_byte=byte
        ) from None
    except ValueError:  # thousands of digits, which Python does not read
        raise CorruptError(
            "the header holds something that is no number of a safetensors header", file=file, file_byte=8
        ) from None
    except RecursionError:
        raise CorruptError("the header is nested too deeply", file=file, file_byte=8) from None
    if isinstance(document, _Twice):
        raise CorruptError(f"the name {document.twice!r} occurs twice in the header", file=file, file_byte=8)
    _refuse_halves(raw, file)
    return dict(document)


_ESCAPES = re.compile(
    rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(?P<half>u[dD][89a-fA-F])|.)",
    re.DOTALL,
)
"""What follows a backslash in valid JSON: both halves of a character, one half alone, anything else."""


def _refuse_halves(raw: bytes, file: str) -> None:
    """Half a character, which JSON can escape and no text can hold, could be neither written nor shown."""
    if b"\\ud" not in raw and b"\\uD" not in raw:
        return
    half = next((found for found in _ESCAPES.finditer(raw) if found["half"]), None)
    if half is not None:
        raise CorruptError(
            f"the header holds half a character, {raw[half.start() : half.start() + 6].decode()}: its writer cut a text "
            "in two; write the file again without it",
            file=file,
            file_byte=8 + half.start(),
        )


def is_text(value: str) -> bool:
    """Whether a string can be written: it holds no half of a character."""
    return value.isascii() or not any("\ud800" <= one <= "\udfff" for one in value)


def _no_number(text: str) -> str:
    return f"the header holds {text[:20]}, which is no number of a safetensors header"


_FIELDS = ("dtype", "shape", "data_offsets")
_FIELD_SET = frozenset(_FIELDS)


def _entry(name: str, value: Any, file: str) -> Entry:
    if isinstance(value, list) and len(value) == len(_FIELDS):  # as the safetensors library, too, reads it
        value = dict(zip(_FIELDS, value, strict=True))
    if not isinstance(value, dict) or not value.keys() >= _FIELD_SET:
        raise CorruptError("a tensor needs dtype, shape and data_offsets", file=file, tensor=name, file_byte=8)
    if isinstance(value, _Twice) and value.twice in _FIELDS:
        raise CorruptError(f"the name {value.twice!r} occurs twice in the header", file=file, tensor=name, file_byte=8)
    tag, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if isinstance(tag, dict) and list(tag.values()) == [None]:  # likewise
        tag = next(iter(tag))
    row = BY_TAG.get(tag) if isinstance(tag, str) else None
    if row is None:
        raise UnsupportedError(f"unknown dtype {tag!r}: this tersely knows {', '.join(BY_TAG)}", file=file, tensor=name)
    if not isinstance(shape, list) or len(shape) > limits.DIMENSIONS or not all(map(_is_count, shape)):
        raise CorruptError(
            _odd_of(shape) or f"the shape is not a list of at most {limits.DIMENSIONS} integers",
            file=file,
            tensor=name,
        )
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_count, offsets)):
        raise CorruptError(_odd_of(offsets) or "data_offsets are not two integers", file=file, tensor=name)
    begin, end = offsets
    bits = row.bits * math.prod(shape)
    if begin > end or -(-bits // 8) != end - begin:
        raise CorruptError(
            f"offsets {offsets} give {end - begin} bytes, dtype {tag} and shape {shape} need {-(-bits // 8)}; "
            "get the file again",
            file=file,
            tensor=name,
            file_byte=8,
        )
    if bits % 8:
        raise CorruptError(
            f"shape {shape} of dtype {tag} has {bits} bits, which are no whole bytes; get the file again",
            file=file,
            tensor=name,
            file_byte=8,
        )
    # Where one dimension is empty, the others may claim anything.
    if not bits and math.prod(max(1, length) for length in shape) >= limits.ELEMENTS:
        raise CorruptError(f"no array can have shape {shape}; get the file again", file=file, tensor=name, file_byte=8)
    return Entry(name, tag, tuple(shape), begin, end)


def _odd_of(values: Any) -> str:
    odd = [one.text for one in values if isinstance(one, _Odd)] if isinstance(values, list) else []
    return _no_number(odd[0]) if odd else ""


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def entry_json(name: str, tag: str, shape: tuple[int, ...], begin: int, end: int) -> str:
    """One tensor as it stands in a header we write: compact JSON, no trailing comma."""
    lengths = ",".join(map(str, shape))
    return f'{encode_basestring(name)}:{{"dtype":"{tag}","shape":[{lengths}],"data_offsets":[{begin},{end}]}}'


def entry_bytes(name: str, tag: str, shape: tuple[int, ...]) -> int:
    """What one tensor adds to a header, with ten digits for each offset and its comma: an upper estimate."""
    return len(entry_json(name, tag, shape, 0, 0).encode()) + 19


def fresh_header(
    tensors: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str]
) -> tuple[bytes, list[str]]:
    """A plain header for tensors (dtype, shape) whose own is gone, and the order: widest items first, then by name."""
    order = sorted(tensors, key=lambda name: (-BY_TAG[tensors[name][0]].bits, name))
    parts, position = [], 0
    if metadata:
        parts.append('"__metadata__":' + json.dumps(metadata, separators=(",", ":"), ensure_ascii=False))
    for name in order:
        tag, shape = tensors[name]
        size = tensor_bytes(tag, shape)
        parts.append(entry_json(name, tag, shape, position, position + size))
        position += size
    text = ("{" + ",".join(parts) + "}").encode()
    return text + b" " * (-len(text) % 8), order
