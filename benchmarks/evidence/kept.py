"""The file of a record of the evidence: read whole, or refused with a word on what is wrong; written whole, or not at all."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.record import Record

TOP = ("machine", "versions", "protocol", "commit", "quick", "units")
UNIT = ("unit", "commit", "kernels")
FOUND = {
    "running": ("ms", "smaller", "busy", "error"),
    "narrow": ("ms", "smaller", "busy", "error"),
    "tokens": ("ms", "bytes", "busy"),
    "predictions": ("images", "accuracy"),
    "shares": ("layers",),
    "mixing": ("ms", "bytes", "busy", "formulations", "by_layer"),
    "coding": ("bytes", "original_bytes", "order_0_bytes", "encode_mb_per_s", "decode_mb_per_s"),
    "products": ("ms", "bytes", "busy", "shape"),
}
"""What a unit that did not fail has, by its kind: what the page is made of."""


def read(path: Path) -> Record:
    """A record. Raises SystemExit, naming file, unit and key, for what is none."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:  # UnicodeDecodeError is one, too
        raise SystemExit(f"{path} cannot be read as a record: {error}") from None
    if not isinstance(found, dict):
        raise SystemExit(f"{path} is no record of the evidence")
    _has(found, TOP, str(path))
    if not isinstance(found["units"], dict):
        raise SystemExit(f"{path}: its units are no object")
    for key, one in found["units"].items():
        where = f"{path}: unit {key}"
        _has(one, UNIT, where)
        _has(one["unit"], ("kind", "network", "state"), where)
        if "failed" not in one:
            _has(one, FOUND.get(one["unit"]["kind"], ()), where)
    return found


def _has(found: Any, keys: tuple[str, ...], where: str) -> None:
    missing = [key for key in keys if not isinstance(found, dict) or key not in found]
    if missing:
        raise SystemExit(f"{where} lacks {', '.join(missing)}, which every record of the evidence has")


def check_place(path: Path) -> None:
    """Makes the folder of a record to come. Raises SystemExit where it could not be written, before anything is measured."""
    if path.is_dir():
        raise SystemExit(f"{path} is a folder: -o takes the name of a file")
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text("{}\n")
        partial.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise SystemExit(f"{path} cannot be written: {error}") from None


def save(found: Record, path: Path) -> None:
    """Writes a record. Raises SystemExit where that fails; the file before it stays."""
    try:
        record.save(found, path, quiet=True)
    except OSError as error:
        path.with_name(path.name + ".partial").unlink(missing_ok=True)
        raise SystemExit(f"{path} cannot be written: {error}; --resume goes on from the file as it was") from None
