"""How many workers the kernels use, and who decided.

The first that is set counts: the argument `threads=`, `set_num_threads`, TERSELY_NUM_THREADS, torch's own number
(where torch is already imported), the processors this process may run on. The last two, which nobody chose, are limited
by the quota of the process's control groups (`tersely.backends.cpu.processors`).
"""

from __future__ import annotations

import operator
import os
import sys
from typing import Any

from tersely.backends.cpu import processors
from tersely.core import environment
from tersely.core.errors import ArgumentError

_chosen: int | None = None


def _positive(value: Any, source: str) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        count = operator.index(value)
    except (TypeError, ValueError):
        raise ArgumentError(f"{source} must be an integer number of threads, not {value!r}") from None
    if count < 1:
        raise ArgumentError(f"{source} must be at least 1, not {count}")
    return count


def set_num_threads(count: int) -> None:
    """Has kernels use `count` workers from now on.

    Args:
        count: workers, at least 1.

    Raises:
        ArgumentError: below 1, and for what is no integer.
    """
    global _chosen
    _chosen = _positive(count, "the number of threads")


def source_and_count() -> tuple[str, int]:
    """Who decides the number of workers, and the number."""
    if _chosen is not None:
        return "set_num_threads", _chosen
    if (asked := environment.threads()) is not None:
        return environment.THREADS, asked
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):
        source, count = "torch.get_num_threads()", int(torch.get_num_threads())
    else:
        source, count = "processors of this process", processors.allowed()
    limit = _find_limit()
    if count > limit:
        return f"quota of {processors.quota():.3g} processors (control group)", limit
    return source, count


_limit = 0  # kept here because the shortest way asks for it


def _find_limit() -> int:
    global _limit
    _limit = processors.max_threads()
    return _limit


_raw_environment: Any = getattr(os.environ, "_data", None) or os.environ
_raw_variable: Any = os.fsencode(environment.THREADS) if _raw_environment is not os.environ else environment.THREADS


def get_num_threads() -> int:
    """Returns the number of workers that the next call will use.

    Raises:
        ArgumentError: where TERSELY_NUM_THREADS is no positive integer.
    """
    # Every product asks, so this looks no further than it must.
    if _chosen is not None:
        return _chosen
    if _raw_variable not in _raw_environment:
        torch = sys.modules.get("torch")
        if torch is not None:
            try:
                count: int = torch.get_num_threads()
                limit = _limit or _find_limit()
                return count if count <= limit else limit
            except AttributeError:  # still being imported
                pass
    return source_and_count()[1]


def workers_of(threads: int | None) -> int:
    """Returns how many workers a caller's `threads` means, None for `get_num_threads()`. Raises ArgumentError."""
    return get_num_threads() if threads is None else _positive(threads, "threads")
