"""A unit of mixing: the planner's choice layer by layer against every single formulation, exact bytes and measured time.

A single formulation codes every layer that it makes smaller, and leaves the others dense; of its forms each layer gets the
smallest. Products are of one row, in turns, one thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import tersely
from benchmarks import protocol
from benchmarks.evidence import networks, states
from benchmarks.protocol import Protocol
from tersely.codes.protocol import Candidate, Request
from tersely.core.dtypes import of_array, raw_bytes
from tersely.core.errors import TerselyError
from tersely.files import plan_file
from tersely.planner.profiles import resolve

PLANS = ("balanced", "size", "speed")
SMALLEST = 4096


def measure(unit: Mapping[str, Any]) -> dict[str, Any]:
    """bytes and ms by plan ("balanced", "size", "speed", and a formulation alone), layers by formulation of each plan."""
    tersely.set_num_threads(1)
    models = Path(unit["models"]) if unit["models"] else None
    whole = networks.sample(unit["network"], unit["source"], models, unit["sample_bytes"])
    named = {
        name: one.reshape(len(one), -1)
        for name, one in states.made(whole, unit["step"]).items()
        if one.ndim >= 2 and one.size >= SMALLEST
    }
    weights = list(named.values())
    layers = [_single(one) for one in weights]
    alone = sorted({name for layer in layers for name in layer})
    plans: dict[str, list[tersely.Tensor]] = {
        name: [layer.get(name, layer["dense"]) for layer in layers] for name in alone
    } | {plan: [tersely.encode(one, objective=plan) for one in weights] for plan in PLANS}  # type: ignore[arg-type]
    rng = np.random.default_rng(2)
    inputs = [rng.standard_normal((1, one.shape[1])).astype(np.float32) for one in weights]
    runs: dict[str, protocol.Run] = {
        name: lambda k, tensors=tensors: [tersely.linear(x, t) for x, t in zip(inputs, tensors, strict=True)]  # type: ignore[misc]
        for name, tensors in plans.items()
    }
    times = protocol.measure(runs, Protocol(threads=1, seconds=unit["seconds"], minimum_rounds=7))
    return {
        "layers": len(weights),
        "original_bytes": sum(one.nbytes for one in weights),
        "bytes": {name: sum(one.nbytes_stored for one in tensors) for name, tensors in plans.items()},
        "ms": times.median_ms,
        "least_ms": times.least_ms,
        "busy": times.busy,
        "formulations": {name: dict(Counter(one.formulation for one in plans[name])) for name in PLANS},
        "by_layer": [
            {"layer": name, "weights": int(one.size), "formulation": tensor.formulation, "bytes": tensor.nbytes_stored}
            for (name, one), tensor in zip(named.items(), plans["balanced"], strict=True)
        ],
    }


def _single(array: np.ndarray) -> dict[str, tersely.Tensor]:
    """The smallest form of each formulation that makes the tensor smaller, and dense."""
    target = resolve("native")
    words = raw_bytes(array).view(of_array(array).word).reshape(array.shape)
    request = Request(words, of_array(array).name, "out_in", "size", target.machine, 1, "", 1, target.costs)
    smallest: dict[str, Candidate] = {}
    for one, _ in plan_file.every_candidate(request):
        name = one.node.formulation
        if name not in smallest or one.nbytes < smallest[name].nbytes:
            smallest[name] = one
    found = {"dense": tersely.encode(array, formulation="dense")}
    for name, one in smallest.items():
        if name == "dense" or one.nbytes >= array.nbytes:
            continue
        try:
            found[name] = tersely.encode(array, formulation=name, **one.options)
        except TerselyError:
            continue  # a form that only a planner gives
    return found
