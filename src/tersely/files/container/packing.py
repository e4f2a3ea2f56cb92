"""Bytes of an original, verbatim, in a string of JSON: base64 of zlib."""

from __future__ import annotations

import base64
import zlib


def pack_verbatim(raw: bytes) -> str:
    """Bytes as text for a JSON string: base64 of zlib."""
    return base64.b64encode(zlib.compress(raw, 9)).decode()


def unpack_verbatim(text: str, limit_bytes: int) -> bytes:
    """Inverse of `pack_verbatim`. Raises ValueError for anything else, or more than `limit_bytes`."""
    inflate = zlib.decompressobj()
    try:
        raw = inflate.decompress(base64.b64decode(text, validate=True), limit_bytes + 1)
    except (zlib.error, ValueError) as error:
        raise ValueError(f"not a verbatim copy: {error}") from None
    if len(raw) > limit_bytes or not inflate.eof or inflate.unused_data:
        raise ValueError("not a verbatim copy: cut short or too long")
    return raw
