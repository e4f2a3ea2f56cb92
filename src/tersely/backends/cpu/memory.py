"""How much memory this process may have: the machine's, or less where a control group says so."""

from __future__ import annotations

import contextlib
import os
import sys
from functools import cache

from tersely.backends.cpu.processors import groups


@cache
def limit_bytes() -> int:
    """Bytes, as they were when first asked for; more than anybody has where the system does not say."""
    found = [sys.maxsize]
    with contextlib.suppress(AttributeError, ValueError, OSError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    if sys.platform == "linux":
        for group in groups():
            # Of version 1, groups of memory are a tree of their own, which lies beside that of processors.
            folder = group.folder if group.version == 2 else group.folder.parent / "memory"
            name = "memory.max" if group.version == 2 else "memory.limit_in_bytes"
            try:
                found.append(int((folder / name).read_text()))
            except (OSError, ValueError):  # "max", or none
                continue
    return min(one for one in found if one > 0)
