"""The operations on files and folders: compress, decompress, verify, inspect. Joins planner, formulations, container."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from laconic import checkpoint, compression, model_folder, planning
from laconic import plan as planner
from laconic.container.reader import Reader
from laconic.dtypes import BY_TAG
from laconic.errors import ArgumentError, LaconicError
from laconic.files import check_tensor
from laconic.formulations import registry
from laconic.reports import FileReport, Progress, TensorReport, VerifyReport

PathLike = str | os.PathLike[str]


class _Meter:
    """Adds up bytes over all files of a job and passes them on."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total, self._done, self._progress = total, 0, progress

    def __call__(self, advance: int, name: str) -> None:
        self._done += advance
        if self._progress is not None:
            self._progress(min(self._done, self._total), self._total, name)


def _patterns(value: str | Sequence[str] | None) -> tuple[str, ...]:
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def default_destination(source: Path) -> Path:
    """Where `compress` writes when nobody says: NAME.laconic.safetensors, or FOLDER-laconic."""
    if source.is_dir():
        return source.with_name(source.resolve().name + "-laconic")
    if source.name.endswith(checkpoint.INDEX_SUFFIX):
        return source.parent.with_name(source.parent.resolve().name + "-laconic")
    return source.with_name(source.name.removesuffix(".safetensors") + ".laconic.safetensors")


def compress(
    src: PathLike,
    dst: PathLike | None = None,
    *,
    objective: str = "balanced",
    profile: str = "portable",
    plan: PathLike | Mapping[str, Any] | None = None,
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    threads: int | None = None,
    dry_run: bool = False,
    force: bool = False,
    all_files: bool = False,
    progress: Progress | None = None,
) -> FileReport:
    """Compress a .safetensors file, a sharded checkpoint (*.safetensors.index.json) or a model folder, losslessly.

    Args:
        dst: None for `default_destination`. objective: 'size', 'speed' or 'balanced'. profile: see `laconic.plan`.
        plan: what `laconic.planning.make_plan` returned, or the file it was written to; tensors that it does not name
            are planned as usual.
        include, exclude: glob patterns of tensor names. threads: workers. dry_run: plan and report, write nothing.
        force: replace an existing destination. all_files: also copy duplicate weights (.bin, .pt ...) of a folder.
        progress: called with (bytes done, bytes in all, tensor name).

    Every tensor is decoded from what was written and compared before the destination gets its name; the source is only
    read. Memory stays bounded by the largest tensor. Raises LaconicError with the place and the remedy.
    """
    if objective not in planner.OBJECTIVES:
        raise ArgumentError(f"unknown objective {objective!r}: use one of {', '.join(planner.OBJECTIVES)}")
    if threads is not None and threads < 1:
        raise ArgumentError(f"threads must be at least 1, not {threads}")
    profile = planner.resolve_profile(profile)
    source = checkpoint.find_source(Path(src), all_files)
    destination = Path(dst) if dst is not None else default_destination(Path(src))
    if not dry_run:
        checkpoint.check_destination(source.root if source.folder else source.path, destination, force)
    tensors = {} if plan is None else planning.read_plan(plan)
    planning.check_names(tensors, source)
    options = compression.Options(
        objective, profile, _patterns(include), _patterns(exclude), threads, source.orientation, tensors
    )
    meter = _Meter(sum((source.root / shard).stat().st_size for shard in source.weights), progress)
    reports: list[TensorReport] = []
    before = after = 0

    def run(shard: Path, to: Path | None) -> None:
        nonlocal before, after
        one_before, one_after, tensors = compression.compress_file(source.root / shard, to, options, meter)
        before, after = before + one_before, after + one_after
        reports.extend(tensors)

    if dry_run or not source.folder:
        for shard in source.weights:
            run(shard, None if dry_run else destination)
    else:
        with checkpoint.atomic_folder(destination, force) as out:
            for shard in source.weights:
                (out / shard).parent.mkdir(parents=True, exist_ok=True)
                run(shard, out / shard)
            for other in source.others:
                checkpoint.copy_file(source.root / other, out / other)
            verbatim = checkpoint.rewrite_indexes(source, out)
            facts = {"objective": objective, "profile": profile}
            rewritten = model_folder.rewrite(source.root, out, source.weights, facts)
            checkpoint.write_ledger(out, verbatim | rewritten.verbatim, rewritten.added, facts)
    notes = tuple(f"left out duplicate weights {name} (--all-files copies them)" for name in source.skipped)
    return FileReport(
        str(src),
        None if dry_run else str(destination),
        before,
        after,
        tuple(reports),
        objective,
        profile,
        dry_run,
        notes,
    )


