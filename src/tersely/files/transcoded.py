"""A stored file, open to be used: each tensor is decoded and coded by the plan when it is asked for.

It has the face that an open runnable file has (`container.reader`). The plan is the file's own, or is made for the
machine that loads.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from tersely.core.encoded import Encoded
from tersely.core.once import once
from tersely.files import plan_file
from tersely.files.container import alias
from tersely.files.duplicates import Duplicates
from tersely.files.encode_tensor import Options, duplicates_of, encode_tensor
from tersely.files.stored_file import StoredFile

NATIVE = "native"
"""The profile of plans that nobody made: the machine that loads."""


class TranscodedReader:
    """A stored file with the face of an open runnable one."""

    aliases: Mapping[str, str] = {}
    compressed = True

    def __init__(self, path: str | os.PathLike[str], *, mapped: bool = True, threads: int | None = None) -> None:
        """threads: workers, None for as many as products use. Errors are those of `StoredFile`; ArgumentError for a plan that
        does not fit."""
        self.source = StoredFile(path, mapped=mapped, threads=threads)
        self.file, self.header = self.source.file, self.source.header
        self.dense, self.descriptions = self.source.dense, self.source.descriptions
        self.metadata = dict(self.source.metadata)
        self._options = options_of(self.source, threads)
        self.facts = {"objective": self._options.objective, "profile": self._options.profile.name}

    @once
    def _duplicates(self) -> Duplicates:
        return duplicates_of(self.source, self._options)

    def names(self) -> list[str]:
        return self.source.names()

    def __contains__(self, name: object) -> bool:
        return name in self.dense

    def __len__(self) -> int:
        return len(self.dense)

    def stored_as(self, name: str) -> str:
        """The tensor whose codes `name` shares: one of the same bytes that is coded in the same way, else itself."""
        first, plan = self._duplicates.first(name), self._options.plan
        own = plan.get(name)
        alike = own is None or own["formulation"] == alias.FORMULATION or own == plan.get(first)
        return first if alike else name

    def encoded(self, name: str) -> Encoded:
        """One tensor, coded by the plan, or dense."""
        name = self.stored_as(name)
        found, _ = encode_tensor(self.source, name, self._options, self._duplicates)
        if found is None:
            found = self.source.encoded(name)
        self.source.forget(name)
        return found

    def check(self) -> None:
        """Decode everything and compare the original's SHA-256. Raises VerificationError, CorruptError."""
        self.source.check()

    def offset_in_original(self, name: str) -> int | None:
        """The byte of a safetensors original at which a tensor began; None where there was none."""
        return self.source.offset_in_original(name)


def options_of(source: StoredFile, threads: int | None = None) -> Options:
    """How a stored file is coded by its own plan. Raises ArgumentError for one that means nothing."""
    document = plan_file.read_plan(source.plan) if source.plan else {}
    profile = None if "profile" in document else NATIVE
    objective, target, batch = plan_file.settings_of(document, None, profile, None)
    tensors = {name: one for name, one in document.get("tensors", {}).items() if name in source.dense}
    return Options(objective, target, (), (), threads, plan=tensors, batch=batch, reasons=False, pool=True)
