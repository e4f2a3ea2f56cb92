"""A source whose tensors are ranges of bytes in files of another format, with the face that a plain `Reader` has.

Who knows the format finds the ranges (`tersely.files.foreign.onnx`); nobody who compresses, plans or compares needs to
know it.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tersely.core.dtypes import BY_TAG, DType
from tersely.core.encoded import Encoded, Node
from tersely.core.errors import CorruptError, TerselyError, VerificationError
from tersely.files.container import limits, varints
from tersely.files.container.header import Entry, Header, tensor_bytes
from tersely.files.container.pieces import Cut, OriginalFile, OriginalFiles

_HASH_BYTES = 1 << 24


class SlicedFile:
    """A file, mapped. name: relative to the folder of the first file of its source."""

    def __init__(self, path: Path, name: str) -> None:
        """Raises TerselyError where it is not a plain file that can be read."""
        if not path.is_file():
            raise TerselyError(f"{path} {'is not a plain file' if path.exists() else 'does not exist'}")
        self.path, self.name = path, name
        self._map: mmap.mmap | None = None
        try:
            with open(path, "rb") as file:
                if os.fstat(file.fileno()).st_size:
                    self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise TerselyError(f"{path} cannot be read: {error.strerror or error}") from error
        self.bytes = np.frombuffer(self._map or b"", np.uint8)

    def forget(self, begin: int, end: int) -> None:
        """Let the system drop the mapped pages of a range that is done with."""
        begin, end = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
        if self._map is not None and end > begin and hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED, begin, end - begin)

    def sha256(self) -> str:
        digest = hashlib.sha256()
        for begin in range(0, self.bytes.size, _HASH_BYTES):
            digest.update(self.bytes[begin : begin + _HASH_BYTES])
            self.forget(begin, begin + _HASH_BYTES)
        return digest.hexdigest()


@dataclass(frozen=True)
class Slice:
    """One tensor: bytes [begin, end) of a file of the source. tag: safetensors dtype. form: see `container.pieces`."""

    name: str
    file: int
    begin: int
    end: int
    tag: str
    shape: tuple[int, ...]
    form: str = "raw"


class SlicedSource:
    """Tensors by name, as `Reader` has them: `header`, `dense`, `descriptions`, `names`, `raw`, `encoded`, `forget`.

    kind: the format, for people. notes: what a user should know. in_out: names of matrices stored [inputs, outputs].
    """

    compressed = False

    def __init__(
        self,
        kind: str,
        files: Sequence[SlicedFile],
        slices: Sequence[Slice],
        notes: Sequence[str] = (),
        in_out: frozenset[str] = frozenset(),
    ) -> None:
        self.kind, self.files, self.in_out = kind, tuple(files), in_out
        self.file = str(self.files[0].path)
        self._slices, shared = _without_overlaps(slices)
        self.notes = (*notes, *shared)
        self.descriptions: dict[str, Any] = {}
        self.dense: dict[str, Entry] = {}
        position = 0
        for one in self._slices.values():
            end = position + tensor_bytes(one.tag, one.shape)
            self.dense[one.name] = Entry(one.name, one.tag, one.shape, position, end)
            position = end
        self.header = Header(self.dense, {}, b"")

    @property
    def file_bytes(self) -> int:
        return sum(file.bytes.size for file in self.files)

    @property
    def paths(self) -> list[Path]:
        """The files that its bytes lie in."""
        return [file.path for file in self.files]

    def names(self) -> list[str]:
        return list(self.dense)

    def raw(self, entry: Entry) -> np.ndarray:
        """A tensor's bytes: a view of the file, or made from its varints."""
        one = self._slices[entry.name]
        data = self.files[one.file].bytes[one.begin : one.end]
        if one.form == "raw":
            return data
        dtype = BY_TAG[one.tag]
        found = varints.decode(data, dtype, entry.nbytes * 8 // dtype.bits)
        if found is None:
            raise CorruptError(
                "the file changed while it was read", file=self.file, tensor=entry.name, file_byte=one.begin
            )
        return found

    def encoded(self, name: str) -> Encoded:
        entry = self.dense[name]
        node = Node("dense", 1)
        return Encoded(
            entry.shape, BY_TAG[entry.tag].name, "folded", "out_in", "as_is", node, {"bytes": self.raw(entry)}
        )

    def forget(self, name: str) -> None:
        one = self._slices[name]
        self.files[one.file].forget(one.begin, one.end)

    def pieces(self) -> OriginalFiles:
        """What the compressed file must remember; checked to give back every file. Raises TerselyError."""
        parts = [self._part(number, file) for number, file in enumerate(self.files)]
        for part in parts:
            if not part.check_rebuilt(self._typed):
                raise VerificationError(
                    "the file cannot be put together from its pieces; nothing was kept, please report this",
                    file=part.name,
                )
        return OriginalFiles(self.kind, tuple(parts))

    def differs_from(self, pieces: OriginalFiles) -> str:
        """The first file that is not the one that pieces were made of; '' where all are. Names do not count."""
        if len(self.files) != len(pieces.files):
            return self.files[0].name
        for file, part in zip(self.files, pieces.files, strict=True):
            if file.bytes.size != part.file_bytes or file.sha256() != part.sha256:
                return file.name
        return ""

    def _typed(self, name: str) -> tuple[np.ndarray, DType]:
        entry = self.dense[name]
        return self.raw(entry), BY_TAG[entry.tag]

    def _part(self, number: int, file: SlicedFile) -> OriginalFile:
        rest, cuts, at = bytearray(), [], 0
        for one in self._slices.values():
            if one.file == number:
                self._keep(rest, file, at, one.begin)
                cuts.append(Cut(len(rest), one.name, one.form))
                at = one.end
        self._keep(rest, file, at, file.bytes.size)
        return OriginalFile(file.name, file.bytes.size, file.sha256(), bytes(rest), tuple(cuts))

    def _keep(self, rest: bytearray, file: SlicedFile, begin: int, end: int) -> None:
        if len(rest) + end - begin > limits.VERBATIM_BYTES:
            raise TerselyError(
                f"{file.path}: more than {limits.VERBATIM_BYTES} bytes are not weights that can be taken out; "
                "store them as raw_data or external data first"
            )
        rest += file.bytes[begin:end].tobytes()


def _without_overlaps(slices: Sequence[Slice]) -> tuple[dict[str, Slice], list[str]]:
    """Slices in the order of their bytes; of those that share bytes only the first, and notes about the others."""
    kept: dict[str, Slice] = {}
    notes = []
    last: Slice | None = None
    for one in sorted(slices, key=lambda one: (one.file, one.begin, one.end)):
        if last is not None and one.file == last.file and one.begin < last.end:
            notes.append(f"{one.name!r} shares bytes with {last.name!r} and is not stored a second time")
            continue
        kept[one.name] = one
        last = one if one.end > one.begin else last
    return kept, notes
