"""What a model folder says about itself once its weights are compressed: config.json and README.md.

`config.json` names the method, so that loaders of `transformers` look for ours; the folder of a model that was already
quantised keeps its original entry inside ours. README.md begins with how to load the folder, because `transformers`
without `laconic.transformers` only warns about an unknown method and initialises weights at random.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from laconic.container import description
from laconic.container.packing import pack_verbatim

METHOD = "laconic"
CONFIG = "config.json"
CARD = "README.md"
ENTRY = "quantization_config"

_CARD = """\
> **Load this folder with `import laconic.transformers` first.** Its weights are compressed losslessly by
> laconic; without that import, transformers only warns about an unknown
> quantisation method and fills the model with random weights.
>
> ```python
> import laconic.transformers
> from transformers import {auto}
>
> model = {auto}.from_pretrained("path/of/this/folder")
> ```
>
> `laconic decompress FOLDER -o OUT` gives back the original folder, byte for byte.
"""
_QUANTISED_CARD = """\
> **Decompress this folder before loading it:** `laconic decompress FOLDER -o OUT` gives back the original, byte for
> byte. It is a quantised model ({method}) whose files are compressed losslessly by
> laconic; `import laconic.transformers` refuses to load it as it is.
"""


@dataclass
class Rewritten:
    """verbatim: replaced files by relative name, packed for the ledger. added: files that the source did not have."""

    verbatim: dict[str, str] = field(default_factory=dict)
    added: list[str] = field(default_factory=list)


def rewrite(root: Path, out: Path, weights: Iterable[Path], facts: dict[str, Any]) -> Rewritten:
    """Write config.json and README.md of a compressed folder.

    root: the source folder. out: the folder being written, with copies of all other files. weights: weight files,
    relative. facts: objective and profile. Folders whose config.json is not one of a transformers model stay as they are.
    """
    done = Rewritten()
    for folder in sorted({path.parent for path in weights}):
        config = _config(root / folder / CONFIG)
        if config is None:
            continue
        _replace(root, out, folder / CONFIG, _with_entry(config, facts), done)
        if folder == Path():
            _replace(root, out, Path(CARD), _card(root / CARD, config), done)
    return done


def _config(path: Path) -> dict[str, Any] | None:
    """The parsed config.json of a transformers model, or None."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) and "model_type" in document else None


def original_entry(config: dict[str, Any]) -> dict[str, Any] | None:
    """How the model was quantised before it was compressed: its own entry, or that of its text model; None: it was not."""
    inner = config.get("text_config")
    for entry in (config.get(ENTRY), inner.get(ENTRY) if isinstance(inner, dict) else None):
        if isinstance(entry, dict):
            return entry
    return None


def _with_entry(config: dict[str, Any], facts: dict[str, Any]) -> bytes:
    entry: dict[str, Any] = {"quant_method": METHOD, "format": description.FIRST, **facts}
    original = original_entry(config)
    if original is not None:
        entry["original"] = original
    return (json.dumps({**config, ENTRY: entry}, indent=2, ensure_ascii=False) + "\n").encode()


def _card(path: Path, config: dict[str, Any]) -> bytes:
    """The model card with our lines at its beginning, after its block of metadata if it has one."""
    original = original_entry(config)
    if original is not None:
        banner = _QUANTISED_CARD.format(method=original.get("quant_method", "of its own kind"))
    else:
        banner = _CARD.format(auto=_auto_class(config))
    text = path.read_bytes() if path.exists() else b""
    head, rest = b"", text
    if text.startswith(b"---\n"):
        end = text.find(b"\n---\n", 3)
        if end >= 0:
            head, rest = text[: end + 5], text[end + 5 :]
    return head + banner.encode() + (b"\n" + rest if rest else b"")


def _auto_class(config: dict[str, Any]) -> str:
    """The class of transformers that opens the model."""
    named = config.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and named else ""
    for ending, auto in (
        ("ForCausalLM", "AutoModelForCausalLM"),
        ("LMHeadModel", "AutoModelForCausalLM"),
        ("ForConditionalGeneration", "AutoModelForSeq2SeqLM"),
        ("ForImageClassification", "AutoModelForImageClassification"),
        ("ForMaskedLM", "AutoModelForMaskedLM"),
        ("ForSequenceClassification", "AutoModelForSequenceClassification"),
    ):
        if architecture.endswith(ending):
            return auto
    return "AutoModel"


def _replace(root: Path, out: Path, name: Path, content: bytes, done: Rewritten) -> None:
    if (root / name).exists():
        done.verbatim[name.as_posix()] = pack_verbatim((root / name).read_bytes())
    else:
        done.added.append(name.as_posix())
    (out / name).write_bytes(content)
