"""A unit of tokens: the Llama shape in bfloat16, a token after a prompt of 32 on every engine, in turns (benchmarks.models)."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import tersely
from benchmarks import models
from benchmarks.protocol import Protocol

PLANS = ["balanced", "size"]


def measure(unit: Mapping[str, Any]) -> dict[str, Any]:
    """ms and bytes by plan, "dense" is PyTorch's; file_bytes by plan."""
    plan = Protocol(threads=unit["threads"], seconds=unit["seconds"])
    torch.set_num_threads(plan.threads)
    tersely.set_num_threads(plan.threads)
    with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        models.make_folder(models.shape_of(unit["hidden"], unit["layers"]), work / "dense")
        for name in PLANS:
            tersely.compress(work / "dense", work / name, objective=name, profile="native")  # type: ignore[arg-type]
        files = {
            name: sum(path.stat().st_size for path in (work / name).glob("*.safetensors")) for name in ("dense", *PLANS)
        }
        return models.token_row(work, PLANS, plan, unit["tokens"]) | {"file_bytes": files}
