"""What a source is - a file, a sharded checkpoint, a model folder - and how a folder is compressed whole.

Weights in safetensors are compressed, what is not weights is copied, duplicate weights in other formats are left out
unless asked for. Files that we must replace (the shard index, config.json) lie verbatim in `laconic.json`. A folder is
built as `NAME.partial` and renamed at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laconic import onnx
from laconic.container import description, limits, temporary
from laconic.container.header import tensor_bytes
from laconic.container.packing import pack_verbatim, unpack_verbatim
from laconic.container.reader import Reader
from laconic.container.temporary import atomic_file
from laconic.errors import CorruptError, DestinationError, LaconicError

LEDGER = "laconic.json"
INDEX_SUFFIX = ".safetensors.index.json"
DUPLICATE_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".ot")

_IN_OUT = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
"""Names of Hugging Face `Conv1D` weights, stored [in, out], in the model types below."""
_IN_OUT_MODELS = ("gpt2", "imagegpt", "decision_transformer")


@dataclass(frozen=True)
class Source:
    """What is to be compressed. root: the file's folder or the folder itself. weights: safetensors files below it.
    indexes: shard indexes. others: files to copy. skipped: duplicate weights left out. All relative to root."""

    path: Path
    root: Path
    folder: bool
    weights: tuple[Path, ...]
    indexes: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()
    skipped: tuple[Path, ...] = ()
    in_out: bool = False

    def orientation(self, name: str) -> str:
        return "in_out" if self.in_out and name.endswith(_IN_OUT) else "out_in"


def find_source(path: Path, all_files: bool) -> Source:
    """Look at what is to be compressed. Raises LaconicError with what is wrong and what would do."""
    if not path.exists():
        raise LaconicError(f"{path} does not exist")
    if path.is_dir():
        return _folder(path, all_files)
    if path.name.endswith(INDEX_SUFFIX):
        shards = tuple(sorted({Path(name) for name in _weight_map(path).values()}))
        for shard in shards:
            if shard.is_absolute() or ".." in shard.parts:
                raise CorruptError(f"the shard {str(shard)!r} lies outside the checkpoint", file=str(path))
            if not (path.parent / shard).exists():
                raise LaconicError(f"{path.parent / shard} does not exist, but {path.name} lists it")
        return Source(path, path.parent, True, shards, (Path(path.name),))
    if path.suffix not in (".safetensors", onnx.SUFFIX):
        raise LaconicError(
            f"{path} is neither a .safetensors file, a *{INDEX_SUFFIX}, an {onnx.SUFFIX} model nor a folder; "
            "convert the weights to safetensors"
        )
    return Source(path, path.parent, False, (Path(path.name),))


def _folder(path: Path, all_files: bool) -> Source:
    if (path / LEDGER).exists():
        raise LaconicError(f"{path} is already compressed (it has {LEDGER})")
    weights, indexes, others, skipped = [], [], [], []
    for folder, _, names in os.walk(path, followlinks=True):
        for name in sorted(names):
            relative = (Path(folder) / name).relative_to(path)
            if name.endswith(".safetensors"):
                weights.append(relative)
            elif name.endswith(INDEX_SUFFIX):
                indexes.append(relative)
            elif not all_files and (name.endswith(DUPLICATE_WEIGHTS) or name.endswith(".bin.index.json")):
                skipped.append(relative)
            else:
                others.append(relative)
    if not weights:
        raise LaconicError(
            f"{path} holds no .safetensors file; convert the weights to safetensors first, or give an {onnx.SUFFIX} file"
        )
    in_out = False
    with contextlib.suppress(OSError, ValueError, AttributeError):
        in_out = json.loads((path / "config.json").read_bytes()).get("model_type") in _IN_OUT_MODELS
    return Source(
        path, path, True, tuple(sorted(weights)), tuple(indexes), tuple(others), tuple(skipped), in_out=in_out
    )


def _weight_map(path: Path) -> dict[str, str]:
    try:
        weight_map = json.loads(path.read_bytes())["weight_map"]
        if not all(isinstance(text, str) for pair in weight_map.items() for text in pair):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise CorruptError("not a shard index: it needs a weight_map of names to files", file=str(path)) from None
    return dict(weight_map)


@contextlib.contextmanager
def atomic_folder(path: Path, force: bool, like: Path) -> Iterator[Path]:
    """`NAME.partial`, renamed to `path` when the block ends well, removed otherwise. Raises DestinationError.

    like: the folder that it is made from: nobody may read what he cannot read there.
    """
    try:
        with temporary.own_folder(path) as partial:
            yield partial
            temporary.make_as_private(partial, like)
            if force and path.exists():
                old = path.with_name(path.name + ".replaced")
                shutil.rmtree(old, ignore_errors=True)
                os.replace(path, old)
                os.replace(partial, path)
                if old.is_dir():
                    shutil.rmtree(old, ignore_errors=True)
                else:
                    old.unlink()
            else:
                os.replace(partial, path)
    except OSError as error:
        raise DestinationError(f"{path}: cannot be written: {error.strerror or error}") from error


def check_destination(source: Path | None, destination: Path, force: bool) -> None:
    """Refuse a destination that exists, is the source, or lies inside it. Raises DestinationError."""
    if source is not None and destination.exists() and destination.resolve() == source.resolve():
        raise DestinationError(f"{destination} is the source itself; choose another destination")
    if source is not None and source.is_dir() and source.resolve() in destination.resolve().parents:
        raise DestinationError(f"{destination} lies inside the source folder; choose another destination")
    if destination.exists() and not force:
        raise DestinationError(f"{destination} exists; choose another destination or pass --force (force=True)")
    if not destination.parent.exists():
        raise DestinationError(f"the folder {destination.parent} does not exist; make it first")


def check_document(source: Path | None, destination: Path, force: bool) -> None:
    """As `check_destination`, for a single file that is about a source: a folder cannot be replaced by it."""
    check_destination(source, destination, force)
    if destination.is_dir():
        raise DestinationError(f"{destination} is a folder; choose a file")


def write_document(destination: Path, text: str, like: Iterable[Path] = (), force: bool = True) -> None:
    """A file of text, whole or not at all; like: the files that it tells of. Raises DestinationError."""
    with atomic_file(destination, like, replace=force) as (file, _):
        file.write(text.encode())


def copy_file(source: Path, destination: Path) -> None:
    """Copy contents and times; symbolic links are followed."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, destination)


