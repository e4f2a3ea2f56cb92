"""zpaq at method 5, the command of that name, on a file of the array's bytes; one thread.

An archive holds tables of its own beside the data, about 1,000 bytes. Raises TimeoutExpired after LIMIT_SECONDS.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np

from benchmarks.peers import Stored

LIMIT_SECONDS = 1800


def version() -> str:
    command = which("zpaq")
    if command is None:
        raise ImportError("the command zpaq is not installed")
    said = subprocess.run([command], capture_output=True, text=True).stdout.split()
    return said[1].removeprefix("v") if len(said) > 1 else "unknown"


def _run(folder: str, *words: str) -> None:
    command = ["zpaq", *words, "-threads", "1"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=LIMIT_SECONDS)


def encode(array: np.ndarray) -> Stored:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "a").write_bytes(array.tobytes())
        _run(folder, "add", "a.zpaq", "a", "-method", "5")
        found = Path(folder, "a.zpaq").read_bytes()
    return Stored(found, len(found), array.shape, array.dtype)


def decode(stored: Stored) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "a.zpaq").write_bytes(stored.data)
        _run(folder, "extract", "a.zpaq")
        return Path(folder, "a").read_bytes()


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    return None
