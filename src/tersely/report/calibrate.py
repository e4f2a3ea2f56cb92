"""`tersely calibrate`: this machine's times of every kernel, by dtype and batch, as a profile to plan with.

Small and middling matrices of several kinds - dense, pruned, quantised, with repeated and with empty blocks - are coded
in every form that a formulation offers for them, and multiplied from copies that rotate through memory. To the
times of one kernel, dtype and batch a sum is fitted: a call, the weights that the kernel visits, stored bytes, rows.
A formulation that is added says what matrices it is to be measured on (`samples`).
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from tersely import __version__
from tersely.backends.cpu import isa, native
from tersely.backends.cpu.threads import get_num_threads
from tersely.codes import registry
from tersely.codes.node import Formulation
from tersely.codes.protocol import Candidate, Request
from tersely.core.dtypes import raw_bytes
from tersely.core.errors import ArgumentError, TerselyError
from tersely.files.results import Progress
from tersely.planner import choose, profiles
from tersely.planner.cost_model import features
from tersely.report import bench
from tersely.tensors.linear import linear
from tersely.tensors.tensor import Tensor

DTYPES = (np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16))
BATCHES = (1, 4, 16)
SHAPES = ((64, 256), (256, 384), (384, 1536), (1024, 2048))
WORKING_SET_BYTES = 96_000_000
"""Stored bytes that copies rotate through: more than most last-level caches of two cores."""
MAX_COPIES = 2000
SECONDS = 0.06
"""Seconds of measurement for each form, shape and batch."""

Point = tuple[Candidate, float]


def samples(shape: tuple[int, int], dtype: np.dtype) -> Iterator[tuple[Formulation, str, np.ndarray]]:
    """Matrices on which every kernel can be seen at work, with the formulation that wants them."""
    rng = np.random.default_rng(0)
    normal = rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02)
    for row in registry.ROWS:
        for kind, array in row.samples(normal, rng):
            yield row, kind, array.astype(dtype)


def calibrate(
    *,
    threads: int | None = None,
    batches: Sequence[int] = BATCHES,
    dtypes: Sequence[np.dtype] = DTYPES,
    shapes: Sequence[tuple[int, int]] = SHAPES,
    seconds: float = SECONDS,
    working_set_bytes: int = WORKING_SET_BYTES,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure this machine under the instruction set in use; returns the profile, ready to be written as JSON.

    Args:
        threads: workers; None for `get_num_threads()`. batches: rows of x. seconds: for each form, shape and batch.
        progress: called with (steps done, steps in all, what is measured).

    Raises ArgumentError for batches below 1, TerselyError without the native module.
    """
    if not native.available():
        raise TerselyError("calibrating needs the native module, which is not installed")
    if not batches or any(batch < 1 for batch in batches):
        raise ArgumentError(f"batches must be integer numbers of rows, at least 1, not {list(batches)}")
    workers = threads or get_num_threads()
    points: dict[tuple[str, str, int], list[Point]] = {}
    jobs = list(itertools.product(dtypes, shapes))
    kinds = len(list(samples((16, 16), DTYPES[0])))
    for number, (dtype, shape) in enumerate(jobs):
        for step, (row, kind, array) in enumerate(samples(shape, dtype)):
            if progress is not None:
                progress(number * kinds + step, len(jobs) * kinds, f"{dtype} {shape[0]} x {shape[1]}, {kind}")
            for batch, candidate, ns in _measure(row, array, workers, batches, seconds, working_set_bytes):
                points.setdefault((str(candidate.kernel), dtype.name, batch), []).append((candidate, ns))
    if progress is not None:
        progress(len(jobs) * kinds, len(jobs) * kinds, "")
    costs: dict[str, dict[str, dict[str, list[float]]]] = {}
    errors: dict[str, dict[str, float]] = {}
    for (kernel, name, batch), found in sorted(points.items()):
        times = fit_costs(found)
        costs.setdefault(kernel, {}).setdefault(name, {})[str(batch)] = [float(f"{t:.6g}") for t in times]
        off = statistics.median(abs(_sum(times, candidate) / ns - 1) for candidate, ns in found)
        errors.setdefault(kernel, {})[f"{name} {batch}"] = round(off, 4)
    return {
        "tersely_profile": profiles.VERSION,
        "machine": profiles.native_machine(),
        "processor": native.module.cpu_name().strip(),
        "isa": isa.active(),
        "threads": workers,
        "thread_pool": native.module.parallel_pool_name(),
        "tersely": __version__,
        "costs": costs,
        "fit_errors": errors,
    }


