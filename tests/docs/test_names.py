"""What documentation and signatures name exists: names in docstrings, commands and their options, values of arguments."""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer.main
from support.arrays import installed

import tersely
from tersely.cli.__main__ import app
from tersely.core import choices

PACKAGE = Path(tersely.__file__).parent
OTHERS = {
    **dict.fromkeys(("Conv1D", "from_pretrained", "save_pretrained", "_load_pretrained_model"), "transformers"),
    **dict.fromkeys(("conv1d", "copy_", "swap_tensors", "weight_mask", "weight_orig", "bias_dtype"), "torch"),
    **dict.fromkeys(("external_data", "float_data", "double_data", "raw_data", "value_floats"), "of ONNX"),
    **dict.fromkeys(("portable", "balanced", "layered", "gaps"), "values of arguments"),
    **dict.fromkeys(("tersely_recipes", "ATTRIBUTE", "partial", "json", "js"), "parts of files and of their names"),
    "ValueSource": "C++",
}
"""Single names between backticks that are defined elsewhere, and where."""
SHORT = {"nn": "torch.nn", "F": "torch.nn.functional"}
"""What modules of others are called for short."""
QUOTED = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*(\([^`]*\))?")
FULL = re.compile(r"\btersely(?:\.[A-Za-z_]\w*)+(?!\w*\()|\btersely(?:\.[A-Za-z_]\w*)+")
FILES = ("tersely.safetensors", "tersely.json", "tersely.pool", "tersely.parts")


def docstrings() -> Iterator[tuple[str, tuple[str, ...], str]]:
    """(module, names that the place itself has: arguments, fields, the class's own; text) of every docstring."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        module = ".".join(("tersely", *(part for part in parts if part != "__init__")))
        if parts[0] in ("torch", "transformers") and not installed(parts[0]):
            continue

        def visit(
            node: Any, known: tuple[str, ...], module: str = module
        ) -> Iterator[tuple[str, tuple[str, ...], str]]:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                taken = node.args
                known += tuple(one.arg for one in (*taken.posonlyargs, *taken.args, *taken.kwonlyargs))
                known += tuple(one.arg for one in (taken.vararg, taken.kwarg) if one)
            if isinstance(node, ast.ClassDef):
                known += (node.name, *_of_class(node))
            text = ast.get_docstring(node) or ""
            comments = [
                one.value.value
                for one in node.body
                if isinstance(one, ast.Expr)
                and isinstance(one.value, ast.Constant)
                and isinstance(one.value.value, str)
            ]
            yield module, known, "\n".join({text, *comments})
            for inner in node.body:
                if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                    yield from visit(inner, known)

        yield from visit(ast.parse(path.read_text()), ())


def _of_class(node: ast.ClassDef) -> tuple[str, ...]:
    """Fields, methods and what `self` is given."""
    found = [one.name for one in ast.walk(node) if isinstance(one, ast.FunctionDef)]
    found += [one.target.id for one in node.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)]
    found += [one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)]
    return tuple(found)


def everything() -> set[str]:
    """Every name that the package defines: modules, functions, classes, their fields, arguments."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        found |= set(path.relative_to(PACKAGE).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                found.add(node.name)
            elif isinstance(node, ast.arg):
                found.add(node.arg)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.attr)
    return found


def _owners(module: str) -> list[Any]:
    """The classes of others whose methods an adapter's docstrings call by their names alone."""
    if not module.startswith(("tersely.torch", "tersely.transformers")):
        return []
    import torch

    return [torch.Tensor, torch.nn.Module]


@functools.cache
def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one, of attributes of attributes."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for part in parts[cut:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def mentioned(module: str, known: tuple[str, ...], name: str, defined: set[str]) -> bool:
    """Whether a name between backticks in a docstring of that module means anything."""
    if name in FILES:
        return True
    first, *rest = parts = name.split(".")
    if not rest and (first in known or first in defined or first in OTHERS or hasattr(builtins, first)):
        return True
    places = (module, module.rpartition(".")[0] or module, "tersely")
    if any(resolves(f"{place}.{name}") for place in places):
        return True
    if any(hasattr(owner, first) for owner in _owners(module)):
        return True
    foreign = ".".join([SHORT.get(first, first), *rest])
    if foreign.startswith(("torch.", "transformers.")) and not installed(foreign.partition(".")[0]):
        return True
    return resolves(foreign) or all(part in defined or part in OTHERS or part.isupper() for part in parts)


def test_every_name_between_backticks_exists() -> None:
    defined = everything()
    wrong = [
        (module, quoted)
        for module, known, text in docstrings()
        for quoted in QUOTED.findall(text)
        if NAME.fullmatch(quoted) and not mentioned(module, known, quoted.partition("(")[0], defined)
    ]
    assert not wrong


def strings() -> Iterator[tuple[str, str]]:
    """(module, text) of every string: docstrings and what is said to people."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield path.relative_to(PACKAGE).as_posix(), node.value


def test_every_name_of_ours_exists_wherever_it_is_said() -> None:
    wrong = [
        (place, name)
        for place, text in strings()
        for name in FULL.findall(text)
        if name not in FILES
        and not (name.split(".")[1] in ("torch", "transformers") and not installed(name.split(".")[1]))
        if not resolves(name)
    ]
    assert not wrong


def test_modules_that_docstrings_name_need_no_import_of_their_own() -> None:
    code = (
        "import sys, tersely\n"
        "tersely.make_plan, tersely.isa.use, tersely.planner\n"
        "assert not any(hasattr(tersely, name) for name in ('compresss', '_native_', 'torch', 'transformers'))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


COMMAND = re.compile(r"[`'](tersely(?: [^`'\n]*)?)[`']")


def test_every_command_that_is_named_exists_with_its_options() -> None:
    group: Any = typer.main.get_command(app)
    for place, text in strings():
        for said in COMMAND.findall(text):
            _, *words = said.split()
            words = [word for word in words if not word.startswith("{")]
            if not words or not words[0].islower() or words[0].startswith("-"):
                continue
            command = group.commands.get(words[0])
            assert command is not None, (place, said)
            flags = {"--", *(flag for parameter in command.params for flag in parameter.opts)}
            assert {word for word in words if word.startswith("-")} <= flags, (place, said)


def functions() -> Iterator[tuple[str, Any]]:
    """Every public function and class, by its full name."""
    for package in ("tersely", "tersely.torch", "tersely.transformers", "tersely.files.plan_file"):
        if package in ("tersely.torch", "tersely.transformers") and not installed(package.partition(".")[2]):
            continue
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", ("make_plan", "explain")):
            value = getattr(module, name)
            if inspect.ismodule(value):
                yield from (
                    (f"{package}.{name}.{inner}", one) for inner, one in inspect.getmembers(value, inspect.isfunction)
                )
            elif inspect.isclass(value):
                yield f"{package}.{name}", value.__init__
                yield from (
                    (f"{package}.{name}.{inner}", one) for inner, one in inspect.getmembers(value, inspect.isfunction)
                )
            elif callable(value):
                yield f"{package}.{name}", value


def test_arguments_with_few_values_say_which() -> None:
    seen = set()
    for name, function in functions():
        if not str(getattr(function, "__module__", "")).startswith("tersely"):
            continue
        for argument in inspect.signature(function).parameters:
            if argument in choices.BY_ARGUMENT:
                hint = get_type_hints(function).get(argument)
                literal = next((one for one in (hint, *get_args(hint)) if get_origin(one) is Literal), None)
                assert literal == choices.BY_ARGUMENT[argument], (name, argument, hint)
                seen.add(argument)
    assert seen >= {"objective", "check", "orientation", "packed"}


def test_their_values_are_those_that_are_checked() -> None:
    from tersely.tensors.int4 import PACKED

    assert set(get_args(choices.Packed)) == set(PACKED)
    assert set(choices.OBJECTIVES) == set(get_args(choices.Objective))
    if installed("torch"):
        from tersely.torch.weight.tersely_tensor import CLASSES

        assert set(get_args(choices.Mode)) == set(CLASSES)


def test_arguments_that_docstrings_explain_are_there() -> None:
    """In `Args:` each argument begins a line or a sentence, with a colon behind it."""
    for name, function in functions():
        text = inspect.getdoc(function) or ""
        if "Args:" not in text or not str(getattr(function, "__module__", "")).startswith("tersely"):
            continue
        section = text.split("Args:")[1].split("\n\n")[0]
        known = set(inspect.signature(function).parameters)
        for found in re.findall(r"^ {4}([a-z_][a-z0-9_]*(?:, [a-z_][a-z0-9_]*)*): ", section, re.M):
            assert set(found.split(", ")) <= known, (name, found)
