"""Floating-point environments that other libraries leave a thread in, set for the length of a with-block."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

FLUSHING = 0x8040  # results and operands
ROUNDING = {"down": 0x2000, "up": 0x4000, "to zero": 0x6000}
CONTROLS = {"flushing": FLUSHING, **ROUNDING, "flushing, up": FLUSHING | ROUNDING["up"]}
"""Bits of MXCSR by name."""
_PLACE = 28  # of MXCSR in glibc's fenv_t of x86-64

needs_mxcsr = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc",
    reason="the environment is set by its place in glibc's fenv_t of x86-64",
)


def control() -> int:
    """The bits of this thread's MXCSR that say how to compute."""
    held = ctypes.create_string_buffer(64)
    ctypes.CDLL(None).fegetenv(held)
    return int.from_bytes(held[_PLACE : _PLACE + 4], "little") & ~0x3F


@contextmanager
def environment(name: str) -> Iterator[None]:
    """Fails where NumPy's arithmetic does not obey: then a test would show nothing."""
    library = ctypes.CDLL(None)
    before, held = ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)
    library.fegetenv(before)
    library.fegetenv(held)
    word = int.from_bytes(held[_PLACE : _PLACE + 4], "little") | CONTROLS[name]
    held[_PLACE : _PLACE + 4] = word.to_bytes(4, "little")
    library.fesetenv(held)
    try:
        least, one = np.full(64, 1e-40, np.float32), np.ones(64, np.float32)
        obeyed = not (least * one).any() if CONTROLS[name] & FLUSHING else _rounds(one) == name
        assert obeyed, f"NumPy computes as always under {name!r}"
        yield
        assert control() == word & ~0x3F, "the environment was not given back"
    finally:
        library.fesetenv(before)


def _rounds(one: np.ndarray) -> str:
    up, down = (one / np.float32(3))[0], (-one / np.float32(3))[0]
    nearest = np.float32(11184811 / 2**25)  # above a third
    if up != nearest:
        return "to zero" if -down == up else "down"
    return "nearest" if -down == up else "up"
