"""Which sources figures depend on: a figure whose kernels have changed since is labelled so."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).parent.parent.parent / "src" / "tersely"
SUFFIXES = (".cpp", ".hpp")
NETWORK = "backends/cpu/network/"
"""Whole networks are run by what is there, and nothing else is."""
WITHOUT_NETWORKS = ("coding", "products", "mixing", "shares")
"""Kinds of units that run no whole network."""


@cache
def digest(kind: str) -> str:
    """Of every source of the native module that a kind of unit runs: paths and bytes."""
    whole = hashlib.sha256()
    for path in sorted(path for path in SOURCES.rglob("*") if path.suffix in SUFFIXES):
        name = path.relative_to(SOURCES).as_posix()
        if kind not in WITHOUT_NETWORKS or not name.startswith(NETWORK):
            whole.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return whole.hexdigest()[:16]


def changed(unit: dict[str, Any]) -> bool:
    """Whether kernels have changed since a unit of a record was measured."""
    return bool(unit["kernels"] != digest(unit["unit"]["kind"]))
