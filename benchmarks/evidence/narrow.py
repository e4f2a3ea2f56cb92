"""A unit of narrow: a network as processors without AVX-512 run it, under `balanced` and with dense weights, in turns.

Rivals are not there: each of them chooses its own instructions, and not all can be told to do without AVX-512.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

import tersely.torch
from benchmarks import engines, networks, protocol
from benchmarks.protocol import Protocol

ISA = "avx2"


def measure(unit: Mapping[str, Any]) -> dict[str, Any]:
    """isa; smaller: what `balanced` makes of the weights; ms, least_ms by plan; error: of the largest answer."""
    tersely.isa.use(ISA)  # before anything is planned
    plan = Protocol(threads=unit["threads"], seconds=unit["seconds"], tries=unit["tries"])
    tersely.set_num_threads(plan.threads)
    torch.set_num_threads(plan.threads)
    model, inputs = networks.prepared(unit["network"]), networks.inputs_of(unit["network"], 1)
    with torch.inference_mode():
        expected = engines.first(model(*inputs)).numpy()
    pipe = tersely.torch.pipeline(model, inputs, objective="balanced")
    plain, held = pipe.weight_bytes
    runs = {
        "tersely balanced": engines.torch_eager(pipe, inputs, plan.threads),
        "tersely dense": engines.torch_eager(engines.uncoded(model, inputs), inputs, plan.threads),
    }
    scale = np.abs(expected).max()
    error = {name: float(np.abs(run() - expected).max() / scale) for name, run in runs.items()}
    for name, value in error.items():
        if not value < networks.BOUND:
            raise ValueError(f"{name} answers otherwise than PyTorch, by {value:.1e} of the largest")
    times = protocol.measure({name: networks.alone(run, plan) for name, run in runs.items()}, plan)
    return {
        "isa": ISA, "smaller": plain / held, "ms": times.median_ms, "least_ms": times.least_ms, "busy": times.busy,
        "error": error,
    }  # fmt: skip
