"""The operations on files and folders: compress, decompress, verify. Joins planner, formulations, container."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tersely.backends.cpu.threads import workers_of
from tersely.core.bits import same_bytes
from tersely.core.choices import Objective, StorageLevel, Store
from tersely.core.errors import ArgumentError, TerselyError
from tersely.files import compress_file, folder, listing, model_folder, plan_file, store_file
from tersely.files.checks import check_decoded, check_tensor, claimed_bytes, decoded
from tersely.files.container.pieces import OriginalFiles
from tersely.files.container.reader import Reader
from tersely.files.container.stored import is_stored_file
from tersely.files.encode_tensor import Options, TensorFile
from tersely.files.foreign import onnx
from tersely.files.foreign.source import SlicedSource
from tersely.files.inspect_file import tag_of, weight_paths
from tersely.files.results import FileReport, Meter, Progress, TensorReport, VerifyReport
from tersely.files.stored_file import StoredFile
from tersely.planner import choose

PathLike = str | os.PathLike[str]


def default_destination(source: Path) -> Path:
    """Where `compress` writes when nobody says: NAME.tersely.safetensors, or FOLDER-tersely."""
    if source.is_dir():
        return source.with_name(source.resolve().name + "-tersely")
    if source.name.endswith(folder.INDEX_SUFFIX):
        return source.parent.with_name(source.parent.resolve().name + "-tersely")
    name = source.name.removesuffix(".safetensors").removesuffix(onnx.SUFFIX)
    return source.with_name(name + ".tersely.safetensors")


def compress(
    src: PathLike,
    dst: PathLike | None = None,
    *,
    objective: Objective | None = None,
    profile: PathLike | choose.Profile | None = None,
    batch: int | None = None,
    target_bits: float | None = None,
    plan: PathLike | Mapping[str, Any] | None = None,
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    threads: int | None = None,
    dry_run: bool = False,
    force: bool = False,
    all_files: bool = False,
    store: Store | None = None,
    level: StorageLevel | None = None,
    progress: Progress | None = None,
) -> FileReport:
    """Compresses a .safetensors file, .onnx model, sharded checkpoint (*.safetensors.index.json) or model folder.

    Every tensor is decoded from what was written and compared before the destination gets its name; the source is only
    read. Lossless: `decompress` gives the source back. Memory stays bounded by the largest tensor.

    Args:
        src: the file or folder.
        dst: where to write; None for NAME.tersely.safetensors, or FOLDER-tersely, beside the source.
        objective: 'size', 'speed' or 'balanced', which None means.
        profile: the machine to plan for: 'portable', which None means, 'native', or the file of a measured one.
        batch: rows of x to plan for; None for 1.
        target_bits: bits per weight to keep to instead of an objective, as in `make_plan`.
        plan: what `make_plan` returned, or the file it was written to; tensors that it does not name are planned as
            usual, by the objective, profile and batch that the plan was made for.
        include: glob patterns of the names of tensors to compress; None for all. One that matches none is noted.
        exclude: glob patterns of names to leave dense, which go before `include`.
        threads: workers; None for as many as products use.
        dry_run: plan and report, write nothing.
        force: replace an existing destination.
        all_files: also copy duplicate weights (.bin, .pt ...) of a folder.
        store: 'smallest' writes the smallest file, which is transcoded when it is loaded, instead of a runnable one; it
            carries what is said of objective, profile, batch and plan, or nothing, and is then planned for where it is
            loaded.
        level: with `store`: 'fast', which None means, or 'max', which is smaller and takes long to code and to decode.
        progress: called with (bytes done, bytes in all, tensor name).

    Returns:
        What became of every tensor, and bytes before and after.

    Raises:
        ArgumentError: for arguments that mean nothing or do not go together.
        FormatError: for a damaged or unknown source, naming file, tensor and byte.
        DestinationError: where the destination exists, is the source, or cannot be written.
        TerselyError: where the source does not exist or `target_bits` cannot be reached.
    """
    workers_of(threads)
    if plan is not None and target_bits is not None:
        raise ArgumentError("a plan says what every tensor becomes: give `plan` or `target_bits`, not both")
    if objective is not None and target_bits is not None:
        raise ArgumentError(plan_file.BITS_OR_OBJECTIVE)
    document = {} if plan is None else plan_file.read_plan(plan)
    level = store_file.check_level(store, level)
    if store is not None and (dry_run or include is not None or exclude is not None):
        raise ArgumentError(
            "a stored file has every tensor, and is measured by writing it: leave `dry_run`, `include` and `exclude` out"
        )
    asked = (objective, profile, batch)
    own = plan is not None or target_bits is not None or any(one is not None for one in asked)
    objective, target, batch = plan_file.settings_of(document, objective, profile, batch)
    included, excluded = plan_file.patterns(include), plan_file.patterns(exclude)
    source = folder.find_source(Path(src), all_files)
    destination = Path(dst) if dst is not None else default_destination(Path(src))
    if not dry_run:
        folder.check_destination(source.root if source.folder else source.path, destination, force)
    if target_bits is not None:
        document = plan_file.make_plan(
            src,
            profile=target,
            batch=batch,
            target_bits=target_bits,
            include=included,
            exclude=excluded,
            threads=threads,
        )
    for shard in source.weights:
        if is_stored_file(source.root / shard):
            raise TerselyError(f"{source.root / shard} is stored already: 'tersely transcode' takes it")
    for shard in source.weights if source.folder else ():
        compress_file.open_source(source.root / shard)  # a damaged file is found before the work
    tensors = document.get("tensors", {})
    plan_file.check_source(tensors, source)
    carried = plan_file.carried(document, *asked) if own else {}
    orientation = source.orientation
    pool = not source.folder and "target_bits" not in document  # loaders of folders look for tensors by name
    options = Options(objective, target, included, excluded, threads, orientation, tensors, batch, pool=pool)
    meter = Meter(sum((source.root / shard).stat().st_size for shard in source.weights), progress)
    reports: list[TensorReport] = []
    notes = [*plan_file.unmatched(source, included, excluded), *source.notes()]
    before = after = 0

    def run(shard: Path, to: Path | None) -> None:
        nonlocal before, after
        if store is not None and to is not None:
            done = store_file.store_file(source.root / shard, to, options, level, carried, meter, force)
        else:
            done = compress_file.compress_file(source.root / shard, to, options, meter, force)
        one_before, one_after, tensors, one_notes = done
        before, after = before + one_before, after + one_after
        reports.extend(tensors)
        notes.extend(one_notes)

    if dry_run or not source.folder:
        for shard in source.weights:
            run(shard, None if dry_run else destination)
    else:
        with folder.atomic_folder(destination, force, source.root) as out:
            for shard in source.weights:
                (out / shard).parent.mkdir(parents=True, exist_ok=True)
                run(shard, out / shard)
            for other in source.others:
                listing.copy_file(source.root / other, out / other)
            listing.recreate(source.listing, out)
            facts = {"objective": objective, "profile": target.name}
            verbatim = {}
            if store is None:
                verbatim = folder.rewrite_indexes(source, out)
            else:  # what they say of names and files holds for stored files too
                facts = store_file.folder_facts(carried)
                for index in source.indexes:
                    listing.copy_file(source.root / index, out / index)
            facts = {"format": folder.format_of(out, source.weights), **facts}
            rewritten = model_folder.rewrite(source.root, out, source.weights, facts, source.readers)
            folder.write_ledger(out, verbatim | rewritten.verbatim, rewritten.added, facts)
    if after >= before:
        notes.append(f"nothing is gained: {after - before} bytes more than the source has; keep the source as it is")
    return FileReport(
        str(src),
        None if dry_run else str(destination),
        before,
        after,
        tuple(reports),
        objective,
        target.name,
        dry_run,
        tuple(notes),
    )


def decompress(src: PathLike, dst: PathLike, *, force: bool = False, progress: Progress | None = None) -> FileReport:
    """Writes the byte-identical originals of a compressed file or folder.

    SHA-256 is compared before they get their names. Data that an ONNX model keeps in other files goes beside `dst`,
    under the names that the model has for it.

    Args:
        src: the compressed file or folder.
        dst: the file or folder to write.
        force: replace an existing destination.
        progress: called with (bytes done, bytes in all, tensor name).

    Returns:
        Bytes before and after, and notes.

    Raises:
        VerificationError: keeping nothing, where the result is not the original.
        FormatError: for a damaged source, naming file, tensor, component and byte.
        DestinationError: where the destination exists or cannot be written.
        TerselyError: where the source does not exist or is not compressed.
    """
    source, destination = Path(src), Path(dst)
    if not source.exists():
        raise TerselyError(f"{source} does not exist")
    folder.check_destination(source, destination, force)
    before = after = 0
    notes: list[str] = []

    def run(path: Path, to: Path, meter: Meter) -> None:
        nonlocal before, after
        one_before, one_after, one_notes = compress_file.decompress_file(path, to, meter, force)
        before, after = before + one_before, after + one_after
        notes.extend(one_notes)

    if not source.is_dir():
        run(source, destination, Meter(_decoded_bytes(source), progress))
        return FileReport(str(src), str(dst), before, after, (), notes=tuple(notes))
    recovered = None if (source / folder.LEDGER).exists() else model_folder.recover(source)
    if recovered is None:
        replaced, added = folder.read_ledger(source)
    else:
        replaced, added = {**recovered, **folder.plain_indexes(source)}, ()
        notes.append(
            f"{source} has no {folder.LEDGER} (written by save_pretrained?): weights come back bit for bit, "
            "config.json without our entry, shard indexes anew"
        )
    skipped = {*replaced, *added, folder.LEDGER}
    with folder.atomic_folder(destination, force, source) as out:
        found = listing.listing(source)
        paths = found.files
        coded = [path for path in paths if path.name.endswith(".safetensors") and compress_file.is_ours(source / path)]
        meter = Meter(sum(_decoded_bytes(source / path) for path in coded), progress)
        for path in paths:
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            if path in coded:
                run(source / path, out / path, meter)
            elif path.as_posix() not in skipped:
                listing.copy_file(source / path, out / path)
        listing.recreate(found, out)
        for name, raw in replaced.items():
            listing.replace_file(out / name, raw)
    return FileReport(str(src), str(dst), before, after, (), notes=tuple(notes))


def _decoded_bytes(path: Path) -> int:
    return claimed_bytes(compress_file.open_original(path))


def verify(path: PathLike, against: PathLike | None = None, progress: Progress | None = None) -> VerifyReport:
    """Checks structure, checksums and full decode of a file or folder; with `against`, every bit of the original too.

    A difference from `against` is reported, not raised, and so are tensors that have no checksum: those of files that
    tersely did not write, and dense ones of files that were saved again.

    Args:
        path: the file or folder.
        against: the original to compare with; None for none.
        progress: called with (bytes done, bytes in all, tensor name).

    Returns:
        The first difference, if there is one, and how many tensors were checked.

    Raises:
        CorruptError: for damage, naming file, tensor, component and byte.
        UnsupportedError: for a file that needs another release of tersely.
        VerificationError: for a tensor that does not decode to its checksum.
        TerselyError: where the file does not exist.
    """
    root = Path(path)
    files = weight_paths(root)
    meter = Meter(sum(_decoded_bytes(file) for file in files), progress)
    count = unchecked = 0
    foreign: list[Path] = []

    def report(first_difference: str | None, message: str) -> VerifyReport:
        other = None if against is None else str(against)
        return VerifyReport(str(path), other, count, first_difference, message, unchecked)

    for file in files:
        reader = compress_file.open_original(file)
        if isinstance(reader, Reader) and not reader.compressed:
            foreign.append(file)
        other = None
        if against is not None:
            other = compress_file.open_original(
                Path(against) / file.relative_to(root) if root.is_dir() else Path(against)
            )
            difference = _first_name_difference(reader, other)
            if difference is not None:
                return report(difference, f"{difference!r}: name, dtype or shape differs")
        if isinstance(reader, Reader):
            reader.check_original()
        elif isinstance(reader, StoredFile):
            reader.check()
        for name in reader.names():
            if isinstance(reader, Reader):
                found = check_tensor(reader, name, "checksums")
                ours = decoded(reader, name, found)
                check_decoded(reader, name, ours)
            else:
                ours = reader.raw(reader.dense[name])
            if other is not None:
                theirs = decoded(other, name)
                if not same_bytes(ours, theirs):
                    byte = int(np.flatnonzero(ours != theirs)[0])
                    return report(name, f"byte {byte} of tensor {name!r} is the first that differs")
                other.forget(name)
            count += 1
            unchecked += isinstance(reader, Reader) and not reader.has_sum(name)
            reader.forget(name)
            meter(ours.nbytes, name)
        pieces = reader.original if isinstance(reader, Reader) else reader.pieces()
        if isinstance(other, SlicedSource) and isinstance(pieces, OriginalFiles):
            different = other.differs_from(pieces)
            if different:
                return report(different, f"every tensor is the same, but other bytes of {different} differ")
    return report(None, _verified(count, unchecked, foreign, root, against))


def _verified(count: int, unchecked: int, foreign: Sequence[Path], root: Path, against: PathLike | None) -> str:
    """What `verify` found where nothing differs."""
    if not unchecked:
        found = "every tensor decodes to its stored checksum"
        return found if against is None else found + " and equals the original bit for bit"
    whose = "another program saved them again"
    if foreign and not root.is_dir():
        whose = "the file is not compressed by tersely"
    elif foreign:
        whose = f"{len(foreign)} of the files, {foreign[0].relative_to(root)} first, not compressed by tersely"
    some = f"{unchecked} of {count} tensors" if unchecked < count else "all" if count > 1 else "the tensor"
    rest = f"{count - unchecked} of {count} decode to their stored checksums; " if unchecked < count else ""
    if against is not None:
        return f"every tensor equals the original bit for bit; {rest}no checksum: {some} ({whose})"
    return f"{rest}no checksum, so damage cannot be seen: {some} ({whose}); `against=ORIGINAL` compares"


def _shape(reader: TensorFile, name: str) -> tuple[int, ...]:
    return reader.dense[name].shape if name in reader.dense else reader.descriptions[name].shape


def _first_name_difference(ours: TensorFile, theirs: TensorFile) -> str | None:
    a = {name: (tag_of(ours, name), _shape(ours, name)) for name in ours.names()}
    b = {name: (tag_of(theirs, name), _shape(theirs, name)) for name in theirs.names()}
    return next((name for name in sorted({*a, *b}) if a.get(name) != b.get(name)), None)
