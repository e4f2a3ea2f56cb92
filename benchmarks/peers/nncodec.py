"""NNCodec, the reference software of the standard NNC (DeepCABAC), on integers, which it codes without loss; one thread.

It never codes floats without loss, so it takes none. Only its coder is imported: the package as a whole wants data sets
and training beside it. Rows that hold zeros only may be skipped, and parameters of the coder are optimised.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.peers import Stored

NAME = "w.weight"
TAKES = ("int8", "uint8", "int16", "uint16", "int32")


def version() -> str:
    _coder()
    return importlib.metadata.version("nncodec")


@functools.cache
def _coder() -> Any:
    spec = find_spec("nncodec")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("nncodec is not installed")
    package, framework = ModuleType("nncodec"), ModuleType("nncodec.framework")
    package.__path__ = list(spec.submodule_search_locations)
    for name in ("tensorflow_model", "pytorch_model", "use_case_init"):
        setattr(framework, name, ModuleType(name))
    sys.modules |= {"nncodec": package, "nncodec.framework": framework}
    return importlib.import_module("nncodec.nnc")


def encode(array: np.ndarray) -> Stored:
    # Its zero is the likeliest value: of unsigned ones, which lie around a zero point, the most frequent one is taken off.
    middle = int(np.bincount(array.reshape(-1)).argmax()) if array.dtype.kind == "u" and array.size else 0
    values = {NAME: np.ascontiguousarray(array, np.int32) - np.int32(middle)}
    found = _coder().compress(
        values, bitstream_path=os.devnull, use_dq=False, row_skipping=True, return_bitstream=True, verbose=False
    )
    return Stored((bytes(found), middle), len(found), array.shape, array.dtype)


def decode(stored: Stored) -> Any:
    coded, middle = stored.data
    return (_coder().decompress(bytearray(coded), verbose=False)[NAME] + np.int32(middle)).astype(stored.dtype)


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    return None
