"""docs/api.md, made from the names, signatures and docstrings of the package.

python docs/make_api.py            # writes the page; needs torch and transformers
python docs/make_api.py --check    # exit 1 where it is not what the docstrings say
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "api.md"
HEAD = """# Python API

Made from the docstrings by `python docs/make_api.py`. Whatever is not here is internal and may change at any time. Arguments behind `*` are named.
Arguments that many functions have: *objective* is what to optimise, 'size', 'speed' or 'balanced'; *profile* the machine to plan for; *batch* the number of rows of
x in a product; *threads* the number of workers, None for `tersely.get_num_threads()`. Words of ours are in the [glossary](glossary.md).
"""
GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "tersely": {
        "Files": ("compress", "transcode", "decompress", "verify", "inspect", "make_plan"),
        "Tensors in files": ("load_file", "save_file", "open", "File"),
        "Tensors": ("encode", "Tensor", "linear", "linear_transposed"),
        "Networks": ("load_pipeline",),
        "Threads and instruction sets": ("set_num_threads", "get_num_threads", "isa"),
        "Errors": (
            "TerselyError",
            "ArgumentError",
            "FormatError",
            "CorruptError",
            "UnsupportedError",
            "TooLargeError",
            "VerificationError",
            "DestinationError",
        ),
    },
    "tersely.torch": {
        "Networks": ("pipeline", "Pipeline"),
        "Modules": ("compress_", "decompress_", "Summary", "ParameterReport", "memory_footprint"),
        "Saving and loading": (
            "save_model",
            "load_model",
            "save_file",
            "load_file",
            "flatten_state_dict",
            "unflatten_state_dict",
        ),
        "Tensors and layers": ("encode", "TerselyTensor", "FusedTensor", "Int8Linear"),
        "For other programs": ("dense_weights", "dense_program"),
    },
    "tersely.transformers": {"Models": ("TerselyConfig", "TerselyHfQuantizer")},
}
"""Every public name, by the module that users import it from."""
MADE = (
    "File",
    "Tensor",
    "Pipeline",
    "Summary",
    "ParameterReport",
    "TerselyTensor",
    "FusedTensor",
    "TerselyHfQuantizer",
)
"""Classes that functions make: their signatures are nobody's business."""
MEMBERS = {
    "Pipeline": ("profile", "save", "weight_bytes"),
    "TerselyTensor": ("formulation", "nbytes_stored", "ratio", "decode", "share_memory_"),
    "FusedTensor": (),
    "Tensor": ("size", "nbytes", "nbytes_stored", "bits_per_weight", "parameters", "components", "decode", "rows"),
    "TerselyHfQuantizer": (),
}
"""What users call, of classes that have more."""
_ENTRY = re.compile(r"(?:^|\0)(\*{0,2}[A-Za-z_]\w*): ")
"""Where an argument, an attribute or an error begins: on a line of its own."""
_LISTS = ("Args:", "Attributes:", "Raises:")
_SECTIONS = (*_LISTS, "Returns:", "Yields:")


def listed(module: str) -> set[str]:
    """The names of a module that the page has."""
    return {name for names in GROUPS[module].values() for name in names}


def page() -> str:
    """The text of docs/api.md."""
    lines = [HEAD]
    for module, groups in GROUPS.items():
        found = importlib.import_module(module)
        lines.append(f"## {module}\n")
        for title, names in groups.items():
            lines.append(f"### {title}\n")
            for name in names:
                lines += entry(f"{module}.{name}", getattr(found, name))
    return "\n".join(lines).rstrip() + "\n"


def entry(name: str, value: Any) -> Iterator[str]:
    """One name: signature and docstring, of classes also what is public in them."""
    yield f"#### {name}\n"
    if inspect.ismodule(value):
        yield from text_of(value.__doc__)
        for one in getattr(value, "__all__", [key for key in vars(value) if not key.startswith("_")]):
            member = getattr(value, one)
            if inspect.isfunction(member) and member.__module__ == value.__name__:
                yield f"* `{one}{signature(member)}`: {first_line(member)}"
        yield ""
        return
    if name.rpartition(".")[2] not in MADE and not (inspect.isclass(value) and issubclass(value, Exception)):
        shown = textwrap.wrap(name + signature(value), 110, subsequent_indent="    ", break_long_words=False)
        yield "```\n" + "\n".join(shown) + "\n```\n"
    yield from text_of(vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__)
    if inspect.isclass(value) and not issubclass(value, Exception):
        members = list(members_of(value))
        yield from members
        if members:
            yield ""


def members_of(value: type) -> Iterator[str]:
    """A line for each public method and property that the class itself documents."""
    for name, member in vars(value).items():
        found = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if (
            name.startswith("_")
            or name not in MEMBERS.get(value.__name__, (name,))
            or not inspect.isfunction(found)
            or not found.__doc__
        ):
            continue
        shown = name if isinstance(member, property) else f"{name}{signature(found)}"
        yield f"* `{shown}`: {first_line(found)}"


def signature(value: Any) -> str:
    """As it is written, without quotes around types and without `self`."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    kept = [
        one.replace(annotation=_Bare(one.annotation)) if isinstance(one.annotation, str) else one
        for one in found.parameters.values()
        if one.name not in ("self", "cls")
    ]
    back = found.return_annotation
    shown = inspect.Signature.empty if back == "None" else _Bare(back) if isinstance(back, str) else back
    return str(found.replace(parameters=kept, return_annotation=shown))


class _Bare(str):
    """A type that is a text already."""

    def __repr__(self) -> str:
        return str(self)


def first_line(value: Any) -> str:
    """The first sentence of a docstring, on one line."""
    return " ".join(inspect.cleandoc(value.__doc__ or "").split("\n\n")[0].split())


def text_of(doc: str | None) -> Iterator[str]:
    """A docstring as Markdown: paragraphs, code, and lists of arguments and errors."""
    for block in re.split(r"\n\s*\n", inspect.cleandoc(doc or "")):
        title, _, rest = block.partition("\n")
        if title in _SECTIONS:
            if title in _LISTS:
                if title != "Args:":
                    yield f"{title}\n"
                lines = inspect.cleandoc(rest).splitlines()
                yield from entries("".join((" " if line[:1] == " " else "\0") + line.strip() for line in lines))
            else:
                yield f"{title.removesuffix(':')}: {' '.join(rest.split())}"
        elif block.startswith("    "):
            yield f"```\n{inspect.cleandoc(block)}\n```"
        else:
            yield " ".join(block.split())
        yield ""


def entries(text: str) -> Iterator[str]:
    """A line for each entry of a section, whose lines begin with NUL."""
    found = list(_ENTRY.finditer(text))
    ends = [one.start() for one in found[1:]] + [len(text)]
    for one, end in zip(found, ends, strict=True):
        yield f"* *{one[1]}*: {text[one.end() : end].replace(chr(0), ' ').strip()}"


def main() -> None:
    text = page()
    if "--check" in sys.argv[1:]:
        if text != PAGE.read_text():
            raise SystemExit("docs/api.md: run python docs/make_api.py")
        return
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
