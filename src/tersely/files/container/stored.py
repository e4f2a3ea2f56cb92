"""How a stored file is known from outside: one tensor of bytes, and an entry of our metadata that says so.

What is in that tensor, `tersely.storage.archive` knows. Either sign will do: a writer of others may have dropped the
metadata.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

from tersely.core.errors import CorruptError, FormatError, UnsupportedError
from tersely.files.container.description import VERSION
from tersely.files.container.header import Header, entry_json, parse_bytes

TENSOR = "tersely.storage"
METADATA = "tersely"
STORAGE = "storage"
STORAGE_VERSION = 1
_LONGEST = 1 << 16
"""Bytes of the longest header that is looked at: that of a stored file has under 200, and what others add."""


def header(payload_bytes: int) -> bytes:
    """What a stored file begins with, the length of the header included."""
    facts = json.dumps({"format": VERSION, STORAGE: STORAGE_VERSION}, separators=(",", ":"))
    metadata = json.dumps({METADATA: facts}, separators=(",", ":"))
    text = f'{{"__metadata__":{metadata},{entry_json(TENSOR, "U8", (payload_bytes,), 0, payload_bytes)}}}'.encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def is_stored(found: Header) -> bool:
    """Whether a header is that of a stored file, whole or damaged."""
    return TENSOR in found.entries or _facts(found).get(STORAGE) is not None


def _facts(found: Header) -> dict[str, object]:
    try:
        facts = json.loads(found.metadata.get(METADATA, "{}"))
    except (ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def check(found: Header, file: str) -> None:
    """Raises CorruptError or UnsupportedError where a header of a stored file is not as it must be."""
    facts = _facts(found)
    version, storage = facts.get("format", VERSION), facts.get(STORAGE, STORAGE_VERSION)
    if not isinstance(version, str) or version.split(".")[0] != VERSION.split(".")[0] or storage != STORAGE_VERSION:
        raise UnsupportedError(
            f"a stored file of format {version!r}, storage {storage!r}: this tersely reads {VERSION}, "
            f"{STORAGE_VERSION}; use a newer release",
            file=file,
        )
    entry = found.entries.get(TENSOR)
    if entry is None or len(found.entries) != 1 or entry.tag != "U8" or len(entry.shape) != 1:
        raise CorruptError(
            f"a stored file has one tensor {TENSOR!r} of U8 with one dimension, this one has {sorted(found.entries)[:3]}",
            file=file,
            file_byte=8,
        )


def is_stored_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file says that it is a stored one. False for what cannot be read: who opens it will say why."""
    try:
        if Path(path).is_dir():
            return False
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            return length <= _LONGEST and is_stored(parse_bytes(file.read(length), None, str(path)))
    except (OSError, struct.error, FormatError):
        return False
