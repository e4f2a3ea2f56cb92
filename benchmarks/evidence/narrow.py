"""A unit of narrow: a network on every engine that can be held to AVX2 (`benchmarks.peers.held`), in turns, as most machines
would run it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def measure(unit: Mapping[str, Any]) -> dict[str, Any]:
    """As units of running. Raises ValueError, with the last line of what benchmarks.networks said, where that fails."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "record.json")
        command = [
            sys.executable, "-m", "benchmarks.networks", "--isa", "avx2", "--dense", "--networks", unit["network"],
            "--batches", str(unit["batch"]), "--threads", str(unit["threads"]), "--seconds", str(unit["seconds"]),
            "-o", str(path),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines() or [f"status {done.returncode}"]
            raise ValueError(said[-1])
        (found,) = json.loads(path.read_text())["rows"]
    return {key: found[key] for key in ("ms", "least_ms", "busy", "error", "smaller", "weight_bytes", "left_out")}
