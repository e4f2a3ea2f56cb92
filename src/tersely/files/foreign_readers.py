"""Weights of a folder that another library than transformers reads, and what becomes of them.

Whoever reads such a file knows nothing of us. A layer or adapter that lies beside a model we can load stays as it is,
so that both open as before. What makes up a folder, or is large, is compressed and said to need decompressing before
use.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG = "config.json"
MODULES = "modules.json"
PIPELINE = "model_index.json"
ADAPTER = "adapter_config.json"


@dataclass(frozen=True)
class Readers:
    """library: who reads each of the weight files that transformers does not. kept: those of them that stay as they
    are. root: who reads the folder as a whole, where that is not transformers.
    """

    library: Mapping[Path, str]
    kept: tuple[Path, ...]
    root: str = ""

    def marked(self) -> dict[Path, str]:
        """What is compressed and needs decompressing before use."""
        kept = set(self.kept)
        return {path: library for path, library in self.library.items() if path not in kept}


def model_config(path: Path) -> dict[str, Any] | None:
    """The parsed config.json of a transformers model, or None."""
    document = _json(path)
    return document if isinstance(document, dict) and "model_type" in document else None


def readers_of(root: Path, weights: Sequence[Path], shards: AbstractSet[Path] = frozenset()) -> Readers:
    """Who reads the weight files of a folder. shards: those that an index names."""
    library = {path: name for path in weights if (name := _reader_of(root, path, path in shards))}
    ours = any(path not in library and model_config(root / path.parent / CONFIG) for path in weights)
    if (root / PIPELINE).is_file():
        return Readers(library, (), "diffusers")
    kept = tuple(path for path, name in library.items() if ours and name in _BESIDE)
    return Readers(library, kept, "" if ours or not library else next(iter(library.values())))


_BESIDE = ("sentence-transformers", "peft")
"""Their files beside a model are small and used together with it."""


def _reader_of(root: Path, path: Path, shard: bool) -> str:
    """The library that reads a weight file, '' for transformers and for files that nothing says anything about."""
    folder = root / path.parent
    if path.name.startswith("adapter_model") and (folder / ADAPTER).is_file():
        return "peft"
    if path.name.startswith("consolidated") or "original" in path.parts[:-1]:
        return "its makers' own program"
    if path.name.startswith("open_clip") or (folder / "open_clip_config.json").is_file():
        return "open_clip"
    config = _json(folder / CONFIG)
    config = config if isinstance(config, dict) else {}
    module = _module_type(root, path.parent)
    if module.endswith("StaticEmbedding"):
        return "sentence-transformers"
    if "model_type" in config:
        own = shard or path.name.startswith("model") or path.name == config.get("transformers_weights")
        return "" if own else "another program"
    if module or (root / MODULES).is_file():
        return "sentence-transformers"
    if "_class_name" in config or (root / PIPELINE).is_file() or (folder / PIPELINE).is_file():
        return "diffusers"
    if "pretrained_cfg" in config:
        return "timm"
    if path.parent != Path() and model_config(root / CONFIG):
        return "another program"
    return ""


def _module_type(root: Path, folder: Path) -> str:
    """The class of a module of sentence-transformers that lies in a folder, or ''."""
    modules = _json(root / MODULES)
    for module in modules if isinstance(modules, list) else ():
        if isinstance(module, dict) and Path(str(module.get("path", ""))) == folder:
            return str(module.get("type", ""))
    return ""


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
