"""Which sources figures depend on: a figure whose kernels have changed since is labelled so."""

from __future__ import annotations

import hashlib
from pathlib import Path

SOURCES = Path(__file__).parent.parent.parent / "src" / "tersely"
SUFFIXES = (".cpp", ".hpp")


def digest() -> str:
    """Of every source of the native module: paths and bytes."""
    whole = hashlib.sha256()
    for path in sorted(path for path in SOURCES.rglob("*") if path.suffix in SUFFIXES):
        whole.update(path.relative_to(SOURCES).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return whole.hexdigest()[:16]
