"""A unit of sampling: the tensors of a row, written once to a file that every coder of the row reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import variants
from benchmarks.evidence import networks, states


def measure(unit: Mapping[str, Any]) -> dict[str, Any]:
    """Write unit["file"]."""
    models = Path(unit["models"]) if unit["models"] else None
    whole = networks.sample(unit["network"], unit["source"], models, unit["sample_bytes"])
    Path(unit["file"]).write_bytes(variants.write(states.made(whole, unit["step"])))
    return {}
