"""A unit of products: the largest matrix of a network's sample by one row, from every form that has a product.

All take turns in one process, one thread. Each has as many copies as make dense ones larger than the caches, and takes the
next one each time; the second of two products counts. Answers are compared first, and who differs is named and left out.
"""

from __future__ import annotations

import copy
import itertools
import statistics
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import tersely
from benchmarks import peers, protocol
from benchmarks.evidence import networks, states
from benchmarks.evidence.coding import RUNNABLE, largest_matrix
from benchmarks.protocol import Protocol, Took

Product = Callable[[], Any]
WHOLE_ROWS = 64
BOUND = 1e-3
"""Of the largest answer: another order of float32 sums."""


def measure(unit: Mapping[str, Any]) -> dict[str, Any]:
    """shape, dtype, copies, bytes and ms by coder, "dense" among them; left_out says who is not there and why."""
    plan = Protocol(threads=1, seconds=unit["seconds"], minimum_rounds=7, working_set_bytes=unit["working_set_bytes"])
    tersely.set_num_threads(1)
    models = Path(unit["models"]) if unit["models"] else None
    whole = networks.sample(unit["network"], unit["source"], models, unit["sample_bytes"])
    matrix = largest_matrix(states.made(whole, unit["step"]))
    if matrix is None:
        return {"failed": "the network has no matrix"}
    if len(matrix) > WHOLE_ROWS:  # as layers have them: a part of one has any number
        matrix = np.ascontiguousarray(matrix[: len(matrix) // WHOLE_ROWS * WHOLE_ROWS])
    x = np.random.default_rng(1).standard_normal((1, matrix.shape[1])).astype(np.float32)
    if matrix.dtype.name == "bfloat16":  # torch multiplies bfloat16 by nothing else
        x = x.astype(matrix.dtype).astype(np.float32)
    expected = x.astype(np.float64) @ matrix.astype(np.float64).T
    count = plan.copies(matrix.nbytes)
    runs: dict[str, list[Product]] = {"dense": _dense(matrix, x, count)}
    nbytes, left_out = {"dense": matrix.nbytes}, {}
    for name, objective in RUNNABLE.items():
        tensor = tersely.encode(matrix, objective=objective)  # type: ignore[arg-type]
        runs[name], nbytes[name] = _ours(tensor, x, count), tensor.nbytes_stored
    for name, peer in peers.installed(tuple(unit["coders"]), left_out).items():
        if not peers.takes(peer, matrix):
            left_out[name] = "does not take the matrix"
            continue
        try:
            stored = peer.encode(matrix.copy())
            first = peer.product(stored, x)
            products = [first, *(peer.product(_copy(stored), x) for _ in range(count - 1))] if first else []
        except Exception as error:  # a rival that fails is a row of the record
            left_out[name] = f"{type(error).__name__}: {error}"[:200]
            continue
        if products:
            runs[name], nbytes[name] = products, stored.nbytes  # type: ignore[assignment]
    scale = float(np.abs(expected).max()) or 1.0
    for name in list(runs):
        error = float(np.abs(_array(runs[name][-1]()) - expected).max()) / scale
        if not error <= (BOUND if matrix.dtype.name != "bfloat16" else 2e-2):
            left_out[name] = f"disqualified: its product differs by {error:.1e} of the largest"
            del runs[name]
    for product in itertools.chain.from_iterable(runs.values()):
        product()  # what is opened or made at the first call is no product
    times = protocol.measure({name: _again(run) for name, run in runs.items()}, plan)
    return {
        "shape": list(matrix.shape), "dtype": matrix.dtype.name, "copies": count, "bytes": nbytes, "ms": times.median_ms,
        "least_ms": times.least_ms, "busy": times.busy, "left_out": left_out,
    }  # fmt: skip


def _again(products: list[Product]) -> protocol.Run:
    """The second of two products: a run of another coder may have left nothing of this one's code in any cache."""
    turn = itertools.cycle(products)

    def timed(number: int) -> Took:
        next(turn)()
        run = next(turn)
        begin = perf_counter()
        run()
        return Took(1e3 * (perf_counter() - begin))

    return timed


def _copy(stored: peers.Stored) -> peers.Stored:
    """The same in memory of its own. Tensors of torch are cloned: sparse ones cannot be copied in any other way."""
    data = stored.data
    return replace(stored, data=data.clone() if hasattr(data, "clone") else copy.deepcopy(data))


def _ours(tensor: tersely.Tensor, x: np.ndarray, count: int) -> list[Product]:
    """Products by copies of a tensor, each in memory of its own."""
    found: list[Product] = []
    for _ in range(count):
        components = {name: data.copy() for name, data in tensor.components.items()}
        copied = tersely.Tensor(replace(tensor.encoded, components=components))
        found.append(lambda t=copied: tersely.linear(x, t))  # type: ignore[misc]
    return found


def _dense(matrix: np.ndarray, x: np.ndarray, count: int) -> list[Product]:
    """The faster of torch's product and our own of dense weights."""
    choices = [_ours(tersely.encode(matrix, formulation="dense"), x, count)]
    if torch_linear := peers.installed(("torch_linear",)).get("torch_linear"):
        import torch

        torch.set_num_threads(1)
        narrow = x.astype(matrix.dtype) if matrix.dtype.name == "bfloat16" else x
        others = [torch_linear.product(torch_linear.encode(matrix.copy()), narrow) for _ in range(count)]
        if None not in others:
            choices.append(others)  # type: ignore[arg-type]

    def least(products: list[Product]) -> float:
        spent = []
        for run in products:
            start = perf_counter()
            run()
            spent.append(perf_counter() - start)
        return statistics.median(spent)

    return min(choices, key=least)


def _array(answer: Any) -> np.ndarray:
    if hasattr(answer, "float"):
        answer = answer.float().numpy()
    return np.asarray(answer, np.float64).reshape(1, -1)
