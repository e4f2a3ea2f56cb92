"""What a source is - a file, a sharded checkpoint, a model folder - and how a folder is compressed whole.

Weights in safetensors are compressed, everything else is copied; only files of PyTorch that hold the same tensors and
nothing else are left out, unless asked for. Files that we must replace (the shard index, config.json) lie verbatim in
`tersely.json`. A folder is built as `NAME.partial` and renamed at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tersely.core.errors import CorruptError, DestinationError, TerselyError
from tersely.files import foreign_readers, pytorch_duplicates
from tersely.files import listing as folders
from tersely.files.container import description, limits, temporary
from tersely.files.container.header import tensor_bytes
from tersely.files.container.packing import pack_verbatim, unpack_verbatim
from tersely.files.container.reader import Reader
from tersely.files.container.stored import is_stored_file
from tersely.files.container.temporary import atomic_file
from tersely.files.foreign import onnx
from tersely.files.foreign_readers import Readers
from tersely.files.listing import Listing
from tersely.files.stored_file import names_in

LEDGER = "tersely.json"
INDEX_SUFFIX = ".safetensors.index.json"
_INDEX = re.compile(r"\.safetensors\.index(\.[^.]+)?\.json$")

_IN_OUT = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
"""Names of Hugging Face `Conv1D` weights, stored [in, out], in the model types below."""
_IN_OUT_MODELS = ("gpt2", "imagegpt", "decision_transformer")


@dataclass(frozen=True)
class InputTree:
    """What is to be compressed. root: the file's folder or the folder itself. weights: safetensors files below it.
    indexes: shard indexes. others: files to copy. skipped: duplicate weights left out. All relative to root.
    listing: links and empty folders. readers: what other libraries read."""

    path: Path
    root: Path
    folder: bool
    weights: tuple[Path, ...]
    indexes: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()
    skipped: tuple[Path, ...] = ()
    in_out: bool = False
    listing: Listing = field(default_factory=lambda: Listing((), {}, ()))
    readers: Readers = field(default_factory=lambda: Readers({}, ()))

    def orientation(self, name: str) -> str:
        return "in_out" if self.in_out and name.endswith(_IN_OUT) else "out_in"

    def notes(self) -> list[str]:
        """What a user should know of files that are not simply compressed or copied."""
        notes = [
            f"left out {name}: it holds the tensors of the safetensors files beside it and nothing else "
            "(`all_files=True` copies it)"
            for name in self.skipped
        ]
        notes += [f"{name} stays as it is: {self.readers.library[name]} reads it" for name in self.readers.kept]
        notes += [
            f"{name}: {library} reads it, which does not know tersely: run 'tersely decompress' before use"
            for name, library in self.readers.marked().items()
        ]
        return notes


def find_source(path: Path, all_files: bool) -> InputTree:
    """Look at what is to be compressed. Raises TerselyError with what is wrong and what would do."""
    if not path.exists():
        raise TerselyError(f"{path} does not exist")
    if path.is_dir():
        return _folder(path, all_files)
    if _is_index(path):
        return InputTree(path, path.parent, True, _shards(path.parent, Path(path.name)), (Path(path.name),))
    if path.suffix not in (".safetensors", onnx.SUFFIX) and not _begins_as_safetensors(path):
        raise TerselyError(
            f"{path} is neither a .safetensors file, a *{INDEX_SUFFIX}, an {onnx.SUFFIX} model nor a folder; "
            "convert the weights to safetensors"
        )
    return InputTree(path, path.parent, False, (Path(path.name),))


def _begins_as_safetensors(path: Path) -> bool:
    """Whether a file of any name begins with a length that it has, and an object of JSON."""
    try:
        with open(path, "rb") as file:
            length, first = int.from_bytes(file.read(8), "little"), file.read(1)
            return first == b"{" and length <= min(limits.HEADER_BYTES, os.fstat(file.fileno()).st_size - 8)
    except OSError:
        return False


def _folder(path: Path, all_files: bool) -> InputTree:
    if (path / LEDGER).exists():
        raise TerselyError(f"{path} is already compressed (it has {LEDGER})")
    found = folders.listing(path)
    weights = [name for name in found.files if name.name.endswith(".safetensors")]
    indexes = [name for name in found.files if _is_index(name)]
    if not weights and not indexes:
        raise TerselyError(
            f"{path} holds no .safetensors file; convert the weights to safetensors first, or give an {onnx.SUFFIX} file"
        )
    shards = {shard for index in indexes for shard in _shards(path, index)}
    readers = foreign_readers.readers_of(path, weights, shards)
    others = [name for name in found.files if name not in {*weights, *indexes}]
    skipped = [] if all_files else pytorch_duplicates.find(path, others, weights)
    if found.targets() & set(skipped):
        skipped = []  # links lead to them
    others = [name for name in others if name not in skipped]
    return InputTree(
        path,
        path,
        True,
        tuple(name for name in weights if name not in readers.kept),
        tuple(indexes),
        (*others, *readers.kept),
        tuple(skipped),
        is_in_out(path),
        found,
        readers,
    )


def is_in_out(path: Path) -> bool:
    """Whether a folder's model has weights stored [in, out], by its config.json."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return json.loads((path / "config.json").read_bytes()).get("model_type") in _IN_OUT_MODELS
    return False


