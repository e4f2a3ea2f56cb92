"""The floating-point environment that files are made and read under: rounding to nearest, subnormals kept.

Other libraries change the thread's (torch.set_flush_denormal, options of inference engines). What is stored, what a
check finds and what is decoded must not depend on that, so the entrances of `codes.registry`, `codes.parts`
and `planner.choose` run under the default one, NumPy's arithmetic included; the native module sees to itself.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from tersely.backends.cpu import native

_P = ParamSpec("_P")
_R = TypeVar("_R")


class _ByLibm:
    """Sets and restores the float environment through the C library, for the NumPy reference alone."""

    _MAX_BYTES = 256  # of any processor's fenv_t
    _DEFAULT = ctypes.c_void_p(-1)  # FE_DFL_ENV
    library: Any = ctypes.CDLL(None) if sys.platform == "linux" else None

    def __init__(self) -> None:
        self._before = ctypes.create_string_buffer(self._MAX_BYTES)

    def __enter__(self) -> None:
        self.library.fegetenv(self._before)
        self.library.fesetenv(self._DEFAULT)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.library.fesetenv(self._before)


default: Callable[[], AbstractContextManager[object]]
"""The default environment for the length of a with-block; the thread gets its own back."""
# The loaded module, and not the one that says why it may not be used: importing never fails.
default = native.loaded.DefaultFloats if native.loaded else nullcontext if _ByLibm.library is None else _ByLibm


def under_default(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """The function, run under the default environment."""

    @wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with default():
            return function(*args, **kwargs)

    return run
