"""Records: what was measured, as JSON that says machine, versions and commit, a file for each kind and machine."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.protocol import Protocol
from tersely.backends.cpu import isa, native

RECORDS = Path(__file__).parent / "records"
PACKAGES = (
    "tersely",
    "numpy",
    "torch",
    "transformers",
    "onnxruntime",
    "openvino",
    "MNN",
    "zstandard",
    "zipnn",
    "pcodec",
    "brotli",
    "openzl",
    "nncodec",
    "scipy",
    "llama-cpp-python",
)
MODELS = {
    ("AuthenticAMD", 25, 1): "Zen 3",
    ("AuthenticAMD", 25, 17): "Zen 4",
    ("AuthenticAMD", 26, 2): "Zen 5",
    ("GenuineIntel", 6, 106): "Ice Lake",
    ("GenuineIntel", 6, 143): "Sapphire Rapids",
    ("GenuineIntel", 6, 207): "Emerald Rapids",
}
"""What processors are called whose name a virtual machine hides, by vendor, family and model."""

Record = dict[str, Any]


def processor() -> dict[str, Any]:
    """Its name, and where Linux tells vendor, family and model, what such a one is called."""
    name: str = native.module.cpu_name().strip()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return {"processor": name, "model": name}
    known = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    try:
        key = known["vendor_id"], int(known["cpu family"]), int(known["model"])
    except (KeyError, ValueError):
        return {"processor": name, "model": name}
    return {"processor": name, "model": MODELS.get(key, "{} family {} model {}".format(*key))}


def fingerprint(active: str | None = None) -> dict[str, Any]:
    """Machine, versions and commit of what is measured here and now."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    commit = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    machine = {**processor(), "processors": len(_affinity()), "isa": active or isa.active()}
    return {"machine": machine, "commit": commit, "versions": versions}


def _affinity() -> set[int]:
    import os

    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def new(kind: str, protocol: Protocol) -> Record:
    """A record without anything measured: what is added is written by `save`."""
    return {"kind": kind, **fingerprint(), "protocol": protocol.facts()}


def path_of(record: Record) -> Path:
    """Where a record is kept. The newest of a kind and machine replaces the one before."""
    machine = record["machine"]
    words = (machine["model"], machine["isa"], record["kind"])
    return RECORDS / ("_".join("-".join(word.lower().split()) for word in words) + ".json")


def save(record: Record, output: Path | None, quiet: bool = False) -> None:
    """Write a record to `output` or its own place, whole or not at all. quiet: without a line that says where."""
    path = output or path_of(record)
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(record, indent=1) + "\n")
    partial.replace(path)
    if not quiet:
        print(f"record: {path}", file=sys.stderr)


def of_kind(kind: str) -> list[tuple[Path, Record]]:
    """Every record of a kind, by the order of their names."""
    found = [(path, json.loads(path.read_text())) for path in sorted(RECORDS.glob(f"*_{kind}.json"))]
    return [(path, record) for path, record in found if record["kind"] == kind]


def headline(record: Record) -> str:
    """Machine, threads, commit and versions, for the line above a table."""
    machine, versions = record["machine"], record["versions"]
    named = ", ".join(f"{name} {versions[name]}" for name in versions if name not in ("python", "tersely", "numpy"))
    return (
        f"{machine['model']}, {record['protocol']['threads']} threads, kernels {machine['isa']}, commit {record['commit']}"
        + (f", {named}" if named else "")
    )
