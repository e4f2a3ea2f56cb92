"""Which files of PyTorch hold nothing but the tensors of the safetensors files beside them.

Only that makes a file one that may be left out: each of its tensors must be there, of the same dtype and shape and with
the same bytes by size and CRC-32, under its own name, or, as a tie that safetensors does not keep, under another. Names
of files alone say nothing (`2_Dense/pytorch_model.bin` is a layer of its own). The pickle inside is read by a machine
that can build tensors' descriptions and nothing else.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tersely.core.dtypes import BY_TAG
from tersely.core.errors import TerselyError
from tersely.files.container import description
from tersely.files.container.reader import Reader

NAMES = ("pytorch_model", "diffusion_pytorch_model", "adapter_model")
"""How files of PyTorch that have a counterpart in safetensors begin."""
_SHARD = re.compile(r"-\d{5}-of-\d{5}")
_PICKLE_BYTES = 1 << 26
_STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}
_Key = tuple[str, tuple[int, ...], int]
"""dtype, shape and CRC-32 of a tensor: two with one key are equal."""


def find(root: Path, others: Sequence[Path], weights: Sequence[Path]) -> list[Path]:
    """Those of `others` that hold tensors of the weights in the same folder and nothing else; shards with their index,
    all or none of them."""
    found: list[Path] = []
    groups: dict[Path, list[Path]] = {}
    for path in others:
        if path.name.startswith(NAMES) and path.suffix == ".bin":
            groups.setdefault(path.with_name(_SHARD.sub("", path.name)), []).append(path)
    known: dict[Path, dict[str, set[_Key]]] = {}
    for whole, files in groups.items():
        index = [whole.with_name(f"{whole.name}.index.json")] if files != [whole] else []
        beside = [root / path for path in weights if path.parent == whole.parent]
        if not beside or not set(index) <= set(others):
            continue
        if whole.parent not in known:
            known[whole.parent] = _keys(beside)
        if all(_is_in(root / path, known[whole.parent]) for path in files):
            found += [*files, *index]
    return found


def _is_in(path: Path, known: Mapping[str, set[_Key]]) -> bool:
    tensors = _tensors_of(path)
    every = {key for keys in known.values() for key in keys}
    return tensors is not None and all(key in known.get(name, every) for name, key in tensors.items())


def _keys(files: Sequence[Path]) -> dict[str, set[_Key]]:
    keys: dict[str, set[_Key]] = {}
    for file in files:
        try:
            reader = Reader(file)
        except TerselyError:
            continue  # whoever compresses it says what is wrong
        for name, entry in reader.dense.items():
            keys.setdefault(name, set()).add((entry.tag, entry.shape, int(description.crc32(reader.raw(entry)), 16)))
            reader.forget(name)
    return keys


@dataclass(frozen=True)
class _Storage:
    tag: str
    key: str


@dataclass(frozen=True)
class _Built:
    """A tensor as a pickle describes it."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _rebuild(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> _Built:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("no storage")
    return _Built(storage, int(offset), tuple(map(int, shape)), tuple(map(int, stride)))


class _Unpickler(pickle.Unpickler):
    """Builds dictionaries of tensors' descriptions; every other class ends it."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        word, tag, key, *_ = pid
        if word != "storage" or tag not in _STORAGES.values():
            raise pickle.UnpicklingError("not a storage")
        return _Storage(str(tag), str(key))


def _tensors_of(path: Path) -> dict[str, _Key] | None:
    """The tensors of a file of `torch.save` that is a flat dictionary of whole tensors; None for every other file."""
    try:
        with zipfile.ZipFile(path) as archive:
            records = {record.filename: record for record in archive.infolist()}
            inside = next(name for name in records if name.endswith("/data.pkl"))
            if records[inside].file_size > _PICKLE_BYTES:
                return None
            state = _Unpickler(io.BytesIO(archive.read(inside))).load()
    except Exception:  # bytes of others: whatever goes wrong, the file is not known to be a duplicate
        return None
    if not isinstance(state, dict) or (vars(state) if hasattr(state, "__dict__") else {}).keys() - {"_metadata"}:
        return None
    folder = inside.removesuffix("data.pkl")
    return _described(state, {name.removeprefix(f"{folder}data/"): record for name, record in records.items()})


def _described(state: Mapping[Any, Any], records: Mapping[str, zipfile.ZipInfo]) -> dict[str, _Key] | None:
    tensors: dict[str, _Key] = {}
    for name, built in state.items():
        if (
            not isinstance(name, str)
            or not isinstance(built, _Built)
            or built.offset
            or built.storage.key not in records
        ):
            return None
        record, count = records[built.storage.key], math.prod(built.shape)
        stride = tuple(math.prod(built.shape[dim + 1 :]) for dim in range(len(built.shape)))
        dense = all(a == b or length == 1 for a, b, length in zip(built.stride, stride, built.shape, strict=True))
        size = BY_TAG[built.storage.tag].bits // 8 * count
        if not dense or record.file_size != size:
            return None
        tensors[name] = (built.storage.tag, built.shape, record.CRC)
    return tensors
