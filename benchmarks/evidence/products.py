"""A unit of products: the largest matrix of a network's sample by one row, from every form that has a product.

All take turns in one process, one thread, and the second of two products counts; answers are compared first, and who differs is named and left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import tersely
from benchmarks import peers, protocol
from benchmarks.evidence import networks, states
from benchmarks.evidence.coding import RUNNABLE, largest_matrix
from benchmarks.protocol import Protocol, Took

BOUND = 1e-3
"""Of the largest answer: another order of float32 sums."""


def measure(unit: Mapping[str, Any]) -> dict[str, Any]:
    """shape, dtype, bytes and ms by coder, "dense" among them; left_out says who is not there and why."""
    plan = Protocol(threads=1, seconds=unit["seconds"], minimum_rounds=7, working_set_bytes=0)
    tersely.set_num_threads(1)
    models = Path(unit["models"]) if unit["models"] else None
    whole = networks.sample(unit["network"], unit["source"], models, unit["sample_bytes"])
    matrix = largest_matrix(states.made(whole, unit["step"]))
    if matrix is None:
        return {"failed": "the network has no matrix"}
    x = np.random.default_rng(1).standard_normal((1, matrix.shape[1])).astype(np.float32)
    if matrix.dtype.name == "bfloat16":  # torch multiplies bfloat16 by nothing else
        x = x.astype(matrix.dtype).astype(np.float32)
    expected = x.astype(np.float64) @ matrix.astype(np.float64).T
    runs: dict[str, Callable[[], Any]] = {"dense": _dense(matrix, x)}
    nbytes, left_out = {"dense": matrix.nbytes}, {}
    for name, objective in RUNNABLE.items():
        tensor = tersely.encode(matrix, objective=objective)  # type: ignore[arg-type]
        runs[name], nbytes[name] = (lambda t=tensor: tersely.linear(x, t)), tensor.nbytes_stored  # type: ignore[misc]
    for name, peer in peers.installed(tuple(unit["coders"]), left_out).items():
        if not peers.takes(peer, matrix):
            left_out[name] = "does not take the matrix"
            continue
        try:
            stored = peer.encode(matrix.copy())
            product = peer.product(stored, x)
        except Exception as error:  # a rival that fails is a row of the record
            left_out[name] = f"{type(error).__name__}: {error}"[:200]
            continue
        if product is not None:
            runs[name], nbytes[name] = product, stored.nbytes
    scale = float(np.abs(expected).max()) or 1.0
    for name in list(runs):
        error = float(np.abs(_array(runs[name]()) - expected).max()) / scale
        if not error <= (BOUND if matrix.dtype.name != "bfloat16" else 2e-2):
            left_out[name] = f"disqualified: its product differs by {error:.1e} of the largest"
            del runs[name]
    times = protocol.measure({name: _again(run) for name, run in runs.items()}, plan)
    return {
        "shape": list(matrix.shape), "dtype": matrix.dtype.name, "bytes": nbytes, "ms": times.median_ms,
        "least_ms": times.least_ms, "busy": times.busy, "left_out": left_out,
    }  # fmt: skip


def _again(run: Callable[[], Any]) -> protocol.Run:
    """The second of two products: a run of another coder may have left nothing of ours in any cache, code included."""

    def timed(number: int) -> Took:
        run()
        begin = perf_counter()
        run()
        return Took(1e3 * (perf_counter() - begin))

    return timed


def _dense(matrix: np.ndarray, x: np.ndarray) -> Callable[[], Any]:
    """The faster of torch's product and our own of dense weights."""
    dense = tersely.encode(matrix, formulation="dense")
    choices: list[Callable[[], Any]] = [lambda: tersely.linear(x, dense)]
    if torch_linear := peers.installed(("torch_linear",)).get("torch_linear"):
        import torch

        torch.set_num_threads(1)
        narrow = x.astype(matrix.dtype) if matrix.dtype.name == "bfloat16" else x
        if (other := torch_linear.product(torch_linear.encode(matrix), narrow)) is not None:
            choices.append(other)

    def least(run: Callable[[], Any]) -> float:
        spent = []
        for _ in range(9):
            start = perf_counter()
            run()
            spent.append(perf_counter() - start)
        return min(spent)

    return min(choices, key=least)


def _array(answer: Any) -> np.ndarray:
    if hasattr(answer, "float"):
        answer = answer.float().numpy()
    return np.asarray(answer, np.float64).reshape(1, -1)