def decompress(src: PathLike, dst: PathLike, *, force: bool = False, progress: Progress | None = None) -> FileReport:
    """The byte-identical originals of a compressed file or folder; SHA-256 is compared before they get their names.

    Raises VerificationError, keeping nothing, where the result is not the original; other LaconicErrors as `compress`.
    """
    source, destination = Path(src), Path(dst)
    if not source.exists():
        raise LaconicError(f"{source} does not exist")
    checkpoint.check_destination(source, destination, force)
    before = after = 0
    notes: list[str] = []

    def run(path: Path, to: Path, meter: _Meter) -> None:
        nonlocal before, after
        one_before, one_after, one_notes = compression.decompress_file(path, to, meter)
        before, after = before + one_before, after + one_after
        notes.extend(one_notes)

    if not source.is_dir():
        run(source, destination, _Meter(_decoded_bytes(source), progress))
        return FileReport(str(src), str(dst), before, after, (), notes=tuple(notes))
    recovered = None if (source / checkpoint.LEDGER).exists() else model_folder.recover(source)
    if recovered is None:
        replaced, added = checkpoint.read_ledger(source)
    else:
        replaced, added = {**recovered, **checkpoint.plain_indexes(source)}, ()
        notes.append(
            f"{source} has no {checkpoint.LEDGER} (written by save_pretrained?): weights come back bit for bit, "
            "config.json without our entry, shard indexes anew"
        )
    skipped = {*replaced, *added, checkpoint.LEDGER}
    with checkpoint.atomic_folder(destination, force) as out:
        paths = [
            Path(folder, name).relative_to(source)
            for folder, _, names in os.walk(source, followlinks=True)
            for name in sorted(names)
        ]
        coded = [path for path in paths if path.name.endswith(".safetensors") and Reader(source / path).compressed]
        meter = _Meter(sum(_decoded_bytes(source / path) for path in coded), progress)
        for path in paths:
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            if path in coded:
                run(source / path, out / path, meter)
            elif path.as_posix() not in skipped:
                checkpoint.copy_file(source / path, out / path)
        for name, raw in replaced.items():
            (out / name).write_bytes(raw)
    return FileReport(str(src), str(dst), before, after, (), notes=tuple(notes))


def _decoded_bytes(path: Path) -> int:
    reader = Reader(path)
    coded = sum(
        int(np.prod(found.shape, dtype=object)) * found.dtype.bits // 8 for found in reader.descriptions.values()
    )
    return coded + sum(entry.nbytes for entry in reader.dense.values())


def _files_of(path: Path) -> list[Path]:
    if not path.exists():
        raise LaconicError(f"{path} does not exist")
    if not path.is_dir():
        return [path]
    files = sorted(Path(folder, name) for folder, _, names in os.walk(path, followlinks=True) for name in names)
    found = [file for file in files if file.name.endswith(".safetensors")]
    if not found:
        raise LaconicError(f"{path} holds no .safetensors file")
    return found


