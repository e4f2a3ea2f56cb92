"""How a command ends that cannot go on: one line on standard error and an exit code; with --debug the traceback.

    0 done    1 refused or failed    2 wrong usage    130 interrupted    143 asked to end    129 the terminal is gone

SIGTERM and SIGHUP end a command as an interruption does: what it has half written is removed first.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from tersely.cli import text
from tersely.core import environment
from tersely.core.errors import TerselyError

_MAX_CHARACTERS = 1000
_ARGUMENTS = (
    "against|all_files|batch|dry_run|exclude|force|include|level|objective|plan|profile|shapes|store|target_bits|threads|"
    "trust_remote_code"
)
_ARGUMENT = re.compile(rf"`({_ARGUMENTS})(?:=([^`]*))?`")
"""An argument as messages of the Python package have it: `dry_run`, `force=True`, `store='smallest'`."""
_OTHERWISE = {"shapes": "shape"}
"""Arguments whose flags have another name."""
_debug = False

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


class Stopped(SystemExit):
    """A signal asked the process to end. code: 128 and its number, as shells have it."""


def _flag(found: re.Match[str]) -> str:
    name, value = found[1], found[2]
    flag = f"--{_OTHERWISE.get(name, name).replace('_', '-')}"
    return flag if value in (None, "True") else f"{flag} {value.strip(chr(39))}"


def with_flags(message: str) -> str:
    """A message of the Python package as the command line has it: its arguments as the flags they are here."""
    return _ARGUMENT.sub(_flag, message)


def debug(wanted: bool) -> None:
    """Have `main` show the traceback of what ends the command."""
    global _debug
    _debug = _debug or wanted


def command(run: Callable[..., None]) -> Callable[..., None]:
    """A command with --debug as its last option, which begins where the environment can be obeyed."""

    @functools.wraps(run)
    def checked(*given: Any, debug: bool = False, **options: Any) -> None:
        globals()["debug"](debug)
        if not run.__module__.endswith(".doctor"):
            environment.check()
        run(*given, **options)

    hints = get_type_hints(run, include_extras=True)
    given = [one.replace(annotation=hints[name]) for name, one in inspect.signature(run).parameters.items()]
    last = inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Debug)
    checked.__signature__ = inspect.Signature([*given, last])  # type: ignore[attr-defined]
    checked.__annotations__ = {**hints, "debug": Debug}
    return checked


def main(app: typer.Typer) -> None:
    """Run the command line and end the process."""
    for stream in (sys.stdout, sys.stderr):  # what an encoding lacks stands as an escape
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    _obey_signals()
    try:
        app(prog_name="tersely")
    except Stopped as stopped:
        _end(f"ended by {signal.Signals(int(stopped.code) - 128).name}: nothing half written was kept", stopped.code)  # type: ignore[arg-type]
    except KeyboardInterrupt:
        _end("interrupted: nothing half written was kept", 130)
    except TerselyError as error:
        _fail(text.one_line(with_flags(str(error))))
    except BrokenPipeError:
        _leave_pipe()
    except MemoryError as error:
        _fail(text.one_line(f"memory is not enough: {error}" if str(error) else "memory is not enough"))
    except Exception as error:
        _fail(foreign(error))


def foreign(error: BaseException) -> str:
    """One line for an error of another library, or of the system."""
    said = text.one_line(error)
    said = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return text.shortened(said, _MAX_CHARACTERS) + ("" if isinstance(error, OSError) else " (--debug shows where)")


def _fail(message: str) -> None:
    if _debug:
        with contextlib.suppress(OSError):
            traceback.print_exc()
    _end(message, 1)


def _end(message: str, code: int) -> None:
    with contextlib.suppress(OSError):
        print(f"tersely: {message}", file=sys.stderr, flush=True)
    sys.exit(code)


def _leave_pipe() -> None:
    """Nobody reads on: no complaint, and none by the interpreter when it flushes."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the process ends
    sys.exit(1)


def _obey_signals() -> None:
    if threading.current_thread() is not threading.main_thread():
        return

    def stop(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # what is being removed now is removed whole
        raise Stopped(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # `nohup` has SIGHUP ignored
            signal.signal(number, stop)
