"""What the benchmarks of products share: options, the machine's fingerprint, where records are kept."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch  # first, so that both share its thread pool

import tersely
from tersely.backends.cpu import isa, native
from tersely.report.bench import Settings

RECORDS = Path(__file__).parent / "records"
SHAPE = (4096, 4096)


def processor() -> str:
    """Its name, and where Linux tells its family and model, these: virtual machines hide the rest of the name."""
    name: str = native.module.cpu_name().strip()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return name
    known = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return f"{name} (family {known['cpu family']}, model {known['model']})" if "cpu family" in known else name


def fingerprint() -> dict[str, Any]:
    """Machine, versions and commit."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "processors": len(os.sched_getaffinity(0)),
        "isa": isa.active(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "tersely": tersely.__version__,
        "commit": commit,
    }


def record_path(record: dict[str, Any], what: str) -> Path:
    """Where a record is kept: one for each processor, instruction set, subject and day."""
    machine = record["machine"]
    parts = (machine["processor"], machine["isa"], what, machine["date"])
    RECORDS.mkdir(exist_ok=True)
    words = ("-".join("".join(c if c.isalnum() or c == "_" else " " for c in part.lower()).split()) for part in parts)
    return RECORDS / ("_".join(words) + ".json")


def save(record: dict[str, Any], what: str, output: Path | None) -> None:
    """Write a record to `output` or its own place, and say where."""
    path = output or record_path(record, what)
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"\nrecord: {path}\n", file=sys.stderr)


def parser_of(text: str | None, seconds: float) -> argparse.ArgumentParser:
    """Options of every benchmark that compares products."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=seconds, help="for each thing that is compared")
    parser.add_argument("-o", "--output", type=Path)
    return parser


def begin(arguments: argparse.Namespace) -> tuple[Settings, dict[str, Any]]:
    """Settings by the options, threads set everywhere; and a record that says so."""
    tersely.set_num_threads(arguments.threads)
    torch.set_num_threads(arguments.threads)
    settings = Settings(threads=arguments.threads, seconds=arguments.seconds)
    facts = {
        "machine": fingerprint(),
        "threads": arguments.threads,
        "working_set_bytes": settings.working_set_bytes,
    }
    return settings, facts


def print_machine(record: dict[str, Any]) -> None:
    """The line above a table."""
    machine = record["machine"]
    print(
        f"{machine['processor']}, {record['threads']} threads, kernels {machine['isa']}, commit {machine['commit']}\n"
    )
