"""Units of work, each in a process of its own: what crashes, hangs or fails there is a result like any other.

python -m benchmarks.evidence.isolate    # reads a unit as JSON from standard input, and prints what it found as JSON
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
from typing import Any

KINDS = ("sampling", "coding", "products", "running", "tokens", "mixing", "shares", "predictions", "narrow")
"""Modules of this package with a function `measure(unit)`."""
Unit = dict[str, Any]


class DisqualifiedError(Exception):
    """A rival gives another answer than it must: says which and by how much."""


def run(unit: Unit, limit_seconds: float) -> dict[str, Any]:
    """What a unit's `measure` found, or {"failed": why}: crashed, took too long, is missing, answered wrongly."""
    command = [sys.executable, "-m", "benchmarks.evidence.isolate"]
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        printed, complained = child.communicate(json.dumps(unit), timeout=limit_seconds)
    except subprocess.TimeoutExpired:
        return {"failed": f"took more than {limit_seconds:.0f} s"}
    finally:
        _end(child)
    if child.returncode < 0:
        return {"failed": f"crashed: {signal.Signals(-child.returncode).name}"}
    try:
        found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    except (IndexError, ValueError):
        last = next((line for line in reversed(complained.splitlines()) if line.strip()), "nothing was printed")
        return {"failed": f"ended with status {child.returncode}: {last.strip()[:200]}"}
    return found


def _end(child: subprocess.Popen[str]) -> None:
    """Ends the child and what it started, and waits for it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.communicate()


def _end_with_parent() -> None:
    """On Linux the kernel ends this process where the one that started it is killed, which can end nothing any more."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def main() -> None:
    _end_with_parent()
    unit = json.loads(sys.stdin.read())
    printed = os.fdopen(os.dup(1), "w")  # libraries print to standard output what belongs on the other
    os.dup2(2, 1)
    try:
        found = importlib.import_module(f"benchmarks.evidence.{unit['kind']}").measure(unit)
    except DisqualifiedError as wrong:
        found = {"failed": f"disqualified: {wrong}"}
    except ImportError as missing:
        found = {"failed": f"is not installed: {missing}"}
    except MemoryError:
        found = {"failed": "out of memory"}
    except Exception as error:
        found = {"failed": f"{type(error).__name__}: {error}"[:200]}
    print(json.dumps(found), file=printed, flush=True)


if __name__ == "__main__":
    main()
