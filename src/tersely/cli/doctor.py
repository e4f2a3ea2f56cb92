"""`tersely doctor`: what this machine and this installation can do, and what was chosen. It runs whatever is wrong."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from tersely import __version__
from tersely.backends.cpu import busy, isa, native, processors, threads
from tersely.cli import output
from tersely.core import environment
from tersely.core.errors import TerselyError

_WATCHED_SECONDS = 0.3
_PACKAGES = ("numpy", "ml_dtypes", "safetensors", "typer", "rich", "torch", "transformers")
_NONE = "-"


def _or_nothing(ask: Callable[[], Any]) -> Any:
    """What cannot be had is among the problems."""
    try:
        return ask()
    except TerselyError:
        return _NONE


def findings() -> dict[str, Any]:
    """Everything that doctor reports."""
    source, count = _or_nothing(threads.source_and_count), None
    if source != _NONE:
        source, count = source
    watch = busy.Watch()
    time.sleep(_WATCHED_SECONDS)
    sets = {name: isa.reason_unavailable(name) or "available" for name in isa.NAMES}
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    module = native.loaded
    return {
        "tersely": __version__,
        "python": sys.version.split()[0],
        "system": f"{platform.system()} {platform.machine()}",
        "processor": module.cpu_name() if module else platform.processor(),
        "native_module": "loaded" if module else "missing: everything runs on the slow NumPy reference",
        "instruction_sets": sets,
        "active": _or_nothing(isa.active),
        "why": f"forced by {environment.ISA}" if environment.isa() else "the fastest one available",
        "slow_gather": bool(module and module.cpu_has_slow_gather()),
        "threads": count,
        "threads_decided_by": source,
        "quota": "none" if (quota := processors.quota()) is None else f"{quota:.3g} processors (control group)",
        "busy": watch.troubles(count or 1) or "no",
        "thread_pool": module.parallel_pool_name() if module else "none",
        "versions": versions,
        "problems": environment.problems(),
        "notes": environment.unknown(),
    }


def run(
    json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Report processor features, compiled kernels, the chosen one and why, threads and their pool, versions.

    Exit code 1 where an environment variable asks for what cannot be had.
    """
    found = findings()
    if json:
        output.print_json(found)
    else:
        _print({key: value for key, value in found.items() if key not in ("problems", "notes")})
        output.notes(found["notes"])
    for problem in found["problems"]:
        output.complain(problem)
    if found["problems"]:
        raise typer.Exit(1)


def _print(found: dict[str, Any]) -> None:
    for key, value in found.items():
        title = key.replace("_", " ")
        if isinstance(value, dict):
            output.line("", title=title)
            for name, words in value.items():
                output.line(f"  {name:<12} {words}")
        else:
            said = (
                {True: "yes", False: "no", None: _NONE}.get(value, value) if isinstance(value, bool | None) else value
            )
            output.line(f": {said}", title=title)
