"""The files of an original that is not safetensors, from a compressed file; SHA-256 before any gets its name."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tersely.core.dtypes import DType
from tersely.core.errors import DestinationError, VerificationError
from tersely.files.container.pieces import OriginalFiles
from tersely.files.container.temporary import atomic_file

_BLOCK_BYTES = 1 << 22


def check_destinations(pieces: OriginalFiles, destination: Path, force: bool) -> list[Path]:
    """Where each file goes: the first to `destination`, others beside it. Raises DestinationError where one exists."""
    paths = [destination, *(destination.parent / part.name for part in pieces.files[1:])]
    if len({path.resolve() for path in paths}) != len(paths):
        raise DestinationError(f"{destination} has the name of another file of the original; choose another")
    for path in paths[1:]:
        if path.exists() and not force:
            raise DestinationError(f"{path} exists; choose another folder or pass `force=True`")
        if destination.parent.resolve() not in path.resolve().parents:
            raise DestinationError(f"{path} leads out of {destination.parent} (a link?); choose another folder")
    return paths


def rebuild(
    reader: Any,
    pieces: OriginalFiles,
    paths: list[Path],
    tensor: Callable[[str], tuple[np.ndarray, DType]],
    force: bool = False,
) -> tuple[int, list[str]]:
    """Write all files; returns their bytes and notes. reader: an open file (`file`, `path`). tensor(name): its decoded bytes,
    which are checked, and its dtype. force: replace what is there by then.

    Raises VerificationError or DestinationError, keeping nothing.
    """
    # All files are whole before the first gets its name: the contexts close only when every SHA-256 held.
    with contextlib.ExitStack() as stack:
        for part, path in zip(pieces.files, paths, strict=True):
            _make_folder(path.parent, stack)
            file, _ = stack.enter_context(atomic_file(path, (reader.path,), replace=force))
            digest, written = hashlib.sha256(), 0
            for block in part.rebuild(tensor):
                view = memoryview(block)
                for start in range(0, len(view), _BLOCK_BYTES):
                    file.write(view[start : start + _BLOCK_BYTES])
                digest.update(view)
                written += len(view)
                if written > part.file_bytes:
                    break
            if digest.hexdigest() != part.sha256:
                raise VerificationError(
                    f"{part.name} has SHA-256 {digest.hexdigest()}, the original had {part.sha256}; nothing was kept",
                    file=reader.file,
                )
    notes = [f"written beside it: {path}" for path in paths[1:]]
    return pieces.file_bytes, notes


def _make_folder(path: Path, stack: contextlib.ExitStack) -> None:
    """Make a folder and those above it; when the stack closes, those that stayed empty are removed again."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        try:
            folder.mkdir()
        except OSError as error:
            raise DestinationError(f"{folder} cannot be made: {error.strerror or error}") from error
        stack.callback(_remove_if_empty, folder)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
