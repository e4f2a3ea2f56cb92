"""`laconic doctor`: what this machine and this installation can do, and what was chosen."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import time
from typing import Annotated, Any

import typer

from laconic import __version__, busy, isa, native, processors, threads
from laconic.cli import output

_WATCHED_SECONDS = 0.3
_PACKAGES = ("numpy", "ml_dtypes", "safetensors", "typer", "rich", "torch")


def findings() -> dict[str, Any]:
    """Everything that doctor reports."""
    source, count = threads.source_and_count()
    watch = busy.Watch()
    time.sleep(_WATCHED_SECONDS)
    sets = {name: isa.why_not(name) or "available" for name in isa.NAMES}
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    module = native.module
    return {
        "laconic": __version__,
        "python": sys.version.split()[0],
        "system": f"{platform.system()} {platform.machine()}",
        "processor": module.cpu_name() if module else platform.processor(),
        "native_module": "loaded" if module else "missing: everything runs on the slow NumPy reference",
        "instruction_sets": sets,
        "active": isa.active(),
        "why": "forced by LACONIC_ISA" if os.environ.get("LACONIC_ISA") else "the fastest one available",
        "slow_gather": bool(module and module.cpu_has_slow_gather()),
        "threads": count,
        "threads_decided_by": source,
        "quota": "none" if (quota := processors.quota()) is None else f"{quota:.3g} processors (control group)",
        "busy": watch.troubles(count) or "no",
        "thread_pool": module.parallel_pool_name() if module else "none",
        "versions": versions,
    }


def run(
    json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Report processor features, compiled kernels, the chosen one and why, threads and their pool, versions."""
    found = findings()
    if json:
        output.print_json(found)
        return
    for key, value in found.items():
        title = key.replace("_", " ")
        if isinstance(value, dict):
            output.console.print(f"[bold]{title}[/bold]")
            for name, text in value.items():
                output.console.print(f"  {name:<12} {text}", highlight=False, soft_wrap=True)
        else:
            output.console.print(f"[bold]{title}[/bold]: {value}", highlight=False, soft_wrap=True)
