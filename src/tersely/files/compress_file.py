"""One file to its compressed form and back, tensor by tensor, verified before it gets its name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tersely.backends.cpu.threads import workers_of
from tersely.core.bits import same_bytes
from tersely.core.dtypes import BY_NAME, BY_TAG, DType
from tersely.core.encoded import Encoded
from tersely.core.errors import TerselyError, VerificationError
from tersely.files import sizes
from tersely.files.behind import Behind
from tersely.files.checks import check_decoded, check_tensor, decoded
from tersely.files.container import alias, description
from tersely.files.container.header import Entry, fresh_header
from tersely.files.container.packing import pack_verbatim
from tersely.files.container.pieces import OriginalFiles
from tersely.files.container.reader import PLAN, Original, Reader
from tersely.files.container.stored import is_stored_file
from tersely.files.container.temporary import atomic_file
from tersely.files.container.writer import Writer, cost_bytes, dense_cost_bytes
from tersely.files.decoded_source import DecodedSource, RunnableSource
from tersely.files.encode_tensor import (
    Options,
    TensorFile,
    duplicates_of,
    encode_tensor,
    order_of,
    pieces_of,
    plain_bytes,
    pooled_names,
    pooled_sizes,
)
from tersely.files.foreign import onnx, restore
from tersely.files.results import Avoidable, TensorReport, tensor_report
from tersely.files.stored_file import StoredFile

_BLOCK_BYTES = 1 << 22
Progress = Callable[[int, str], None]


def open_original(path: Path, threads: int | None = None) -> TensorFile:
    """A file that holds plain tensors or coded ones: safetensors, stored or not, or an ONNX model."""
    if path.suffix == onnx.SUFFIX:
        return onnx.open_model(path)
    return StoredFile(path, threads=threads) if is_stored_file(path) else Reader(path)


def open_source(path: Path, threads: int | None = None) -> TensorFile:
    """A file of plain tensors to compress, or a stored one. Refuses one that is runnable already."""
    reader = open_original(path, threads)
    if reader.compressed:
        raise TerselyError(
            f"{path} is already compressed; use 'tersely inspect' to look at it, 'tersely transcode' to have it otherwise"
        )
    return checked_names(reader)


def open_decoded(path: Path, threads: int | None = None) -> DecodedSource:
    """A stored or runnable file, as its decoded tensors. Refuses one that is neither."""
    reader = open_original(path, threads)
    if isinstance(reader, Reader) and reader.compressed:
        reader = RunnableSource(reader)
    if not isinstance(reader, DecodedSource):
        raise TerselyError(f"{path} is not compressed by tersely: 'tersely compress' takes it")
    checked_names(reader)
    return reader


def is_ours(path: Path) -> bool:
    """Whether a file was compressed by tersely, stored or not."""
    return is_stored_file(path) or Reader(path).compressed


def checked_names(reader: TensorFile) -> TensorFile:
    """An open file whose tensors have names that components can be told from. Raises TerselyError."""
    for name in reader.names():
        if description.MARK in name:
            raise TerselyError(
                f"{reader.file}: the tensor name {name!r} holds {description.MARK!r}, which marks components"
            )
    return reader


def compress_file(
    source: Path | DecodedSource,
    destination: Path | None,
    options: Options,
    progress: Progress,
    force: bool = False,
) -> tuple[int, int, list[TensorReport], tuple[str, ...]]:
    """Compress one file; returns bytes before and after, tensors, notes. destination None: only plan (a dry run).

    source: a file of plain tensors, or what is decoded. force: replace what is there when the file is whole.

    progress(bytes, name) is called after each tensor, and again for each while the result is verified.
    """
    reader = source if isinstance(source, DecodedSource) else open_source(source, options.threads)
    file = Path(reader.file).name
    reports = []
    duplicates = duplicates_of(reader, options)
    notes, avoidable = () if isinstance(reader, Reader) else reader.notes, Avoidable()
    before, pooled = reader.file_bytes, pooled_names(reader, options)
    if destination is None:
        saved = 0
        together, shares = pooled_sizes(reader, options)
        for name in order_of(reader):
            encoded, reason = encode_tensor(reader, name, options, duplicates)
            report = tensor_report(reader.dense[name], encoded, reason, file)
            reports.append(replace(report, bytes_after=shares[name]) if encoded is None and name in shares else report)
            avoidable.see(encoded)
            entry = reader.dense[name]
            if encoded is not None:
                saved += dense_cost_bytes(name, entry.tag, entry.shape) - cost_bytes(name, encoded)
            elif name in pooled:
                saved += dense_cost_bytes(name, entry.tag, entry.shape)
            reader.forget(name)
            progress(reader.dense[name].nbytes, name)
        return before, plain_bytes(reader) - saved + together, reports, (*notes, *avoidable.notes())

    known = reader.sha256 if isinstance(reader, DecodedSource) else None
    sha256 = None if known else hashlib.sha256(len(reader.header.raw).to_bytes(8, "little") + reader.header.raw)
    threads = workers_of(options.threads)
    with Writer(destination, reader.paths, replace=force) as writer, Behind(threads) as behind:

        def keep(entry: Entry, encoded: Encoded | None, raw: np.ndarray) -> None:
            name = entry.name
            if sha256 is not None:
                sha256.update(raw)
            if encoded is not None and alias.is_alias(encoded.node):
                writer.add_alias(name, encoded.node.parameters[alias.TENSOR], encoded, raw)
            elif encoded is not None:
                writer.add_encoded(name, encoded, raw)
            else:
                spool = isinstance(reader, DecodedSource)
                writer.add_dense(name, entry.tag, entry.shape, raw, spool=spool, pooled=name in pooled)
            del encoded, raw
            reader.forget(name)

        for entry in reader.header.by_offset():
            encoded, reason = encode_tensor(reader, entry.name, options, duplicates)
            reports.append(tensor_report(reader.dense[entry.name], encoded, reason, file))
            avoidable.see(encoded)
            held = entry.nbytes + (0 if encoded is None else encoded.nbytes_stored)
            behind.do(held, partial(keep, entry, encoded, reader.raw(entry)))
            del encoded
            progress(entry.nbytes, entry.name)
        behind.finish()
        facts: dict[str, Any] = {"objective": options.objective, "profile": options.profile.name}
        if isinstance(reader, DecodedSource) and reader.plan:
            facts[PLAN] = pack_verbatim(json.dumps(reader.plan, separators=(",", ":")).encode())
        if (pieces := pieces_of(reader)) is not None:
            verbatim, facts_pooled = pieces.to_bytes(), {**facts, "pieces": True}
            facts["pieces"] = pieces.pack()
        else:
            verbatim = reader.header.raw
            original = {"sha256": known or (sha256.hexdigest() if sha256 else ""), "bytes": before}
            facts_pooled = {**facts, "original": original}
            facts["original"] = {"header": pack_verbatim(verbatim), **original}

        def check(temporary: Path) -> None:
            if isinstance(reader, DecodedSource):
                verify_original(temporary, progress, threads)
            else:
                verify_copy(temporary, reader, progress, threads)

        kept = (verbatim, facts_pooled) if pooled else None
        after = writer.write(reader.header.metadata, facts, check, pooled=kept, smallest=options.objective == "size")
    if pooled:
        written = Reader(destination)
        reports = [sizes.as_stored(one, written) for one in reports]
    return before, after, reports, (*notes, *avoidable.notes())


def verify_original(path: Path, progress: Progress, threads: int) -> None:
    """Decode everything that was written, and compare the SHA-256 of the original that comes of it: for sources that take
    long to be decoded once more."""
    written = Reader(path)
    written.check_original()
    original, told = written.original, set[str]()

    def tensor(name: str) -> tuple[np.ndarray, DType]:
        found = check_tensor(written, name, "checksums")
        raw = decoded(written, name, found, threads)
        if name not in told:
            told.add(name)
            progress(0, name)
        return raw, BY_NAME[found.encoded.dtype]

    def whole(name: str) -> tuple[np.ndarray, DType]:
        found = tensor(name)
        check_decoded(written, name, found[0])
        written.forget(name)
        return found

    holds = True
    if isinstance(original, OriginalFiles):
        holds = all(part.check_rebuilt(whole) for part in original.files)
    elif isinstance(original, Original):
        sha256 = hashlib.sha256(len(original.header.raw).to_bytes(8, "little") + original.header.raw)

        def take(name: str, raw: np.ndarray) -> None:
            check_decoded(written, name, raw)
            sha256.update(raw)
            written.forget(name)

        with Behind(threads) as behind:
            for entry in original.header.by_offset():
                raw = tensor(entry.name)[0]
                behind.do(raw.nbytes, partial(take, entry.name, raw))
                del raw
            behind.finish()
        holds = sha256.hexdigest() == original.sha256
    if not holds:
        raise VerificationError(
            "what was written does not give the original's SHA-256: the source is damaged, or this is an error of "
            "tersely's, which please report; nothing was kept",
            file=str(path),
        )


def verify_copy(path: Path, source: TensorFile, progress: Progress, threads: int) -> None:
    """Decode everything that was written and compare it with the source, bit for bit."""
    written = Reader(path)
    written.check_original()
    for name in written.names():
        found = check_tensor(written, name, "checksums")
        if not same_bytes(decoded(written, name, found, threads), source.raw(source.dense[name])):
            raise VerificationError(
                "what was written does not decode to the source; nothing was kept, please report this",
                file=str(path),
                tensor=name,
            )
        written.forget(name)
        source.forget(name)
        progress(0, name)


def decompress_file(
    source: Path, destination: Path, progress: Progress, force: bool = False
) -> tuple[int, int, list[str]]:
    """The original file, byte for byte; returns bytes before, bytes after, notes.

    An original of several files (`container.pieces`) goes to `destination` and beside it; force: replace what is there.

    A file that a foreign writer re-saved has lost its original header: its tensors come back bit for bit in a new one,
    and a note says so. Raises VerificationError, keeping nothing, where the result is not the original.
    """
    reader = open_original(source)
    pieces = reader.pieces() if isinstance(reader, StoredFile) else None
    if isinstance(reader, Reader):
        if not reader.compressed:
            raise TerselyError(f"{source} is not compressed by tersely")
        pieces = reader.original if isinstance(reader.original, OriginalFiles) else None
    paths = [] if pieces is None else restore.check_destinations(pieces, destination, force)
    notes: list[str] = []
    if isinstance(reader, Reader):
        for name in reader.names():  # damage is found before anything is written
            check_tensor(reader, name, "checksums")
            reader.forget(name)
        reader.check_original()

    def tensor(name: str) -> tuple[np.ndarray, DType]:
        if isinstance(reader, Reader):
            raw = decoded(reader, name)
            check_decoded(reader, name, raw)
            tag = reader.dense[name].tag if name in reader.dense else reader.descriptions[name].dtype.tag
        else:
            raw, tag = reader.raw(reader.dense[name]), reader.dense[name].tag
        reader.forget(name)
        progress(raw.nbytes, name)
        return raw, BY_TAG[tag]

    before = source.stat().st_size
    if pieces is not None:
        after, notes = restore.rebuild(reader, pieces, paths, tensor, force)
        return before, after, notes
    known: str | None = None
    original = reader.original if isinstance(reader, Reader) else reader
    if isinstance(original, Original | StoredFile):
        raw_header, known = original.header.raw, original.sha256
        order = [entry.name for entry in original.header.by_offset()]
    else:
        assert isinstance(reader, Reader)
        tensors = {name: (found.dtype.tag, found.shape) for name, found in reader.descriptions.items()}
        tensors |= {name: (entry.tag, entry.shape) for name, entry in reader.dense.items()}
        raw_header, order = fresh_header(tensors, reader.metadata)
        notes = [
            f"{source.name}: no original header is kept (saved by another program, or by save_file); tensors are bit for bit the same"
        ]
    sha256 = hashlib.sha256()

    with atomic_file(destination, (source,), replace=force) as (file, _):

        def put(data: Any) -> None:
            view = memoryview(data)
            for start in range(0, len(view), _BLOCK_BYTES):
                file.write(view[start : start + _BLOCK_BYTES])
            sha256.update(view)

        put(len(raw_header).to_bytes(8, "little") + raw_header)
        for name in order:
            put(tensor(name)[0])
        if known not in (None, sha256.hexdigest()):
            raise VerificationError(
                f"the result has SHA-256 {sha256.hexdigest()}, the original had {known}; nothing was kept",
                file=str(source),
            )
        after = file.tell()
    return before, after, notes
