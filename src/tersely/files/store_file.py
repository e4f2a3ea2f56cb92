"""One file to its stored form: the smallest, which is not run but transcoded when it is loaded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

from tersely.backends.cpu.threads import workers_of
from tersely.core.choices import LEVELS, STORES, StorageLevel
from tersely.core.dtypes import BY_TAG
from tersely.core.errors import ArgumentError, TerselyError
from tersely.files import plan_source
from tersely.files.behind import Behind
from tersely.files.compress_file import Progress, open_source
from tersely.files.container.header import Entry
from tersely.files.container.reader import Reader
from tersely.files.decoded_source import DecodedSource
from tersely.files.duplicates import firsts
from tersely.files.encode_tensor import Options, TensorFile, orientation_of, pieces_of
from tersely.files.results import STORED, TensorReport
from tersely.storage.archive.reader import Archive
from tersely.storage.archive.texts import Text
from tersely.storage.archive.tried import Way, tried
from tersely.storage.archive.writer import Source, write


def check_level(store: str | None, level: str | None) -> StorageLevel:
    """The level of storing. Raises ArgumentError for what is none."""
    if store is not None and store not in STORES:
        raise ArgumentError(f"unknown store {store!r}: use one of {', '.join(STORES)}")
    if level is not None and level not in LEVELS:
        raise ArgumentError(f"unknown level {level!r}: use one of {', '.join(LEVELS)}")
    if level is not None and store is None:
        raise ArgumentError("a level is one of storing: give `store='smallest'` with it")
    return cast(StorageLevel, level or "fast")


def folder_facts(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What a stored folder says of itself: the same for the same files, whichever machine wrote them, and from whatever.

    plan: what its files carry; without one, whoever loads them plans as `settings_of` does for nothing.
    """
    asked = {key: plan.get(key, usual) for key, usual in (("objective", "balanced"), ("profile", "native"))}
    return asked | {"store": STORES[0]}


def store_file(
    source: Path | DecodedSource,
    destination: Path,
    options: Options,
    level: StorageLevel,
    plan: Mapping[str, Any],
    progress: Progress,
    force: bool = False,
) -> tuple[int, int, list[TensorReport], tuple[str, ...]]:
    """Store one file; returns bytes before and after, tensors, notes.

    source: a file of plain tensors, or what is decoded. options: how matrices lie, and workers; no more of it is used.
    plan: the runnable plan that the file is to carry, empty for none. force, progress: as in `compress_file`.
    """
    reader = source if isinstance(source, DecodedSource) else open_source(source, options.threads)
    pieces = pieces_of(reader)
    text, copies = _text(reader, options, plan)
    entries = text.entries
    threads = workers_of(options.threads)
    with Behind(threads) as behind:
        sha256 = _hashing(reader, behind) if pieces is None else lambda: b""
        after = write(
            destination,
            Source(text, lambda k: reader.raw(entries[k]), lambda k: reader.forget(entries[k].name)),
            copies,
            sha256,
            level=level,
            threads=threads,
            progress=progress,
            like=reader.paths,
            replace=force,
        )
    notes = () if isinstance(reader, Reader) else reader.notes
    return reader.file_bytes, after, tensor_reports(Archive(destination), Path(reader.file).name), notes


def _text(reader: TensorFile, options: Options, plan: Mapping[str, Any]) -> tuple[Text, dict[int, int]]:
    """What is no tensor, and the tensors that have the bytes of an earlier one, by number."""
    in_out = frozenset(name for name in reader.names() if orientation_of(reader, name, options) == "in_out")
    text = Text(reader.header, pieces_of(reader), plan, in_out)
    numbers = {entry.name: number for number, entry in enumerate(text.entries)}
    filled = {entry.name: "" for entry in text.entries if entry.nbytes}
    return text, {numbers[name]: numbers[first] for name, first in firsts(reader, filled).items()}


def explain(
    src: str | os.PathLike[str], name: str, *, level: StorageLevel = "fast", threads: int | None = None
) -> list[Way]:
    """Every coder and way that storing tries for one tensor, with exact sizes, the chosen one first.

    Raises TerselyError for names that the source lacks.
    """
    source = plan_source.find(Path(src))
    options = Options(threads=threads, orientation=source.orientation)
    for shard in source.weights:
        reader = plan_source.open_tensors(source.root / shard, threads)
        if name in reader.dense:
            return _tried(reader, name, options, level)
    raise TerselyError(f"{src} has no tensor {name!r}")


def _tried(reader: TensorFile, name: str, options: Options, level: StorageLevel) -> list[Way]:
    text, copies = _text(reader, options, {})
    entries = text.entries
    number = next(k for k, entry in enumerate(entries) if entry.name == name)
    if number in copies:
        return [Way(f"same as {entries[copies[number]].name}", 0, 0, True, "the file has these bytes once")]
    if not entries[number].nbytes:
        return [Way("", 0, 0, True, "empty")]
    return tried(text, lambda k: reader.raw(entries[k]), copies, number, level, workers_of(options.threads))


def _hashing(reader: TensorFile, behind: Behind) -> Callable[[], bytes]:
    """Begins with the SHA-256 of a safetensors original, unless its source knows it; gives what waits for it."""
    if isinstance(reader, DecodedSource) and reader.sha256 is not None:
        known = bytes.fromhex(reader.sha256)
        return lambda: known
    raw = reader.header.raw
    digest = hashlib.sha256(len(raw).to_bytes(8, "little") + raw)

    def take(entry: Entry) -> None:
        digest.update(reader.raw(entry))
        reader.forget(entry.name)

    for entry in reader.header.by_offset():
        if isinstance(reader, DecodedSource):  # what it keeps is not for two threads
            take(entry)
        else:  # one by one: an interruption waits for no more than one
            behind.do(0, partial(take, entry))

    def finished() -> bytes:
        behind.finish()
        return digest.digest()

    return finished


def tensor_reports(archive: Archive, file: str) -> list[TensorReport]:
    """What a stored file has of each tensor: bytes of its blocks, or its share of a block that it has with others."""
    found = []
    for number, (entry, size) in enumerate(zip(archive.entries, archive.stored_bytes(), strict=True)):
        first = archive.stored_as(number)
        parameters: dict[str, Any] = {"coder": archive.coder(number)}
        if first != number:
            parameters["tensor"] = archive.entries[first].name
        elif (reference := archive.reference(number)) is not None:
            parameters["reference"] = archive.entries[reference].name
        elif archive.pooled(number):
            parameters["pooled"] = True
        found.append(
            TensorReport(
                entry.name,
                entry.array_shape,
                BY_TAG[entry.tag].name,
                STORED,
                parameters,
                entry.nbytes,
                size,
                {"coded": size},
                "",
                file,
                {"formulation": STORED, "version": 1, "parameters": parameters},
            )
        )
    return found
