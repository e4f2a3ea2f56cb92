"""Originals that are not safetensors, kept as what lies between their tensors and where each tensor goes.

    a file        | rest | tensor a | rest | tensor b | rest |
    kept here       ^^^^              ^^^^              ^^^^   and the list of (bytes of rest before it, tensor, form)

So the original comes back byte for byte without a line of code that knows its format. A form says how a tensor's bytes
stand in the file: `raw` as they are, `varint` as protobuf's integers.

FORMAT: docs/FORMAT.md, "Originals".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from tersely.core.dtypes import DType
from tersely.core.errors import CorruptError, TerselyError
from tersely.files.container import limits, varints
from tersely.files.container.header import is_text
from tersely.files.container.packing import pack_verbatim, unpack_verbatim

FORMS = ("raw", "varint")
_LENGTH = 8
_FILE_KEYS = {"name", "bytes", "sha256", "rest", "cuts"}


@dataclass(frozen=True)
class Cut:
    """at: bytes of the rest that come before the tensor."""

    at: int
    tensor: str
    form: str


@dataclass(frozen=True)
class OriginalFile:
    """One file of the original. name: relative to the first file's folder. rest: its bytes that are no tensor."""

    name: str
    file_bytes: int
    sha256: str
    rest: bytes
    cuts: tuple[Cut, ...]

    def rebuild(self, tensor: Callable[[str], tuple[np.ndarray, DType]]) -> Iterator[Any]:
        """The file, block by block. tensor(name): its decoded bytes and its dtype."""
        at = 0
        for cut in self.cuts:
            yield self.rest[at : cut.at]
            at = cut.at
            raw, dtype = tensor(cut.tensor)
            if cut.form == "raw":
                yield raw
            else:
                yield from varints.encode(raw, dtype)
        yield self.rest[at:]

    def check_rebuilt(self, tensor: Callable[[str], tuple[np.ndarray, DType]]) -> bool:
        """Whether `tersely.files.foreign.restore` gives the file that was hashed."""
        digest = hashlib.sha256()
        for block in self.rebuild(tensor):
            digest.update(block)
        return digest.hexdigest() == self.sha256


@dataclass(frozen=True)
class OriginalFiles:
    """All files of an original. kind: what they are, for people ('onnx'). The first file is the one that was named."""

    kind: str
    files: tuple[OriginalFile, ...]

    @property
    def file_bytes(self) -> int:
        return sum(part.file_bytes for part in self.files)

    def pack(self) -> str:
        """Returns the text that the metadata have. Raises TerselyError where there is too much that is no tensor."""
        return pack_verbatim(self.to_bytes())

    def to_bytes(self) -> bytes:
        """Returns what `pack` makes a text of. Raises TerselyError where there is too much that is no tensor."""
        files = [
            {
                "name": part.name,
                "bytes": part.file_bytes,
                "sha256": part.sha256,
                "rest": len(part.rest),
                "cuts": [[cut.at, cut.tensor, FORMS.index(cut.form)] for cut in part.cuts],
            }
            for part in self.files
        ]
        text = json.dumps({"kind": self.kind, "files": files}, separators=(",", ":"), ensure_ascii=False).encode()
        raw = b"".join([len(text).to_bytes(_LENGTH, "little"), text, *(part.rest for part in self.files)])
        if len(raw) > limits.VERBATIM_BYTES:
            raise TerselyError(
                f"{len(raw)} bytes of {self.files[0].name} are not weights that can be taken out "
                f"(limit {limits.VERBATIM_BYTES}); store them as raw_data or external data first"
            )
        return raw

    def check(self, tensors: Mapping[str, tuple[str, tuple[int, ...]]], file: str) -> None:
        """Every cut must name a tensor of the file. Raises CorruptError."""
        for part in self.files:
            for cut in part.cuts:
                if cut.tensor not in tensors:
                    raise CorruptError(f"{part.name} needs a tensor that is missing", file=file, tensor=cut.tensor)


def unpack(text: str, file: str) -> OriginalFiles:
    """Inverse of `OriginalFiles.pack`, on bytes that nobody vouches for. Raises CorruptError."""
    try:
        raw = unpack_verbatim(text, limits.VERBATIM_BYTES)
    except ValueError as error:
        raise CorruptError(f"the original's pieces are damaged: {error}", file=file) from None
    return parse(raw, file)


def parse(raw: bytes, file: str) -> OriginalFiles:
    """Inverse of `OriginalFiles.to_bytes`, on bytes that nobody vouches for. Raises CorruptError."""
    try:
        length = int.from_bytes(raw[:_LENGTH], "little")
        document = json.loads(raw[_LENGTH : _LENGTH + length])
    except (ValueError, RecursionError) as error:
        raise CorruptError(f"the original's pieces are damaged: {error}", file=file) from None
    return from_document(document, raw[_LENGTH + length :], file)


def from_document(document: Any, rests: bytes, file: str) -> OriginalFiles:
    """The files that a parsed document tells of, on values that nobody vouches for. rests: of all files, one after
    another. Raises CorruptError."""
    at, parts = 0, []
    try:
        for entry in document["files"]:
            if set(entry) != _FILE_KEYS or not all(_is_count(entry[key]) for key in ("bytes", "rest")):
                raise ValueError("a file needs name, bytes, sha256, rest and cuts")
            rest = rests[at : at + entry["rest"]]
            if len(rest) != entry["rest"]:
                raise ValueError("bytes between the tensors are missing")
            at += len(rest)
            parts.append(
                OriginalFile(
                    _name(entry["name"]),
                    entry["bytes"],
                    _sha256(entry["sha256"]),
                    rest,
                    _cuts(entry["cuts"], len(rest)),
                )
            )
        if at != len(rests) or not parts or not isinstance(document["kind"], str):
            raise ValueError("lengths do not add up")
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptError(f"the original's pieces are damaged: {error}", file=file) from None
    names = [part.name for part in parts]
    if len(set(names)) != len(names):
        raise CorruptError("two files of the original have one name", file=file)
    return OriginalFiles(document["kind"], tuple(parts))


def is_inside(name: str) -> bool:
    """Whether a relative file name stays in the folder that it is relative to."""
    path = PurePosixPath(name)
    return is_text(name) and bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _name(value: Any) -> str:
    if not isinstance(value, str) or not is_inside(value):
        raise ValueError(f"the file name {value!r} leaves the folder")
    return value


def _sha256(value: Any) -> str:
    if not isinstance(value, str) or len(bytes.fromhex(value)) != 32:
        raise ValueError("a SHA-256 is damaged")
    return value


def _cuts(value: Any, rest: int) -> tuple[Cut, ...]:
    cuts, before = [], 0
    for at, tensor, form in value:
        if not _is_count(at) or not before <= at <= rest or not isinstance(tensor, str) or not _is_count(form):
            raise ValueError("a cut lies outside the rest, or names no tensor")
        if form >= len(FORMS):
            raise ValueError(f"unknown form {form}: use a newer tersely")
        cuts.append(Cut(at, tensor, FORMS[form]))
        before = at
    return tuple(cuts)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63
