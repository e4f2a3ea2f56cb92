"""Messages name what their reader gave: arguments those of the Python package, flags those of the command line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from typer.testing import CliRunner

import tersely
from tersely.cli import failures
from tersely.cli.__main__ import app
from tersely.core.errors import TerselyError

SOURCES = Path(tersely.__file__).parent
ARGUMENTS = failures._ARGUMENTS.split("|")
ONLY_ARGUMENTS = [name for name in ARGUMENTS if "_" in name]
"""Names that are no words of a sentence."""


def said_by(tree: ast.AST) -> Iterator[str]:
    """Texts of what is raised: constants as they are, what is put in as `{}`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            for argument in node.exc.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield argument.value
                elif isinstance(argument, ast.JoinedStr):
                    yield "".join(one.value if isinstance(one, ast.Constant) else "{}" for one in argument.values)


def test_no_message_of_the_package_names_a_flag_or_a_bare_argument() -> None:
    count = 0
    for path in SOURCES.rglob("*.py"):
        if path.is_relative_to(SOURCES / "cli"):
            continue
        for text in said_by(ast.parse(path.read_text())):
            count += "`" in text
            bare = re.sub(r"`[^`]*`", "", text)
            assert not re.search(rf"(?<![\w'{{])({'|'.join(ONLY_ARGUMENTS)})\b", bare), (path, text)
            assert not re.search(rf"\b({'|'.join(ARGUMENTS)})=", bare), (path, text)
            outside = re.sub(r"'tersely [^']*'", "", bare)  # a command may be told whole
            assert not re.search(r"(?<!\S)\(?--[a-z]", outside), (path, text)
    assert count > 5


@pytest.mark.parametrize(
    ("words", "api", "cli"),
    [
        (
            {"store": "smallest", "dry_run": True},
            "leave `dry_run`, `include` and `exclude` out",
            "leave --dry-run, --include and --exclude out",
        ),
        ({"level": "max"}, "give `store='smallest'` with it", "give --store smallest with it"),
        ({"target_bits": 3.0, "objective": "size"}, "`target_bits` takes the place of `objective`", None),
        ({"target_bits": -1.0}, "`target_bits` must be a number above 0", "--target-bits must be a number above 0"),
        ({}, "or pass `force=True`", "or pass --force"),
    ],
)
def test_the_same_fault_by_both_ways(tmp_path: Path, words: dict[str, object], api: str, cli: str | None) -> None:
    model = tmp_path / "m.safetensors"
    safetensors.numpy.save_file({"w": np.zeros(4, np.float32)}, model)
    (tmp_path / "m.tersely.safetensors").touch()
    with pytest.raises(TerselyError) as error:
        tersely.compress(model, force=bool(words), **words)  # type: ignore[arg-type]
    assert api in str(error.value)
    flags: list[str] = ["--force"] if words else []
    for name, value in words.items():
        flags += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    found = CliRunner().invoke(app, ["compress", str(model), *flags]).exception
    assert isinstance(found, TerselyError)
    told = failures.with_flags(str(found))
    assert (cli or "--target-bits takes the place of --objective") in told
    assert "`" not in told
    assert "_" not in told.replace(str(tmp_path), "")


def test_names_between_backquotes_that_are_no_arguments_stay() -> None:
    assert failures.with_flags("no tensor '`weight`', `w_x`; `shapes` and `against=ORIGINAL`") == (
        "no tensor '`weight`', `w_x`; --shape and --against ORIGINAL"
    )