def rewrite_indexes(source: Source, out: Path) -> dict[str, str]:
    """Write shard indexes that name what the compressed shards hold; returns the originals for the ledger."""
    verbatim = {}
    for index in source.indexes:
        raw = (source.root / index).read_bytes()
        verbatim[index.as_posix()] = pack_verbatim(raw)
        document: dict[str, Any] = json.loads(raw)
        weight_map, total = {}, 0
        for shard in sorted(set(_weight_map(source.root / index).values())):
            header = Reader(out / index.parent / shard).header
            weight_map.update(dict.fromkeys(header.entries, shard))
            total += sum(entry.nbytes for entry in header.entries.values())
        document["weight_map"] = dict(sorted(weight_map.items()))
        if isinstance(document.get("metadata"), dict) and "total_size" in document["metadata"]:
            document["metadata"]["total_size"] = total
        (out / index).write_text(json.dumps(document, indent=2) + "\n")
    return verbatim


def plain_indexes(folder: Path) -> dict[str, bytes]:
    """Shard indexes of a compressed folder as those of its decompressed shards, by relative name."""
    plain = {}
    for index in sorted(folder.rglob(f"*{INDEX_SUFFIX}")):
        weight_map, total = {}, 0
        for shard in sorted(set(_weight_map(index).values())):
            reader = Reader(index.parent / shard)
            weight_map.update(dict.fromkeys(reader.names(), shard))
            total += sum(tensor_bytes(found.dtype.tag, found.shape) for found in reader.descriptions.values())
            total += sum(entry.nbytes for entry in reader.dense.values())
        document = json.loads(index.read_bytes())
        document |= {"metadata": {**document.get("metadata", {}), "total_size": total}, "weight_map": weight_map}
        text = json.dumps(document, indent=2, sort_keys=True) + "\n"
        plain[index.relative_to(folder).as_posix()] = text.encode()
    return plain


def write_ledger(out: Path, verbatim: dict[str, str], added: Sequence[str], facts: dict[str, Any]) -> None:
    """`laconic.json`: the format version, what was asked for, every replaced file verbatim, and what was added."""
    ledger = {"format": description.FIRST, **facts, "files": verbatim, "added": list(added)}
    (out / LEDGER).write_text(json.dumps(ledger, indent=1) + "\n")


def read_ledger(folder: Path) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Replaced files of a compressed folder by relative name, and names of files that the original did not have.

    Raises CorruptError, LaconicError.
    """
    path = folder / LEDGER
    if not path.exists():
        raise LaconicError(f"{folder} is not compressed by laconic: it has no {LEDGER}")
    try:
        ledger = json.loads(path.read_bytes())
        if str(ledger["format"]).split(".")[0] != description.VERSION.split(".")[0]:
            raise LaconicError(f"{path} has format {ledger['format']}; use a newer laconic")
        files = {name: unpack_verbatim(text, limits.VERBATIM_BYTES) for name, text in ledger["files"].items()}
        added = tuple(str(name) for name in ledger.get("added", ()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptError(f"the ledger is damaged: {error}", file=str(path)) from None
    for name in files:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise CorruptError(f"the ledger names {name!r}, outside the folder", file=str(path))
    return files, added
