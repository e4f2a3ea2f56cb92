"""The environment variables that tersely obeys: each is read and checked here and nowhere else.

    TERSELY_NATIVE        0: the NumPy reference instead of the native module
    TERSELY_ISA           the instruction set that kernels use (`tersely.isa`)
    TERSELY_NUM_THREADS   how many workers there are (`tersely.backends.cpu.threads`)

One that is set to nothing counts as not set. A value that cannot be obeyed is never passed over: whatever needs it
raises ArgumentError, commands refuse to begin, and `tersely doctor` reports it. Nothing is raised by an import.
"""

from __future__ import annotations

import difflib
import os
from typing import Any

from tersely.core.errors import ArgumentError

NATIVE, ISA, THREADS = "TERSELY_NATIVE", "TERSELY_ISA", "TERSELY_NUM_THREADS"
VARIABLES = (NATIVE, ISA, THREADS)
_OF_TESTS = ("TERSELY_TEST_", "TERSELY_EMULATE", "TERSELY_BROWSER")
_unobeyed: list[str] = []
"""What turned out, as the native module was loaded, not to be had."""


def native() -> bool:
    """Whether the native module is wanted; what is neither 0 nor 1 is among the `problems`."""
    return os.environ.get(NATIVE, "") != "0"


def isa() -> str:
    """The instruction set that is asked for, '' for none. Whether it can be had, the native module knows."""
    return os.environ.get(ISA, "")


def threads() -> int | None:
    """The number of workers that is asked for, None for none. Raises ArgumentError."""
    text = os.environ.get(THREADS, "")
    if problem := _threads_problem(text):
        raise ArgumentError(problem)
    return int(text) if text else None


def _threads_problem(text: str) -> str:
    if not text:
        return ""
    if not (text.strip().isdecimal() and text.strip().isascii()):
        return f"{THREADS} must be an integer number of threads, not {text!r}: set another, or unset it"
    return "" if 0 < int(text) < 1 << 15 else f"{THREADS} must be from 1 to 32767, not {text}: set another, or unset it"


def problem_of_native() -> str:
    """What is wrong with the wish for or against the native module; ''."""
    text = os.environ.get(NATIVE, "")
    return "" if text in ("", "0", "1") else f"{NATIVE} must be 0 or 1, not {text!r}: set another, or unset it"


def unobeyed(problem: str) -> Refused:
    """Note what cannot be had; returns what stands for the native module then."""
    _unobeyed.append(problem)
    return Refused(problem)


def obeyed() -> None:
    """Another choice was made by the program: what could not be had does not matter any more."""
    _unobeyed.clear()


def problems() -> list[str]:
    """A sentence for each variable that cannot be obeyed."""
    return [
        found for found in (problem_of_native(), *_unobeyed, _threads_problem(os.environ.get(THREADS, ""))) if found
    ]


def unknown() -> list[str]:
    """A sentence for each variable that looks like one of ours and is none."""
    found = []
    for name in sorted(os.environ):
        if name.startswith("TERSELY_") and name not in VARIABLES and not name.startswith(_OF_TESTS):
            near = difflib.get_close_matches(name, VARIABLES, 1)
            found.append(f"{name} is no variable of tersely" + (f"; is {near[0]} meant?" if near else ""))
    return found


def check() -> None:
    """Raises ArgumentError where a variable cannot be obeyed."""
    if found := problems():
        raise ArgumentError("; ".join(found))


class Refused:
    """Stands for the native module where the environment asks for what cannot be had: whatever is called raises."""

    def __init__(self, problem: str) -> None:
        self._problem = problem

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ArgumentError(self._problem)
