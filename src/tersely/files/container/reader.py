"""Reading a file: map it, parse the header, group components into coded tensors. No payload is touched until asked.

Safe on hostile files: allocations are bounded by the header, every component lies inside the file, names are checked.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tersely.core import collector
from tersely.core.dtypes import BY_TAG
from tersely.core.encoded import Encoded, Node
from tersely.core.errors import CorruptError, TerselyError, UnsupportedError
from tersely.files.container import alias, closing, description, limits, packing, pieces, pool, stored, writer
from tersely.files.container.header import Entry, Header, parse, parse_bytes

_DENSE = Node("dense", 1)
PLAN = "plan"
"""What is kept of a stored file's plan, among our facts."""


class Original:
    """What a compressed file remembers of the file it was made from."""

    def __init__(self, header: Header, sha256: str, file_bytes: int) -> None:
        self.header, self.sha256, self.file_bytes = header, sha256, file_bytes


class Reader:
    """An open safetensors file, compressed or not.

    mapped: map the file (it must not change while open); False copies it into memory.
    """

    def __init__(self, path: str | os.PathLike[str], *, mapped: bool = True) -> None:
        """Raises CorruptError or UnsupportedError naming the place, TerselyError where the file cannot be opened."""
        self.path = Path(path)
        self.file = str(path)
        self._map: Any = None
        self._descriptor = -1
        self._bytes = self._load(mapped)
        with collector.paused():
            self.header = parse(self._read, self._bytes.nbytes, self.file)
            if stored.is_stored(self.header):
                raise TerselyError(
                    f"{self.file} is a stored file, whose tensors are not there as they are: 'tersely transcode' makes a runnable "
                    "file of it, tersely.load_file opens it"
                )
            self.sealed = writer.is_sealed(self.header)
            if self.sealed and not writer.seal_holds(self.header):
                raise CorruptError(
                    "the header's checksum does not hold; get the file again", file=self.file, file_byte=8
                )
            self._facts = self._parse_facts()
            self.pool = self._open_pool()
            self._group()
            self.aliases = self._resolve_aliases()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            os.close(self._descriptor)

    def _read(self, start: int, stop: int) -> bytes:
        """Bytes of the file, by reading where it is mapped: touching a map for a small description can bring in
        two megabytes of it."""
        if self._descriptor >= 0:
            return os.pread(self._descriptor, stop - start, start)
        return self._bytes[start:stop].tobytes()

    def _load(self, mapped: bool) -> np.ndarray:
        try:
            with open(self.path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if not mapped or size == 0:
                    return np.frombuffer(file.read(), np.uint8)
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                self._descriptor = os.dup(file.fileno())
                return np.frombuffer(self._map, np.uint8)
        except IsADirectoryError:
            raise TerselyError(f"{self.file} is a folder; give one of its .safetensors files") from None
        except FileNotFoundError:
            raise TerselyError(f"{self.file} does not exist") from None
        except OSError as error:
            raise TerselyError(f"{self.file} cannot be read: {error.strerror or error}") from error

    def _parse_facts(self) -> dict[str, Any]:
        text = self.header.metadata.get(writer.METADATA)
        if text is None:
            return {}
        try:
            facts = json.loads(text)
            version = facts["format"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise CorruptError("the metadata entry 'tersely' is damaged", file=self.file, file_byte=8) from None
        if not isinstance(version, str) or version.split(".")[0] not in description.MAJORS:
            raise UnsupportedError(
                f"format version {version!r}: this tersely reads {description.POOLED_VERSION} and older; use a newer release",
                file=self.file,
            )
        return dict(facts)

    def _open_pool(self) -> pool.Pool | None:
        """What the file keeps coded together; None where it keeps nothing so."""
        entry = self.header.entries.get(pool.TENSOR)
        if entry is None:
            if pool.PARTS in self.header.entries:
                raise CorruptError(f"{pool.PARTS} without {pool.TENSOR}; get the file again", file=self.file)
            return None
        if entry.tag != "U8" or len(entry.shape) != 1:
            raise CorruptError("the pool must be U8 with one dimension", file=self.file, tensor=pool.TENSOR)
        start = self.header.data_start + entry.begin
        raw = np.frombuffer(self._read(start, start + entry.nbytes), np.uint8)
        return pool.Pool(raw, self.header.entries.get(pool.PARTS), self.file)

    def _entries(self) -> Iterator[Entry]:
        """The entries of the header and, in their place, those of the pool. Raises CorruptError for one in both."""
        if self.pool is None:
            yield from self.header.entries.values()
            return
        yield from self.pool.entries.values()
        for entry in self.header.entries.values():
            there = self.pool.entries.get(entry.name)
            if there is not None and not closing.is_one(entry):
                raise CorruptError(
                    "the tensor is there twice, in the pool and outside", file=self.file, tensor=entry.name
                )
            if there is None and entry.name not in pool.RESERVED:
                yield entry

    def _group(self) -> None:
        """Sort header entries into coded tensors (by their infos) and dense ones."""
        self.dense: dict[str, Entry] = {}
        self._parts: dict[str, dict[str, Entry]] = {}
        for entry in self._entries():
            if description.MARK in entry.name:
                base, _, component = entry.name.rpartition(description.MARK)
                self._parts.setdefault(base, {})[component] = entry
            else:
                self.dense[entry.name] = entry
        for name, parts in self._parts.items():
            if description.INFO not in parts:
                # Component names may hold dots, so a longer mark may belong to another tensor: only report.
                raise CorruptError("components without their description", file=self.file, tensor=name)
            if name in self.dense and closing.is_one(self.dense[name]):
                del self.dense[name]
            if name in self.dense:
                raise CorruptError("the tensor is there twice, coded and dense", file=self.file, tensor=name)
            for component, entry in parts.items():
                if entry.tag != "U8" or len(entry.shape) != 1:
                    raise CorruptError(
                        "a component must be U8 with one dimension", file=self.file, tensor=name, component=component
                    )
        self.descriptions = {name: self._describe(name, parts) for name, parts in self._parts.items()}

    def _resolve_aliases(self) -> dict[str, str]:
        """What each alias stands for; the checksums of dense tensors are looked at only where a file has aliases."""
        if not any(alias.is_alias(found.node) for found in self.descriptions.values()):
            return {}
        dense = {name: (entry.tag, entry.shape) for name, entry in self.dense.items()}
        return alias.resolve(self.descriptions, dense, self._dense_sums, self.file)

    def _describe(self, name: str, parts: Mapping[str, Entry]) -> description.Description:
        entry = parts[description.INFO]
        if entry.nbytes > limits.INFO_BYTES:
            raise CorruptError(
                f"a description of {entry.nbytes} bytes (limit {limits.INFO_BYTES})", file=self.file, tensor=name
            )
        start = self.header.data_start + entry.begin
        raw = self.raw(entry).tobytes() if self.is_pooled(entry.name) else self._read(start, start + entry.nbytes)
        found = description.Description(raw, self.file, name)
        if set(found.components) != set(parts) - {description.INFO}:
            odd = sorted(set(found.components) ^ (set(parts) - {description.INFO}))[0]
            raise CorruptError(
                "the file and the description disagree on this component",
                file=self.file,
                tensor=name,
                component=odd,
            )
        return found

    @property
    def paths(self) -> list[Path]:
        """The files that its bytes lie in."""
        return [self.path]

    @property
    def file_bytes(self) -> int:
        return int(self._bytes.nbytes)

    @property
    def compressed(self) -> bool:
        """Whether any tensor is coded, or the file says it was written by tersely."""
        return bool(self._parts) or self.pool is not None or writer.METADATA in self.header.metadata

    @property
    def metadata(self) -> dict[str, str]:
        """The user's metadata, ours left out."""
        own = (writer.METADATA, writer.HEADER_SEAL)
        return {key: value for key, value in self.header.metadata.items() if key not in own}

    @property
    def facts(self) -> Mapping[str, Any]:
        """File-level facts of our own metadata; empty where a foreign writer dropped them."""
        return self._facts

    def names(self) -> list[str]:
        """Names of all tensors, coded first, in file order."""
        return [*self._parts, *self.dense]

    def __contains__(self, name: object) -> bool:
        return name in self._parts or name in self.dense

    def __len__(self) -> int:
        return len(self._parts) + len(self.dense)

    def is_pooled(self, name: str) -> bool:
        """Whether an entry of this name is coded with others in the pool."""
        return self.pool is not None and name in self.pool

    def raw(self, entry: Entry) -> np.ndarray:
        """The bytes of one entry, uint8, as a view of the file; of a pooled one as they are decoded, once."""
        if self.pool is not None and entry.name in self.pool:
            return self.pool.raw(entry.name)
        start = self.header.data_start + entry.begin
        return self._bytes[start : start + entry.nbytes]

    def stored_bytes(self, entry: Entry) -> int:
        """Bytes that an entry takes in the file; of a pooled one its share of a block."""
        return self.pool.stored_bytes(entry.name) if self.is_pooled(entry.name) and self.pool else entry.nbytes

    def stored_as(self, name: str) -> str:
        """The tensor whose bytes are those of `name`: the one that it is an alias of, else itself."""
        return self.aliases.get(name, name)

    def entries_of(self, name: str) -> list[Entry]:
        """All header entries of one tensor: its components, or itself; of an alias its description alone."""
        return [self.dense[name]] if name in self.dense else list(self._parts[name].values())

    def forget(self, name: str) -> None:
        """Let the system drop the mapped pages of a tensor that is done with: keeps long jobs small.

        For an alias these are those of the tensor that was read for it, too.
        """
        if self._map is None or not hasattr(self._map, "madvise"):
            return
        names = (name, self.aliases[name]) if name in self.aliases else (name,)
        for entry in [entry for one in names for entry in self.entries_of(one)]:
            if entry.end - entry.begin < mmap.PAGESIZE or self.is_pooled(entry.name):
                continue
            start = -(-(self.header.data_start + entry.begin) // mmap.PAGESIZE) * mmap.PAGESIZE
            length = (self.header.data_start + entry.end) // mmap.PAGESIZE * mmap.PAGESIZE - start
            if length > 0:
                self._map.madvise(mmap.MADV_DONTNEED, start, length)

    def encoded(self, name: str) -> Encoded:
        """One tensor, its components as views of the file; for an alias the tensor that it stands for."""
        name = self.stored_as(name)
        if name in self.dense:
            entry = self.dense[name]
            dtype = BY_TAG[entry.tag].name
            return Encoded(entry.shape, dtype, "folded", "out_in", "as_is", _DENSE, {"bytes": self.raw(entry)})
        parts = self._parts[name]
        found = self.descriptions[name]
        return found.encoded({component: self.raw(parts[component]) for component in found.components})

    def check_sums(self, name: str) -> None:
        """Compare the stored CRC-32 of every component of a coded tensor, or of a dense one where we wrote it.

        An alias has the components of the tensor that it stands for.
        """
        name = self.stored_as(name)
        if name in self.dense:
            entry = self.dense[name]
            if self.is_pooled(name):
                self.raw(entry)  # its block has a checksum, which is looked at before it is decoded
                return
            stored = self._dense_sums.get(name)
            if self.sealed and stored is None:
                raise CorruptError("a dense tensor without its checksum", file=self.file, tensor=name)
            if stored is not None and description.crc32(self.raw(entry)) != stored:
                raise CorruptError(
                    "the checksum does not hold; get the file again",
                    file=self.file,
                    tensor=name,
                    file_byte=self.header.data_start + entry.begin,
                )
            return
        for component, stored in self.descriptions[name].components.items():
            entry = self._parts[name][component]
            if description.crc32(self.raw(entry)) != stored:
                raise CorruptError(
                    "the checksum does not hold; get the file again",
                    file=self.file,
                    tensor=name,
                    component=component,
                    file_byte=None if self.is_pooled(entry.name) else self.header.data_start + entry.begin,
                )

    def has_sum(self, name: str) -> bool:
        """Whether the file has a checksum of this tensor."""
        name = self.stored_as(name)
        return name in self.descriptions or name in self._dense_sums or self.is_pooled(name)

    @cached_property
    def _dense_sums(self) -> dict[str, str]:
        """CRC-32 of each dense tensor, in the order of their bytes; none where a foreign writer may have moved them."""
        digits = self._facts.get("dense_crc32", "") if self.sealed else ""
        here = {name for name in self.dense if not self.is_pooled(name)}
        order = [entry.name for entry in self.header.by_offset() if entry.name in here]
        if not isinstance(digits, str) or (self.sealed and len(digits) != 8 * len(order)):
            raise CorruptError("the checksums of dense tensors are damaged", file=self.file, file_byte=8)
        return {name: digits[8 * index : 8 * index + 8] for index, name in enumerate(order)} if digits else {}

    @cached_property
    def original(self) -> Original | pieces.OriginalFiles | None:
        """The file or files this one was made from; None where it was made from arrays or its header is gone."""
        if self.sealed and isinstance(self._facts.get("pieces"), str):
            return pieces.unpack(self._facts["pieces"], self.file)
        if self.sealed and self.pool is not None and self._facts.get("pieces") is True:
            return pieces.parse(self.pool.original, self.file)
        facts = self._facts.get("original")
        if facts is None or not self.sealed:
            return None
        try:
            if self.pool is None:
                raw = packing.unpack_verbatim(facts["header"], limits.VERBATIM_BYTES)
            else:
                raw = self.pool.original
            header = parse_bytes(raw, None, f"{self.file} (original header)")
            sha256, file_bytes = str(facts["sha256"]), int(facts["bytes"])
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptError(f"the original header is damaged: {error}", file=self.file) from None
        return Original(header, sha256, file_bytes)

    @cached_property
    def plan(self) -> Mapping[str, Any]:
        """The plan of the stored file that this one was transcoded from: it goes back with it. Empty for none."""
        packed = self._facts.get(PLAN)
        if packed is None or not self.sealed:
            return {}
        try:
            plan = json.loads(packing.unpack_verbatim(packed, limits.VERBATIM_BYTES))
        except (ValueError, TypeError, RecursionError) as error:
            raise CorruptError(f"the plan that it carries is damaged: {error}", file=self.file, file_byte=8) from None
        if not isinstance(plan, dict):
            raise CorruptError("the plan that it carries is none; get the file again", file=self.file, file_byte=8)
        return plan

    def offset_in_original(self, name: str) -> int | None:
        """The byte of the original safetensors file at which a tensor began; None where there was no such file."""
        original = self.original
        if not isinstance(original, Original) or name not in original.header.entries:
            return None
        return original.header.data_start + original.header.entries[name].begin

    def check_original(self) -> None:
        """Names, dtypes and shapes must be those of the original. Raises CorruptError."""
        original = self.original
        if original is None:
            return
        here = {name: (found.dtype.tag, found.shape) for name, found in self.descriptions.items()}
        here |= {name: (entry.tag, entry.shape) for name, entry in self.dense.items()}
        if isinstance(original, pieces.OriginalFiles):
            original.check(here, self.file)
            return
        there = {name: (entry.tag, entry.shape) for name, entry in original.header.entries.items()}
        if here != there:
            odd = sorted(name for name in {*here, *there} if here.get(name) != there.get(name))[0]
            raise CorruptError("the tensor is not the one of the original header", file=self.file, tensor=odd)
