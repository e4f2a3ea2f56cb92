"""Sources whose tensors are decoded one by one from a file of ours, with the face that a plain file has.

So making a stored file runnable, a runnable one stored, or either anew, is compressing: nothing knows what it reads
from. What the original was - its header or its pieces, its SHA-256 - is handed on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tersely.core.dtypes import BY_TAG
from tersely.core.encoded import Encoded, Node
from tersely.files.checks import check_decoded, check_tensor, decoded
from tersely.files.container.header import Entry, Header, fresh_header, parse_bytes, tensor_bytes
from tersely.files.container.pieces import OriginalFiles
from tersely.files.container.reader import Original, Reader

_NODE = Node("dense", 1)


class DecodedSource(ABC):
    """Tensors by name: `header`, `dense`, `descriptions`, `names`, `raw`, `encoded`, `forget`, as `Reader` has them.

    A decoded tensor is kept until `forget`. notes: what a user should know. in_out: names of matrices stored [inputs,
    outputs]. sha256: of a safetensors original, None where it has none. plan: the runnable plan that the file carries.
    """

    compressed = False
    notes: tuple[str, ...] = ()

    def __init__(self, path: Path, header: Header, pieces: OriginalFiles | None) -> None:
        self.path, self.file, self.header = path, str(path), header
        self.dense: Mapping[str, Entry] = header.entries
        self.descriptions: dict[str, Any] = {}
        self.in_out: frozenset[str] = frozenset()
        self.sha256: str | None = None
        self.plan: Mapping[str, Any] = {}
        self._pieces = pieces
        self._kept: dict[str, np.ndarray] = {}

    @property
    def paths(self) -> list[Path]:
        """The files that its bytes lie in."""
        return [self.path]

    @property
    def file_bytes(self) -> int:
        """Bytes of the original's files."""
        if self._pieces is not None:
            return self._pieces.file_bytes
        return self.header.data_start + sum(entry.nbytes for entry in self.dense.values())

    @property
    def metadata(self) -> Mapping[str, str]:
        """The original's own metadata."""
        return self.header.metadata

    def pieces(self) -> OriginalFiles | None:
        """What is between the tensors of an original of another format; None for one of safetensors."""
        return self._pieces

    def names(self) -> list[str]:
        return list(self.dense)

    def equal_names(self) -> Mapping[str, str] | None:
        """The first tensor that each has the bytes of, for those that are not the first; None where nobody knows."""
        return None

    @abstractmethod
    def decode(self, name: str) -> np.ndarray:
        """The bytes of a tensor, uint8. Raises FormatError naming file and tensor."""

    def raw(self, entry: Entry) -> np.ndarray:
        """A tensor's bytes, kept until it is forgotten, which another thread may do."""
        found = self._kept.get(entry.name)
        if found is None:
            found = self._kept[entry.name] = self.decode(entry.name)
        return found

    def forget(self, name: str) -> None:
        """No more is wanted of a tensor for now."""
        self._kept.pop(name, None)

    def encoded(self, name: str) -> Encoded:
        entry = self.dense[name]
        dtype = BY_TAG[entry.tag].name
        return Encoded(entry.shape, dtype, "folded", "out_in", "as_is", _NODE, {"bytes": self.raw(entry)})


class RunnableSource(DecodedSource):
    """What `compress` wrote, decoded. A file that lost its original's header gets a fresh one, as `decompress` gives it."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        original = reader.original
        reader.check_original()
        tensors = {name: (found.dtype.tag, found.shape) for name, found in reader.descriptions.items()}
        tensors |= {name: (entry.tag, entry.shape) for name, entry in reader.dense.items()}
        sha256, pieces = None, None
        if isinstance(original, Original):
            header, sha256 = original.header, original.sha256
        elif original is not None:
            pieces = original
            header = _header_of(pieces, tensors)
        else:
            header = parse_bytes(fresh_header(tensors, reader.metadata)[0], None, reader.file)
        super().__init__(reader.path, header, pieces)
        self.sha256, self.plan = sha256, reader.plan
        if original is None:
            self.notes = (
                f"{reader.path.name}: no original header is kept (saved by another program, or by save_file); tensors are bit for bit the same",
            )
        self.in_out = frozenset(name for name, one in reader.descriptions.items() if one.orientation == "in_out")

    def decode(self, name: str) -> np.ndarray:
        raw = decoded(self.reader, name, check_tensor(self.reader, name, "checksums"))
        check_decoded(self.reader, name, raw)
        return raw

    def forget(self, name: str) -> None:
        super().forget(name)
        self.reader.forget(name)


def _header_of(pieces: OriginalFiles, tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> Header:
    """Tensors in the order in which they stand in their files, those that stand nowhere last."""
    order = dict.fromkeys(cut.tensor for part in pieces.files for cut in part.cuts)
    entries, position = {}, 0
    for name in [*order, *(name for name in tensors if name not in order)]:
        tag, shape = tensors[name]
        end = position + tensor_bytes(tag, shape)
        entries[name] = Entry(name, tag, shape, position, end)
        position = end
    return Header(entries, {}, b"")
