"""A unit of running: one network in one state and batch on every engine, in turns, answers compared first.

Ours are pipelines under `speed` and `balanced`, and one whose weights stay dense. Networks are those of
benchmarks.networks; of int8 ones, benchmarks.networks_int8.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import networks, networks_int8
from benchmarks.evidence import states
from benchmarks.protocol import Protocol
from tersely.backends.cpu import isa


def measure(unit: Mapping[str, Any]) -> dict[str, Any]:
    """As rows of benchmarks.networks: ms, least_ms, error, smaller by engine; left_out says who is not there and why."""
    plan = Protocol(threads=unit["threads"], seconds=unit["seconds"], tries=unit["tries"])
    torch.set_num_threads(plan.threads)
    with contextlib.redirect_stdout(sys.stderr):
        if unit["step"]["kind"] == "int8":
            with tempfile.TemporaryDirectory() as folder:
                path = networks_int8.quantised(unit["network"], Path(folder))
                return networks_int8.row(unit["network"], path, unit["batch"], plan, [isa.active()])
        found = networks.row(
            unit["network"], unit["batch"], plan, unit["without"], dtype=unit["dtype"],
            change=lambda model: change(model, unit["step"]), dense=True,
        )  # fmt: skip
        if unit["cold"]:
            found |= networks.cold_row(unit["network"], unit["batch"], plan, unit["without"])
    return found


def change(model: torch.nn.Module, step: Mapping[str, Any]) -> None:
    """Bring the weights of convolutions and linear layers into a state, but not the first layer's."""
    if step["kind"] in ("none", "cast"):
        return
    layers = [one for one in model.modules() if isinstance(one, torch.nn.Conv2d | torch.nn.Linear)]
    with torch.no_grad():
        for layer in layers[1:]:
            weight = layer.weight.numpy()
            made = states.made({"": np.ascontiguousarray(weight.reshape(len(weight), -1))}, step)
            layer.weight.copy_(torch.from_numpy(made[""].reshape(weight.shape)))
