"""A stored file as a source: its tensors, decoded one by one, are what a runnable file is made of."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from tersely.backends.cpu.threads import workers_of
from tersely.files.container.reader import Reader
from tersely.files.container.stored import is_stored_file
from tersely.files.decoded_source import DecodedSource
from tersely.storage.archive.reader import Archive

SMALLEST = "smallest"
"""The only way of storing that there is."""


class StoredFile(DecodedSource):
    """An open stored file. Safe under several threads where they ask for different tensors."""

    def __init__(self, path: str | os.PathLike[str], *, mapped: bool = True, threads: int | None = None) -> None:
        """threads: workers that decode, None for as many as products use. Errors are those of `Archive`."""
        self.archive = Archive(path, mapped=mapped, threads=workers_of(threads))
        text = self.archive.text
        super().__init__(Path(path), text.header, text.pieces)
        self.in_out, self.plan = text.in_out, text.plan
        self.sha256 = self.archive.index.sha256.hex() or None

    def equal_names(self) -> Mapping[str, str]:
        entries = self.archive.entries
        return {entries[one].name: entries[other].name for one, other in self.archive.index.copies.items()}

    def decode(self, name: str) -> np.ndarray:
        return self.archive.tensor(self.archive.number(name))

    def check(self, progress: Callable[[int, str], None] | None = None) -> None:
        """Decode everything and compare the original's SHA-256. Raises VerificationError, CorruptError."""
        self.archive.check_original(progress)

    def stored_as(self, name: str) -> str:
        """The tensor whose blocks have the bytes of `name`."""
        return self.archive.entries[self.archive.stored_as(self.archive.number(name))].name

    def offset_in_original(self, name: str) -> int | None:
        """The byte of a safetensors original at which a tensor began; None where there was none."""
        if self._pieces is not None:
            return None
        return self.header.data_start + self.dense[name].begin


def names_in(path: Path) -> list[str]:
    """The tensors of a file, stored or not."""
    return StoredFile(path, threads=1).names() if is_stored_file(path) else Reader(path).names()