def restored(path: Path, weights: Sequence[Path], all_weights: Sequence[Path]) -> InputTree:
    """A folder in which all is the original's but the weights, which are still to come. weights: those to be written,
    all_weights: all there are, relative."""
    indexes = tuple(name for name in folders.listing(path).files if _is_index(name))
    named = {index.parent / shard for index in indexes for shard in _weight_map(path / index).values()}
    readers = foreign_readers.readers_of(path, all_weights, named)
    return InputTree(path, path, True, tuple(weights), indexes, in_out=is_in_out(path), readers=readers)


def _is_index(path: Path) -> bool:
    """A shard index, that of a variant (model.safetensors.index.fp16.json) included."""
    return _INDEX.search(path.name) is not None


def _shards(root: Path, index: Path) -> tuple[Path, ...]:
    """The files that an index names, relative to root as the index is. Raises TerselyError where one is not there."""
    path = root / index
    shards = tuple(sorted({Path(name) for name in _weight_map(path).values()}))
    for shard in shards:
        if shard.is_absolute() or ".." in shard.parts:
            raise CorruptError(f"the shard {str(shard)!r} lies outside the checkpoint", file=str(path))
        if not shard.name.endswith(".safetensors"):
            raise CorruptError(f"the shard {str(shard)!r} is no .safetensors file", file=str(path))
        if not (path.parent / shard).exists():
            raise TerselyError(
                f"{path.parent / shard} does not exist, but {index.name} lists it: finish the download, or remove the "
                "index if it is a leftover"
            )
    return tuple(index.parent / shard for shard in shards)


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
        raise DestinationError(f"{destination} exists; choose another destination or pass `force=True`")
    if not destination.parent.exists():
        raise DestinationError(f"the folder {destination.parent} does not exist; make it first")


def check_document(source: Path | None, destination: Path, force: bool) -> None:
    """Check, as `check_destination` does, where a single file about a source is to go: it cannot replace a folder."""
    check_destination(source, destination, force)
    if destination.is_dir():
        raise DestinationError(f"{destination} is a folder; choose a file")


def write_document(destination: Path, text: str, like: Iterable[Path] = (), force: bool = True) -> None:
    """A file of text, whole or not at all; like: the files that it tells of. Raises DestinationError."""
    with atomic_file(destination, like, replace=force) as (file, _):
        file.write(text.encode())


def rewrite_indexes(source: InputTree, out: Path) -> dict[str, str]:
    """Write shard indexes that name what the compressed shards hold; returns the originals for the ledger."""
    verbatim = {}
    for index in source.indexes:
        raw = (source.root / index).read_bytes()
        verbatim[index.as_posix()] = pack_verbatim(raw)
        document: dict[str, Any] = json.loads(raw)
        assigned, total = _weight_map(source.root / index), 0
        readers = {shard: Reader(out / index.parent / shard) for shard in sorted(set(assigned.values()))}
        weight_map = {}
        for shard, name in _held(readers, assigned):
            for entry in readers[shard].entries_of(name):
                weight_map[entry.name] = shard
                total += entry.nbytes
            if name in readers[shard].header.entries:  # a closing entry is one that loaders look for
                weight_map[name] = shard
        document["weight_map"] = dict(sorted(weight_map.items()))
        if isinstance(document.get("metadata"), dict) and "total_size" in document["metadata"]:
            document["metadata"]["total_size"] = total
        (out / index).write_text(json.dumps(document, indent=2) + "\n")
    return verbatim