def fit_costs(points: Sequence[Point]) -> np.ndarray:
    """Times, at least 0, of a call, a visited weight, a byte, a row: least squares of relative errors."""
    rows = np.array([features(candidate) for candidate, _ in points])
    relative = rows / np.array([ns for _, ns in points])[:, None]
    best, least = np.zeros(rows.shape[1]), float("inf")
    for count in range(1, rows.shape[1] + 1):
        for used in itertools.combinations(range(rows.shape[1]), min(count, len(points))):
            part = relative[:, used]
            scale = np.abs(part).max(axis=0)
            if not scale.all():
                continue
            times = np.linalg.lstsq(part / scale, np.ones(len(points)), rcond=None)[0] / scale
            error = float(((part @ times - 1) ** 2).sum())
            if (times >= 0).all() and error < least * (1 - 1e-9):
                best, least = np.zeros(rows.shape[1]), error
                best[list(used)] = times
    return best


def _sum(times: np.ndarray, candidate: Candidate) -> float:
    return float(np.dot(times, features(candidate)))


def _measure(
    row: Formulation, array: np.ndarray, threads: int, batches: Sequence[int], seconds: float, working_set: int
) -> Iterator[tuple[int, Candidate, float]]:
    for candidate in _forms(row, array, threads):
        if candidate.node.formulation == registry.DENSE.NAME:
            runs = {batch: dense_run(array, batch, threads, working_set) for batch in batches}
        else:
            tensor = coded(array, candidate, threads)
            if tensor.matrix is None or tensor.geometry.view == "folded":
                continue
            tensors = copies(tensor, working_set)
            runs = {batch: coded_run(tensors, array, batch, threads) for batch in batches}
        for batch, run in runs.items():
            yield batch, candidate, nanoseconds(run, seconds)


def _forms(row: Formulation, array: np.ndarray, threads: int) -> list[Candidate]:
    """Every distinct form of every formulation, on samples of a row: those that want a pattern where there is one."""
    words = raw_bytes(array).view(f"<u{array.itemsize}").reshape(array.shape)
    machine = profiles.native_machine()
    found = {}
    for objective in choose.OBJECTIVES:
        # Costs that are not empty: formulations then offer what shipped figures would call too slow, too.
        request = Request(words, array.dtype.name, "out_in", objective, machine, threads, costs={"any": {}})
        for candidate in choose.candidates(request):
            if registry.named(candidate.node.formulation).PATTERNED == row.PATTERNED:
                found[candidate.kernel, repr(candidate.options), candidate.geometry.view] = candidate
    return list(found.values())


def coded(array: np.ndarray, candidate: Candidate, threads: int) -> Tensor:
    """The tensor that a candidate makes."""
    return Tensor(candidate.encoded(array.shape, array.dtype.name, threads=threads))


def copies(tensor: Tensor, working_set: int) -> list[Tensor]:
    """The tensor as often as it fills the working set, in memory of its own."""
    count = int(np.clip(-(-working_set // max(1, tensor.nbytes_stored)), 2, MAX_COPIES))
    return bench.copies_of(tensor, count)


def coded_run(tensors: list[Tensor], array: np.ndarray, batch: int, threads: int) -> Callable[[int], object]:
    x = np.ones((batch, tensors[0].geometry.columns), array.dtype)
    out = np.empty((batch, tensors[0].geometry.rows), array.dtype)
    return bench.coded_run(x, out, tensors, threads)


def dense_run(array: np.ndarray, batch: int, threads: int, working_set: int) -> Callable[[int], object]:
    """The fastest dense product: of our own kernel (one row), torch's, or NumPy's where there is no torch."""
    count = int(np.clip(-(-working_set // array.nbytes), 2, MAX_COPIES))
    raw = raw_bytes(array)
    x = np.ones((batch, array.shape[1]), array.dtype)
    runs = bench.torch_runs(array, x, [raw.copy() for _ in range(count)], threads)
    if batch == 1:
        runs["own"] = bench.own_dense_run(array, x, count, threads)[1]
    elif not runs:
        tensors = [Tensor(choose.encode(array.copy(), formulation="dense")) for _ in range(count)]
        runs["numpy"] = lambda k: linear(x, tensors[k % count])
    return min(runs.values(), key=lambda run: nanoseconds(run, 0.01))


def nanoseconds(run: Callable[[int], object], seconds: float) -> float:
    """The lower quartile of single calls: what disturbs a run only ever makes it longer."""
    times: list[int] = []
    for number in range(2):
        run(number)
    start, number = time.perf_counter(), 2
    while time.perf_counter() - start < seconds or len(times) < 7:
        begin = time.perf_counter_ns()
        run(number)
        times.append(time.perf_counter_ns() - begin)
        number += 1
    return float(np.percentile(times, 25))
