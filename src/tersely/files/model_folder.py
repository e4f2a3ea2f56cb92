"""What a model folder says about itself once its weights are compressed: config.json and README.md.

`config.json` names the method, so that loaders of `transformers` look for ours; the folder of a model that was already
quantised keeps its original entry inside ours. It also says, in the place where transformers looks for the name of the
weights, that there is none for it: without our adapter every version that we know raises an error with that sentence,
where an unknown method alone is a warning and random weights. README.md begins with how to use the folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tersely.files.container.packing import pack_verbatim
from tersely.files.foreign_readers import CONFIG, MODULES, Readers, model_config
from tersely.files.listing import replace_file

METHOD = "tersely"
CARD = "README.md"
ENTRY = "quantization_config"
WEIGHTS = "transformers_weights"
"""The key by which a config.json names the file of its weights."""
CLOSED = (
    "the weights of this folder are compressed by tersely: 'import tersely.transformers' before loading them, run the "
    "program by 'tersely exec -- PROGRAM ...', or give back the original by 'tersely decompress FOLDER -o OUT'"
)
"""What stands there: no name of a file, so that who does not know us refuses it and shows it."""

_CARD = """\
> **Load this folder with `import tersely.transformers` first.** Its weights are compressed losslessly by
> tersely; without that import, loading ends in an error.
>
> ```python
> import tersely.transformers
> {lines}
> ```
>
> `tersely exec -- PROGRAM ...` runs a program of others with that import, such as `transformers serve`.
> `tersely decompress FOLDER -o OUT` gives back the original folder, byte for byte.
"""
_FOREIGN_CARD = """\
> **Decompress this folder before loading it:** `tersely decompress FOLDER -o OUT` gives back the original, byte for
> byte. Its weights are compressed losslessly by tersely, which {library} cannot read.
"""
_MARKED = """\
>
> Decompress it before you use these files, which other programs read: {names}.
"""
_QUANTISED_CARD = """\
> **Decompress this folder before loading it:** `tersely decompress FOLDER -o OUT` gives back the original, byte for
> byte. It is a quantised model ({method}) whose files are compressed losslessly by
> tersely; `import tersely.transformers` refuses to load it as it is.
"""


@dataclass
class Rewritten:
    """verbatim: replaced files by relative name, packed for the ledger. added: files that the source did not have."""

    verbatim: dict[str, str] = field(default_factory=dict)
    added: list[str] = field(default_factory=list)


def rewrite(root: Path, out: Path, weights: Iterable[Path], facts: dict[str, Any], readers: Readers) -> Rewritten:
    """Write config.json and README.md of a compressed folder.

    root: the source folder. out: the folder being written, with copies of all other files. weights: weight files,
    relative. facts: format, objective and profile. readers: what other libraries read. Folders of which nothing says that
    somebody loads them stay as they are.
    """
    done = Rewritten()
    configs = {folder: model_config(root / folder / CONFIG) for folder in {path.parent for path in weights}}
    found = {folder: config for folder, config in sorted(configs.items()) if config is not None}
    for folder, config in found.items():
        _replace(root, out, folder / CONFIG, with_entry(config, facts), done)
    banner = _banner(root, found, readers)
    if banner:
        _replace(root, out, Path(CARD), _card(root / CARD, banner), done)
    return done


def _banner(root: Path, configs: dict[Path, dict[str, Any]], readers: Readers) -> str:
    """What README.md of a folder begins with; '' for nothing. configs: those of its models of transformers."""
    if readers.root:
        return _FOREIGN_CARD.format(library=readers.root)
    config = configs.get(Path())
    original = None if config is None else original_entry(config)
    if original is not None:
        return _QUANTISED_CARD.format(method=original.get("quant_method", "of its own kind"))
    if configs and (root / MODULES).is_file():
        lines = "from sentence_transformers import SentenceTransformer\n>\n> model = SentenceTransformer"
        banner = _CARD.format(lines=f'{lines}("path/of/this/folder")')
    elif config is not None:
        auto = _auto_class(config)
        lines = f"from transformers import {auto}\n>\n> model = {auto}.from_pretrained"
        banner = _CARD.format(lines=f'{lines}("path/of/this/folder")')
    else:
        return ""
    names = ", ".join(f"`{path.as_posix()}`" for path in readers.marked())
    return banner + (_MARKED.format(names=names) if names else "")


def without_entry(config: dict[str, Any]) -> dict[str, Any]:
    """A config as it would be without us. The inverse of `with_entry`."""
    entry = config.get(ENTRY)
    if not isinstance(entry, dict) or entry.get("quant_method") != METHOD:
        return config
    plain = {key: value for key, value in opened(config, entry).items() if key != ENTRY}
    if isinstance(entry.get("original"), dict):
        plain[ENTRY] = entry["original"]
    return plain


def opened(config: dict[str, Any], entry: Any) -> dict[str, Any]:
    """A config whose weights have the name that they had before `with_entry`, or none. entry: ours."""
    if config.get(WEIGHTS) != CLOSED:
        return config
    config = {key: value for key, value in config.items() if key != WEIGHTS}
    named = entry.get(WEIGHTS) if isinstance(entry, dict) else None
    return {**config, WEIGHTS: named} if isinstance(named, str) else config


def recover(root: Path) -> dict[str, bytes] | None:
    """config.json without our entry, by name, for a compressed folder that keeps no original; None: not ours."""
    config = model_config(root / CONFIG)
    plain = None if config is None else without_entry(config)
    if plain is config or plain is None:
        return None
    return {CONFIG: (json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()}


def original_entry(config: dict[str, Any]) -> dict[str, Any] | None:
    """How the model was quantised before it was compressed: its entry, or its text model's; None: it was not."""
    inner = config.get("text_config")
    for entry in (config.get(ENTRY), inner.get(ENTRY) if isinstance(inner, dict) else None):
        if isinstance(entry, dict):
            return entry
    return None


def with_entry(config: dict[str, Any], facts: dict[str, Any]) -> bytes:
    """The text of a config.json that names our method and closes the folder to loaders without it."""
    entry: dict[str, Any] = {"quant_method": METHOD, **facts}
    original = original_entry(config)
    if original is not None:
        entry["original"] = original
    if WEIGHTS in config:
        entry[WEIGHTS] = config[WEIGHTS]
    return (json.dumps({**config, ENTRY: entry, WEIGHTS: CLOSED}, indent=2, ensure_ascii=False) + "\n").encode()


def _card(path: Path, banner: str) -> bytes:
    """The model card with our lines at its beginning, after its block of metadata if it has one."""
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
    replace_file(out / name, content)