def _held(readers: Mapping[str, Reader], assigned: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(shard, tensor) of all tensors in shards; one that several have counts where the index has it."""
    for shard, reader in readers.items():
        for name in reader.names():
            other = assigned.get(name, shard)
            if other == shard or name not in readers[other].names():
                yield shard, name


def assignment(index: Path) -> dict[str, str]:
    """The file of each tensor by its name, as the index of a plain or compressed checkpoint says it.

    Raises TerselyError where a file is not there, CorruptError for what is no index.
    """
    _shards(index.parent, Path(index.name))
    return {tensor_of(key): shard for key, shard in _weight_map(index).items()}


def tensor_of(key: str) -> str:
    """The tensor that a name in an index or a file belongs to: its own name, or that of a component's tensor."""
    name, mark, _ = key.rpartition(description.MARK)
    return name if mark else key


def loaded_from(source: Path) -> dict[Path, set[str] | None]:
    """The files to load the model of a path from, and the tensors to take from each, None for all.

    A file is itself; an index, or the one index of a folder, says what is where; a folder without has its files, which
    must not hold a tensor twice. Raises TerselyError where it is not clear what is meant.
    """
    if _is_index(source):
        return _by_index(source)
    if not source.is_dir():
        return {source: None}
    indexes = sorted(path for path in source.iterdir() if _is_index(path))
    files = sorted(source.glob("*.safetensors"))
    plain = [path for path in indexes if path.name.endswith(INDEX_SUFFIX)]
    if len(indexes) > 1 and len(plain) != 1:
        raise TerselyError(f"{source} has several shard indexes ({_names(indexes)}): give the one to load from")
    if not indexes:
        if not files:
            raise TerselyError(f"{source} holds no .safetensors file")
        return dict.fromkeys(files)
    index = (plain or indexes)[0]
    found = _by_index(index)
    whole = index.with_name(index.name.replace(".safetensors.index", "").replace(".json", ".safetensors"))
    if whole in files and whole not in found:
        raise TerselyError(
            f"{source} has {whole.name} beside {index.name}: give the one to load from, or remove the other"
        )
    return found


def _by_index(index: Path) -> dict[Path, set[str] | None]:
    """A tensor that the index does not name is taken from any of its files, one that it names from there alone."""
    assigned = assignment(index)
    found: dict[Path, set[str] | None] = {}
    for shard in sorted(set(assigned.values())):
        path = index.parent / shard
        found[path] = {name for name in names_in(path) if assigned.get(name, shard) == shard}
    return found


def _names(names: Sequence[object]) -> str:
    texts = [name.name if isinstance(name, Path) else str(name) for name in names]
    return ", ".join(texts[:4]) + (f" and {len(texts) - 4} more" if len(texts) > 4 else "")


def plain_indexes(root: Path) -> dict[str, bytes]:
    """Shard indexes of a compressed folder as those of its decompressed shards, by relative name."""
    plain = {}
    for index in (path for path in folders.listing(root).files if _is_index(path)):
        _shards(root, index)
        assigned, weight_map, total = _weight_map(root / index), {}, 0
        readers = {shard: Reader(root / index.parent / shard) for shard in sorted(set(assigned.values()))}
        for shard, name in _held(readers, {tensor_of(key): one for key, one in assigned.items()}):
            reader = readers[shard]
            weight_map[name] = shard
            coded = reader.descriptions.get(name)
            total += reader.dense[name].nbytes if coded is None else tensor_bytes(coded.dtype.tag, coded.shape)
        document = json.loads((root / index).read_bytes())
        metadata = document.get("metadata")
        document |= {
            "metadata": {**(metadata if isinstance(metadata, dict) else {}), "total_size": total},
            "weight_map": weight_map,
        }
        plain[index.as_posix()] = (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()
    return plain


def format_of(out: Path, weights: Iterable[Path]) -> str:
    """The format that a reader of a compressed folder must know: the highest of its files. weights: relative to out."""
    found = [description.VERSION]
    for path in weights:
        if not is_stored_file(out / path):
            found.append(str(Reader(out / path).facts.get("format", description.VERSION)))
    return max(found, key=lambda version: [int(part) for part in version.split(".")])


def write_ledger(out: Path, verbatim: dict[str, str], added: Sequence[str], facts: dict[str, Any]) -> None:
    """`tersely.json`: every replaced file verbatim, and what was added. facts: the format, what was asked for."""
    ledger = {**facts, "files": verbatim, "added": list(added)}
    (out / LEDGER).write_text(json.dumps(ledger, indent=1) + "\n")


def read_ledger(folder: Path) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Replaced files of a compressed folder by relative name, and names of files that the original did not have.

    Raises CorruptError, TerselyError.
    """
    path = folder / LEDGER
    if not path.exists():
        raise TerselyError(f"{folder} is not compressed by tersely: it has no {LEDGER}")
    try:
        ledger = json.loads(path.read_bytes())
        if str(ledger["format"]).split(".")[0] not in description.MAJORS:
            raise TerselyError(f"{path} has format {ledger['format']}; use a newer tersely")
        files = {name: unpack_verbatim(text, limits.VERBATIM_BYTES) for name, text in ledger["files"].items()}
        added = tuple(str(name) for name in ledger.get("added", ()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptError(f"the ledger is damaged: {error}", file=str(path)) from None
    for name in files:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise CorruptError(f"the ledger names {name!r}, outside the folder", file=str(path))
    return files, added
