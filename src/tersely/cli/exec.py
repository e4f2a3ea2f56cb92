"""`tersely exec`: a Python program of others, with our adapter of transformers in it and in what it starts."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from tersely.core.errors import TerselyError

CONTEXT = {"ignore_unknown_options": True, "allow_interspersed_args": False}
"""What stands after the program's name is the program's own."""
_HOOK = Path(__file__).parent / "launched"
_NEEDS = ("tersely", "torch", "transformers")
_PYTHON = re.compile(r"python(\d+(\.\d+)?)?(\.exe)?$")


def run(
    command: Annotated[list[str], typer.Argument(metavar="[--] PROGRAM [ARGUMENT]...", help="What to run.")],
) -> None:
    """Run a Python program that loads models by transformers, so that it opens compressed folders.

    PROGRAM: a command such as `transformers`, `python` (with -m MODULE or a file), or a .py file. Its arguments, exit
    code and signals are its own.
    """
    words = program(command[0]) + command[1:]
    path = os.pathsep.join([str(_HOOK), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    if os.name == "posix":
        sys.stdout.flush()
        os.execve(words[0], words, environment)
    raise typer.Exit(subprocess.call(words, env=environment))


def program(name: str) -> list[str]:
    """The words that run a program by its Python. Raises TerselyError where there is none, or it has no tersely."""
    if _PYTHON.fullmatch(name):
        return [_checked(sys.executable, name)]
    beside = os.path.join(os.path.dirname(sys.executable), "")
    found = shutil.which(name, path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    if found is None and name.endswith(".py") and Path(name).is_file():
        return [_checked(sys.executable, name), name]
    if found is None:
        raise TerselyError(f"{name}: no such program in {beside} or in PATH")
    if _PYTHON.fullmatch(os.path.basename(found)):
        return [_checked(found, name)]
    if name.endswith(".py"):
        return [_checked(sys.executable, name), found]
    return [*_interpreter(found, name), found]


def _interpreter(path: str, name: str) -> list[str]:
    """The Python, with its options, that the first lines of a script name."""
    try:
        with open(path, "rb") as file:
            lines = file.read(4096).decode("utf-8", "replace").splitlines()
    except OSError as error:
        raise TerselyError(f"{path} cannot be read: {error.strerror or error}") from error
    words = shlex.split(lines[0][2:]) if lines and lines[0].startswith("#!") else []
    if words and words[0].endswith("/sh") and len(lines) > 1 and lines[1].startswith("'''exec'"):
        words = shlex.split(lines[1].removeprefix("'''exec'"))[
            :1
        ]  # how installers write a path that is long or has spaces
    if words and os.path.basename(words[0]) == "env":
        words = [word for word in words[1:] if not word.startswith("-")]
        words[:1] = filter(None, [shutil.which(words[0])]) if words else []
    if not words or not _PYTHON.fullmatch(os.path.basename(words[0])):
        raise TerselyError(
            f"{path} is not a Python program; give the command, .py file or 'python -m MODULE' that it runs"
        )
    return [_checked(words[0], name), *words[1:]]


def _checked(python: str, name: str) -> str:
    """A Python that has what the adapter needs. Raises TerselyError."""
    if os.path.abspath(python) == os.path.abspath(sys.executable):
        missing = [needed for needed in _NEEDS if importlib.util.find_spec(needed) is None]
    else:
        code = f"import importlib.util as u; print(*[n for n in {_NEEDS!r} if u.find_spec(n) is None])"
        try:
            done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
        except OSError as error:
            raise TerselyError(
                f"{name} runs with {python}, which cannot be started: {error.strerror or error}"
            ) from error
        missing = done.stdout.split() if done.returncode == 0 else list(_NEEDS)
    if missing:
        raise TerselyError(
            f"{name} runs with {python}, which has no {missing[0]}: install 'tersely[transformers]' there"
        )
    return python
