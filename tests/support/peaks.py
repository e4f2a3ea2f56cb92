"""The most memory that a piece of Python needed, measured in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536"}
"""glibc moves this threshold up to the largest block that was freed, 32 MB at most, and keeps what lies below it in its
heaps: by luck of threads and order, peaks differ by 50 MB with the same blocks held. With a fixed one, what is freed is
gone, and a peak is what was held at once."""


def peak_bytes(code: str, kept: str = "0") -> int:
    """Most resident bytes of a process of its own that ran `code`, less the bytes that expression `kept` has at the end.

    Linux only, and not under sanitizers, which keep what is freed: mark such tests `peaks`.
    """
    report = (
        "\nprint(int(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
        f" * 1024 - ({kept}))\n"
    )
    environment = os.environ | _ALLOCATOR
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, check=True, env=environment)
    return int(done.stdout.split()[-1])