def verify(path: PathLike, against: PathLike | None = None, progress: Progress | None = None) -> VerifyReport:
    """Check structure, checksums and full decode of a file or folder; with `against`, every bit of the original too.

    Damage raises CorruptError or VerificationError. A difference from `against` is reported, not raised.
    """
    root = Path(path)
    files = _files_of(root)
    meter = _Meter(sum(_decoded_bytes(file) for file in files), progress)
    count = 0
    for file in files:
        reader = Reader(file)
        other = None
        if against is not None:
            other = Reader(Path(against) / file.relative_to(root) if root.is_dir() else against)
            difference = _first_name_difference(reader, other)
            if difference is not None:
                return VerifyReport(
                    str(path), str(against), count, difference, f"{difference!r}: name, dtype or shape differs"
                )
        reader.check_original()
        for name in reader.names():
            check_tensor(reader, name, "full")
            encoded = reader.encoded(name)
            if other is not None:
                ours = planner.raw_bytes(registry.decode(encoded))
                theirs = planner.raw_bytes(registry.decode(other.encoded(name)))
                if not np.array_equal(ours, theirs):
                    byte = int(np.flatnonzero(ours != theirs)[0])
                    return VerifyReport(
                        str(path), str(against), count, name, f"{name!r} differs from byte {byte} of its data on"
                    )
                other.forget(name)
            count += 1
            reader.forget(name)
            meter(int(np.prod(encoded.shape, dtype=object)) * BY_TAG[_tag(reader, name)].bits // 8, name)
    message = "every tensor decodes to its stored checksum"
    if against is not None:
        message += " and equals the original bit for bit"
    return VerifyReport(str(path), None if against is None else str(against), count, None, message)


def _tag(reader: Reader, name: str) -> str:
    return reader.dense[name].tag if name in reader.dense else reader.descriptions[name].dtype.tag


def _shape(reader: Reader, name: str) -> tuple[int, ...]:
    return reader.dense[name].shape if name in reader.dense else reader.descriptions[name].shape


def _first_name_difference(ours: Reader, theirs: Reader) -> str | None:
    a = {name: (_tag(ours, name), _shape(ours, name)) for name in ours.names()}
    b = {name: (_tag(theirs, name), _shape(theirs, name)) for name in theirs.names()}
    return next((name for name in sorted({*a, *b}) if a.get(name) != b.get(name)), None)


def inspect(path: PathLike) -> FileReport:
    """Per tensor: shape, dtype, formulation, parameters, bytes per component; totals. Reads no payload."""
    root = Path(path)
    reports: list[TensorReport] = []
    before = after = 0
    profiles, objectives = set(), set()
    for file in _files_of(root):
        reader = Reader(file)
        for name in reader.names():
            check_tensor(reader, name, "structure")
            encoded = reader.encoded(name)
            bits = BY_TAG[_tag(reader, name)].bits
            plain = -(-int(np.prod(encoded.shape, dtype=object)) * bits // 8)
            coded = name in reader.descriptions
            components = {part: data.nbytes for part, data in encoded.components.items()} if coded else {}
            if coded:
                components = {"info": _info_bytes(reader, name), **components}
            reports.append(
                TensorReport(
                    name,
                    encoded.shape,
                    encoded.dtype,
                    encoded.node.formulation,
                    dict(encoded.node.parameters),
                    plain,
                    sum(components.values()) if coded else plain,
                    components,
                    "" if coded else "kept as it is",
                    file.name,
                )
            )
        original = reader.original
        after += file.stat().st_size
        before += original.file_bytes if original else reader.header.data_start + _decoded_bytes(file)
        profiles.add(str(reader.facts.get("profile", "")))
        objectives.add(str(reader.facts.get("objective", "")))
    return FileReport(
        str(path), None, before, after, tuple(reports), ", ".join(objectives - {""}), ", ".join(profiles - {""})
    )


def _info_bytes(reader: Reader, name: str) -> int:
    return next(entry.nbytes for entry in reader.entries_of(name) if entry.name.endswith(".info"))
