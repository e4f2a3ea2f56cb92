"""What a stored file holds that is no tensor: the text, in sections.

    a safetensors original    its header, without offsets that follow from dtypes and shapes
    files of another format   a document of files and tensors; what is between the tensors (`container.pieces`)
    any of them               `extras`, left out where there are none: a runnable plan, how matrices lie

Names, dtypes and shapes stand there once. FORMAT: docs/FORMAT.md, "Stored files".
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tersely.core.dtypes import BY_TAG
from tersely.core.errors import CorruptError, TerselyError
from tersely.files.container import limits
from tersely.files.container.header import Entry, Header, is_text, parse_bytes, tensor_bytes
from tersely.files.container.pieces import FORMS, OriginalFiles, from_document
from tersely.storage.archive.index import HEADER, OTHER_FILES, SHORT_HEADER

PLAN, IN_OUT = "plan", "in_out"


@dataclass(frozen=True)
class Text:
    """header: names, dtypes, shapes, and for a safetensors original its own bytes. pieces: files of another format, or None.

    plan: the runnable plan that the file carries, empty for none. in_out: names of matrices stored [inputs, outputs].
    """

    header: Header
    pieces: OriginalFiles | None = None
    plan: Mapping[str, Any] = field(default_factory=dict)
    in_out: frozenset[str] = frozenset()

    @property
    def entries(self) -> list[Entry]:
        """The tensors in the order of the original; their numbers are places in this list."""
        return self.header.by_offset()

    def sections(self) -> tuple[int, list[bytes]]:
        """The kind of the original, and the sections."""
        if self.pieces is None:
            short = shortened(self.header.raw)
            kind, sections = (HEADER, [self.header.raw]) if short is None else (SHORT_HEADER, [short])
        else:
            kind, sections = (
                OTHER_FILES,
                [_document(self.pieces, self.entries), b"".join(p.rest for p in self.pieces.files)],
            )
        extras: dict[str, Any] = {PLAN: dict(self.plan)} if self.plan else {}
        if places := [place for place, entry in enumerate(self.entries) if entry.name in self.in_out]:
            extras[IN_OUT] = places
        return kind, [*sections, _packed(extras)] if extras else sections


def parse(kind: int, sections: Sequence[bytes], file: str) -> Text:
    """The text of a stored file. Raises CorruptError or UnsupportedError."""
    own = 2 if kind == OTHER_FILES else 1
    if not own <= len(sections) <= own + 1:
        raise CorruptError("the text has too few sections, or too many; get the file again", file=file)
    if kind == OTHER_FILES:
        header, pieces = _parsed_document(sections[0], sections[1], file)
    else:
        raw = lengthened(sections[0]) if kind == SHORT_HEADER else sections[0]
        header, pieces = parse_bytes(raw, None, f"{file} (original header)"), None
    extras = _json(sections[own], file) if len(sections) > own else {}
    plan, places = (extras.get(PLAN, {}), extras.get(IN_OUT, [])) if isinstance(extras, dict) else (None, None)
    if not isinstance(plan, dict) or not isinstance(places, list) or not set(extras) <= {PLAN, IN_OUT}:
        raise CorruptError("what the file says beside its tensors is damaged; get the file again", file=file)
    names = [entry.name for entry in header.by_offset()]
    if not all(_is_count(place) and place < len(names) for place in places):
        raise CorruptError("a matrix that the file does not have; get the file again", file=file)
    return Text(header, pieces, plan, frozenset(names[place] for place in places))


_TENSOR = rb'"dtype":"([A-Z0-9_]{1,12})","shape":\[([0-9,]{0,200})\],"data_offsets":\['
_LONG = re.compile(_TENSOR + rb"([0-9]{1,19}),([0-9]{1,19})\]")
_SHORT = re.compile(_TENSOR + rb"([0-9]{0,19})\]")


def _size(tag: bytes, shape: bytes) -> int | None:
    """Bytes of a tensor as a header spells it; None for what is none."""
    dtype = BY_TAG.get(tag.decode())
    lengths = shape.split(b",") if shape else []
    if dtype is None or not all(0 < len(text) < 20 for text in lengths):
        return None
    return -(-dtype.bits * math.prod(map(int, lengths)) // 8)


def shortened(raw: bytes) -> bytes | None:
    """A header in which a tensor's offsets are left out where they follow: `[]` begins where the one before ended,
    `[BEGIN]` elsewhere. None where that does not give the header back."""
    at = 0

    def short(found: re.Match[bytes]) -> bytes:
        nonlocal at
        begin, end, size = int(found[3]), int(found[4]), _size(found[1], found[2])
        if size is None or begin + size != end:
            return found[0]
        text = b"" if begin == at else found[3]
        at = end
        return found[0][: found.start(3) - found.start()] + text + b"]"

    made = _LONG.sub(short, raw)
    return made if lengthened(made) == raw else None


def lengthened(raw: bytes) -> bytes:
    """Inverse of `shortened`; what it does not understand stays as it is, for the parser of headers to refuse."""
    at = 0

    def long(found: re.Match[bytes]) -> bytes:
        nonlocal at
        size = _size(found[1], found[2])
        if size is None:
            return found[0]
        begin = int(found[3]) if found[3] else at
        at = begin + size
        return found[0][: found.start(3) - found.start()] + b"%d,%d]" % (begin, at)

    return _SHORT.sub(long, raw)


def _document(pieces: OriginalFiles, entries: Sequence[Entry]) -> bytes:
    """Files and tensors of an original of another format. Each tensor stands in one place, in their order."""
    names = [cut.tensor for part in pieces.files for cut in part.cuts]
    if names != [entry.name for entry in entries]:
        raise TerselyError("tensors of the original are used twice, or in another order: decompress it first")
    tensors, at = [], 0
    cuts = iter([(cut, part) for part in pieces.files for cut in part.cuts])
    before = None
    for entry, (cut, part) in zip(entries, cuts, strict=True):
        at = at if part is before else 0
        row: list[Any] = [entry.name, entry.tag, list(entry.shape), cut.at - at]
        tensors.append(row if cut.form == FORMS[0] else [*row, FORMS.index(cut.form)])
        at, before = cut.at, part
    files = [[part.name, part.file_bytes, part.sha256, len(part.rest), len(part.cuts)] for part in pieces.files]
    return _packed({"kind": pieces.kind, "files": files, "tensors": tensors})


def _parsed_document(raw: bytes, rests: bytes, file: str) -> tuple[Header, OriginalFiles]:
    document = _json(raw, file)
    try:
        entries: dict[str, Entry] = {}
        cuts, position = [], 0
        for name, tag, shape, gap, *form in document["tensors"]:
            if not isinstance(name, str) or not is_text(name) or name in entries or len(form) > 1 or not _is_count(gap):
                raise ValueError("a tensor needs a name of its own, a dtype, a shape and a place")
            end = position + _checked_bytes(tag, shape)
            entries[name] = Entry(name, tag, tuple(shape), position, end)
            cuts.append((gap, name, form[0] if form else 0))
            position = end
        files, first = [], 0
        for name, file_bytes, sha256, rest, count in document["files"]:
            if not _is_count(count) or count > len(cuts) - first:
                raise ValueError("a file has more tensors than there are")
            at, own = 0, []
            for gap, tensor, form in cuts[first : first + count]:
                at += gap
                own.append((at, tensor, form))
            first += count
            files.append({"name": name, "bytes": file_bytes, "sha256": sha256, "rest": rest, "cuts": own})
        if first != len(cuts):
            raise ValueError("tensors that are in no file")
        kind = document["kind"]
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptError(f"the list of tensors is damaged: {error}", file=file) from None
    return Header(entries, {}, b""), from_document({"kind": kind, "files": files}, rests, file)


def _checked_bytes(tag: Any, shape: Any) -> int:
    """Bytes of a tensor. Raises ValueError for what is none."""
    if not isinstance(tag, str) or tag not in BY_TAG or not isinstance(shape, list) or len(shape) > limits.DIMENSIONS:
        raise ValueError("no dtype or no shape")
    if not all(map(_is_count, shape)) or math.prod(max(1, length) for length in shape) >= limits.ELEMENTS:
        raise ValueError("no shape")
    return tensor_bytes(tag, tuple(shape))


def _packed(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _json(raw: bytes, file: str) -> Any:
    try:
        return json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CorruptError(f"the text is damaged: {str(error)[:100]}; get the file again", file=file) from None


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63
