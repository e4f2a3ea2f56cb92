"""From one form to another: stored to runnable, runnable to stored, or either anew. No dense file lies between them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tersely.backends.cpu.threads import workers_of
from tersely.core.choices import Objective, StorageLevel, Store
from tersely.core.errors import TerselyError
from tersely.files import folder, listing, model_folder, plan_file
from tersely.files.checks import claimed_bytes
from tersely.files.compress_file import compress_file, is_ours, open_decoded, open_original
from tersely.files.decoded_source import DecodedSource
from tersely.files.encode_tensor import Options
from tersely.files.results import FileReport, Meter, Progress, TensorReport
from tersely.files.store_file import check_level, folder_facts, store_file
from tersely.files.transcoded import NATIVE
from tersely.planner.choose import Profile

PathLike = str | os.PathLike[str]


def transcode(
    src: PathLike,
    dst: PathLike,
    *,
    store: Store | None = None,
    level: StorageLevel | None = None,
    objective: Objective | None = None,
    profile: PathLike | Profile | None = None,
    batch: int | None = None,
    plan: PathLike | Mapping[str, Any] | None = None,
    threads: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> FileReport:
    """Makes a stored file or folder runnable, a runnable one stored, or either anew; the original stays the same.

    Tensors are decoded and coded one by one: nothing dense is written, and memory stays bounded by the largest tensor.
    The original is put together from what was written, and its SHA-256 compared, before the destination gets its name.

    Args:
        src: a file or folder that `compress` or `transcode` wrote.
        dst: the file or folder to write.
        store: 'smallest' for a stored file; None for a runnable one.
        level: with `store`, as in `compress`.
        objective: 'size', 'speed' or 'balanced'. Where neither it nor a profile, batch or plan is given, what the source
            carries counts, or else 'balanced' for this machine. A stored file carries it.
        profile: the machine to plan for: 'native', which None means, 'portable', or the file of a measured one.
        batch: rows of x to plan for.
        plan: what `make_plan` returned, or the file it was written to.
        threads: workers; None for as many as products use.
        force: replace an existing destination.
        progress: called with (bytes done, bytes in all, tensor name).

    Returns:
        What became of every tensor; bytes of the original, and after.

    Raises:
        ArgumentError: for arguments that mean nothing or do not go together, and a plan for other tensors.
        FormatError: for a damaged source, naming file, tensor and byte.
        DestinationError: where the destination exists, is the source, or cannot be written.
        TerselyError: where the source does not exist or is not compressed.
    """
    workers_of(threads)
    source, destination = Path(src), Path(dst)
    if not source.exists():
        raise TerselyError(f"{source} does not exist")
    level = check_level(store, level)
    document = {} if plan is None else plan_file.read_plan(plan)
    asked = (objective, profile, batch)
    own = plan is not None or any(one is not None for one in asked)
    if own:
        _check_names(document.get("tensors", {}), source, threads)
        document = plan_file.carried(document, *asked)
    folder.check_destination(source, destination, force)
    job = _Job(store, level, document if own else None, profile, threads, force, not source.is_dir())
    if source.is_dir():
        _folder(source, destination, job, progress)
    else:
        opened = open_decoded(source, threads)
        job.run(opened, destination, lambda name: "out_in", Meter(claimed_bytes(opened), progress))
    return FileReport(
        str(src),
        str(dst),
        job.before,
        job.after,
        tuple(job.tensors),
        job.objective,
        job.profile,
        False,
        tuple(job.notes),
    )


def _check_names(tensors: Mapping[str, Any], source: Path, threads: int | None) -> None:
    """Raises ArgumentError where a plan that was given is for other tensors than those of the source."""
    if tensors:
        paths = [source / path for path in listing.listing(source).files] if source.is_dir() else [source]
        coded = [path for path in paths if path.name.endswith(".safetensors") and is_ours(path)]
        opened = (open_decoded(path, threads) for path in (coded if source.is_dir() else paths))
        plan_file.check_entries(tensors, (one.dense for one in opened))


class _Job:
    """What is done to each file, and what came of it."""

    def __init__(
        self,
        store: str | None,
        level: StorageLevel,
        document: Mapping[str, Any] | None,
        profile: PathLike | Profile | None,
        threads: int | None,
        force: bool,
        pool: bool,
    ) -> None:
        """document: the plan that was asked for, None for what each file carries. pool: as of `Options`."""
        self.store, self._level, self._document = store, level, document
        self._machine, self.threads, self.force = profile, threads, force
        self._pool = pool
        self.before = self.after = 0
        self.tensors: list[TensorReport] = []
        self.notes: list[str] = []
        self.objective = self.profile = ""
        self.carried: Mapping[str, Any] = {}

    def run(self, source: DecodedSource, destination: Path, orientation: Callable[[str], str], meter: Meter) -> None:
        document = source.plan if self._document is None else self._document
        document = plan_file.read_plan(document) if document else {}
        machine = self._machine or (None if "profile" in document else NATIVE)
        objective, target, batch = plan_file.settings_of(document, None, machine, None)
        tensors = {name: one for name, one in document.get("tensors", {}).items() if name in source.dense}
        options = Options(objective, target, (), (), self.threads, orientation, tensors, batch, pool=self._pool)
        if self.store is None:
            done = compress_file(source, destination, options, meter, self.force)
        else:
            done = store_file(source, destination, options, self._level, document, meter, self.force)
        self.objective, self.profile, self.carried = objective, target.name, document
        before, after, reports, notes = done
        self.before, self.after = self.before + before, self.after + after
        self.tensors += reports
        self.notes += notes


def _folder(source: Path, destination: Path, job: _Job, progress: Progress | None) -> None:
    """A folder: what the first compression replaced is put back, and replaced anew."""
    replaced, added = folder.read_ledger(source)
    skipped = {*replaced, *added, folder.LEDGER}
    found = listing.listing(source)
    weights = [path for path in found.files if path.name.endswith(".safetensors")]
    coded = [path for path in weights if is_ours(source / path)]
    meter = Meter(sum(claimed_bytes(open_original(source / path)) for path in coded), progress)
    with folder.atomic_folder(destination, job.force, source) as out:
        for path in found.files:
            if path not in coded and path.as_posix() not in skipped:
                listing.copy_file(source / path, out / path)
        listing.recreate(found, out)
        for name, raw in replaced.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            listing.replace_file(out / name, raw)
        tree = folder.restored(out, coded, weights)
        for path in coded:
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            job.run(open_decoded(source / path, job.threads), out / path, tree.orientation, meter)
        verbatim = folder.rewrite_indexes(tree, out) if job.store is None else {}
        facts = {"objective": job.objective, "profile": job.profile}
        if job.store is not None:
            facts = folder_facts(job.carried)
        facts = {"format": folder.format_of(out, coded), **facts}
        rewritten = model_folder.rewrite(out, out, coded, facts, tree.readers)
        folder.write_ledger(out, verbatim | rewritten.verbatim, rewritten.added, facts)
