"""C beside a peer's Python, compiled at first use by `cc -O3` for any processor: what is faster with AVX asks for it at run time."""

from __future__ import annotations

import ctypes
import functools
import subprocess
import tempfile
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np


@functools.cache
def library(name: str) -> ctypes.CDLL:
    """The library of NAME.c in this folder. Raises ImportError where there is no compiler."""
    if which("cc") is None:
        raise ImportError("no compiler: cc is not installed")
    with tempfile.TemporaryDirectory() as folder:
        found, source = Path(folder, f"{name}.so"), Path(__file__).with_name(f"{name}.c")
        subprocess.run(["cc", "-O3", "-fopenmp-simd", "-shared", "-fPIC", "-o", found, source], check=True)
        return ctypes.CDLL(str(found))


def call(name: str, function: str, *arguments: np.ndarray | int) -> int:
    """Calls a function of NAME.c with the addresses of arrays and with integers of 64 bits; what it returns."""
    return Call(name, function, *arguments)()


class Call:
    """A call that is made ready once and made often: addresses are taken once, and the arrays are kept."""

    def __init__(self, name: str, function: str, *arguments: np.ndarray | int) -> None:
        self.function = library(name)[function]
        self.function.restype = ctypes.c_int64
        self.kept = arguments
        self.arguments: list[Any] = [
            ctypes.c_int64(one) if isinstance(one, int) else ctypes.c_void_p(one.ctypes.data) for one in arguments
        ]

    def __call__(self) -> int:
        return int(self.function(*self.arguments))
