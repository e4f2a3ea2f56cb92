"""Single files from Python: open lazily, load, save; and how deep they are checked.

structure   header, descriptions, directories: milliseconds, afterwards no payload can crash anything
checksums   every byte of the file against its CRC-32
full        every tensor decoded and compared with the CRC-32 of the original bytes
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np

from tersely.backends.cpu.threads import workers_of
from tersely.codes.node import Checked
from tersely.core import collector
from tersely.core.choices import CHECKS, Check
from tersely.core.dtypes import by_name, of_array, raw_bytes
from tersely.core.errors import ArgumentError, CorruptError
from tersely.files.checks import check_tensor, checked, claimed_bytes
from tersely.files.container import description
from tersely.files.container.header import is_text
from tersely.files.container.reader import Reader
from tersely.files.container.stored import is_stored_file
from tersely.files.container.writer import Writer
from tersely.files.duplicates import SavedTensors
from tersely.files.results import Meter, Progress
from tersely.tensors.tensor import Tensor

if TYPE_CHECKING:
    from tersely.files.transcoded import TranscodedReader


class File(Mapping[str, Tensor]):
    """A file opened by `tersely.open`: a mapping of names to tensors, each made when it is asked for."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        mmap: bool = True,
        check: Check = "structure",
        max_bytes: int | None = None,
        threads: int | None = None,
    ) -> None:
        """Checks the structure of all tensors, or more. Arguments and errors are those of `load_file`."""
        workers_of(threads)
        if check not in CHECKS:
            raise ArgumentError(f"unknown check {check!r}: use one of {', '.join(CHECKS)}")
        stored = is_stored_file(path)
        self.reader: Reader | TranscodedReader = (
            _transcoded(path, mmap, threads) if stored else Reader(path, mapped=mmap)
        )
        if max_bytes is not None and (total := claimed_bytes(self.reader)) > max_bytes:
            raise CorruptError(
                f"decoded tensors have {total} bytes, max_bytes allows {max_bytes}; raise it if the file can be trusted",
                file=str(path),
            )
        self._checked: MutableMapping[str, Checked] = WeakValueDictionary() if stored else {}
        """Checked tensors by the name that their bytes are stored under. Dense tensors have been held to their
        shapes by the header. What was made of a stored file lives as long as its tensors do."""
        if not isinstance(self.reader, Reader):
            if check != "structure":
                self.reader.check()
            return
        for name in self.reader.descriptions if check == "structure" else self.reader.names():
            if self.reader.aliases.get(name) in self.reader.descriptions:
                continue  # an alias of a coded tensor, which is checked, and has the same checksum
            self._checked[self.reader.stored_as(name)] = check_tensor(self.reader, name, check)
        if check != "structure":
            self.reader.check_original()

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.reader:
            raise KeyError(name)
        found = self.reader.descriptions.get(name)
        crc32 = None if found is None else found.crc32
        stored = self.reader.stored_as(name)
        known = self._checked.get(stored)
        if known is None:
            known = self._checked[stored] = checked(self.reader, name)
        return Tensor(known, crc32, origin=(self.reader.file, name))

    def __iter__(self) -> Iterator[str]:
        return iter(self.reader.names())

    def __len__(self) -> int:
        return len(self.reader)

    @property
    def metadata(self) -> dict[str, str]:
        """The file's own metadata entries, without tersely's."""
        return dict(self.reader.metadata)

    def __enter__(self) -> File:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to do: the mapping lives as long as tensors that use it."""


def _transcoded(path: str | os.PathLike[str], mapped: bool, threads: int | None) -> TranscodedReader:
    from tersely.files.transcoded import TranscodedReader

    return TranscodedReader(path, mapped=mapped, threads=threads)


def open_file(path: str | os.PathLike[str], *, mmap: bool = True, check: Check = "structure") -> File:
    """Opens a safetensors file, compressed or not, lazily.

    Args:
        path: the file.
        mmap: run on the mapped file in place; False reads it into memory, for files that others may change meanwhile.
        check: how deep to check: 'structure', 'checksums' or 'full'.

    Returns:
        A mapping of names to tensors, which is also a context manager.

    Raises:
        CorruptError: for damage, naming file, tensor, component and byte.
        UnsupportedError: for a file that needs another release of tersely.
        TerselyError: where the file does not exist or cannot be read.
    """
    return File(path, mmap=mmap, check=check)


def load_file(
    path: str | os.PathLike[str],
    check: Check = "structure",
    mmap: bool = True,
    max_bytes: int | None = None,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Tensor]:
    """Returns all tensors of a file by name, coded ones and dense ones.

    A runnable file is mapped; every tensor of a stored one is decoded and coded by its plan.

    Args:
        path: a safetensors file, compressed or not.
        check: how deep to check: 'structure', 'checksums' or 'full'.
        mmap: run on the mapped file in place; False reads it into memory, for files that others may change meanwhile.
        max_bytes: refuse a file whose decoded tensors would have more bytes in all, by what it says of them and before
            any of them is looked at; None for no limit.
        threads: workers that make a stored file runnable; None for as many as products use.
        progress: called with (bytes done, bytes in all, tensor name), after each tensor.

    Returns:
        Tensors in the order of the file.

    Raises:
        ArgumentError: for arguments that mean nothing.
        CorruptError: for damage, and for more than `max_bytes`, naming file, tensor, component and byte.
        UnsupportedError: for a file that needs another release of tersely.
        TerselyError: where the file does not exist or cannot be read.
    """
    file = File(path, mmap=mmap, check=check, max_bytes=max_bytes, threads=threads)
    meter, found = Meter(claimed_bytes(file.reader), progress), {}
    with collector.paused():
        for name in file:
            found[name] = file[name]
            if progress is not None:
                meter(found[name].nbytes, name)
    return found


def save_file(
    tensors: Mapping[str, Any],
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
    *,
    closed: bool = False,
) -> None:
    """Writes tensors to one file that `load_file` and any safetensors reader open; it appears whole or not at all.

    Args:
        tensors: by name: tersely tensors (stored as they are coded, those with equal codes once) or arrays (stored
            dense).
        path: the file to write; an existing one is replaced.
        metadata: strings by strings, for the file's header.
        closed: have other loaders of PyTorch's files stop at coded tensors; {"format": "pt"} among the metadata means
            it too.

    Raises:
        ArgumentError: for names, metadata and arrays that no file holds.
        DestinationError: where the file cannot be written.
    """
    if not isinstance(tensors, Mapping):
        raise ArgumentError(f"tensors must map names to tensors, such as {{'w': t}}, not a {type(tensors).__name__}")
    metadata = dict(metadata or {})
    if not all(isinstance(text, str) for pair in metadata.items() for text in pair):
        raise ArgumentError("metadata must map strings to strings")
    if odd := [text for pair in metadata.items() for text in pair if not is_text(text)]:
        raise ArgumentError(f"the metadata hold half a character, which no file can, in {odd[0][:80]!r}: leave it out")
    saved = SavedTensors()
    with Writer(Path(path)) as writer:
        for name, value in tensors.items():
            if not isinstance(name, str):
                raise ArgumentError(f"tensor names are strings, not {name!r}")
            tensor = value if isinstance(value, Tensor) else None
            if tensor is not None and tensor.formulation != "dense":
                crc32 = tensor.crc32 or description.crc32(raw_bytes(tensor.decode()))
                other = saved.find(name, tensor.encoded, crc32)
                if other is None:
                    writer.add_encoded(name, tensor.encoded, crc32)
                else:
                    writer.add_alias(name, other, tensor.encoded, crc32)
            elif tensor is not None:
                data = np.asarray(tensor.encoded.components["bytes"])
                writer.add_dense(name, by_name(tensor.encoded.dtype).tag, tensor.encoded.shape, data)
            else:
                array = np.asarray(value)
                writer.add_dense(name, of_array(array).tag, array.shape, raw_bytes(array))
        writer.write(metadata, {}, closed=closed)
