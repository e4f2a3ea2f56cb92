"""Cycles that each form takes for 64 weights when they are in the cache: the figures in the comments of the kernels.

    python -m benchmarks.kernels                        # every instruction set of this machine
    python -m benchmarks.kernels --isa avx2 --only palette
    python -m benchmarks.kernels --rows 4               # rows of x

One thread, the least of many repetitions: what the kernel costs when memory costs nothing. 32 x 4096 weights (int8: 256 x 4096), normal with
sigma 0.02, pruned or replaced by the nearest of a few where the form wants that; answers are compared with float64 first.
Cycles are times by the clock that the core had meanwhile, which a chain of multiplications measures beside each form.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import tersely
from benchmarks.common import fingerprint, save
from benchmarks.quantised import nearest
from benchmarks.sparse import pruned
from tersely.backends.cpu import isa, native
from tersely.core.dtypes import by_name
from tersely.report import calibrate
from tersely.tensors.tensor import Tensor

SHAPE = (32, 4096)
DTYPES = ("float32", "bfloat16", "float16")
NAMES = ("split", "sparse", "palette", "row_palette", "affine", "integer")


def forms(name: str, dtype: str) -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
    """(what, weights, options of encode) of a formulation."""
    kind = by_name(dtype).numpy
    assert kind is not None
    normal = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32) * np.float32(0.02)
    if name == "split":
        yield "packed(4)", normal.astype(kind), {"code": "packed"}
        for widths in ((3,), (2, 2), (2, 2, 2, 2)):
            label = ",".join(map(str, widths))
            yield f"layered({label})", normal.astype(kind), {"code": "layered", "widths": widths}
    elif name == "sparse":
        for zeros in (0.5, 0.8, 0.95):
            for positions in ("bitmap", "deltas"):
                yield f"{positions}, {zeros:.0%} zeros", pruned(zeros, kind, SHAPE), {"positions": positions}
    elif name == "palette":
        for count in (16, 32, 64, 128, 256):
            yield f"{count} words", nearest(normal, count).astype(kind), {}
    elif name == "affine":
        for bits, columns in ((2, SHAPE[1]), (4, SHAPE[1]), (4, 128), (4, 32), (8, SHAPE[1])):
            what = "rows" if columns == SHAPE[1] else f"{columns} columns"
            yield f"{bits} bits by {what}", calibrate.quantised(normal, bits, columns).astype(kind), {}
    elif name == "row_palette":
        for words, columns in ((4, SHAPE[1]), (16, SHAPE[1]), (16, 128), (16, 64)):
            what = "rows" if columns == SHAPE[1] else f"{columns} columns"
            array = calibrate.shared(np.random.default_rng(0), SHAPE, words, columns)
            yield f"{words} words by {what}", array.astype(kind), {"columns": columns % SHAPE[1]}
    elif dtype == "float32":
        rows = np.tile(normal, (8, 1))  # a byte each: as much as the others; what is done to x counts less
        for spread in (3, 10, 20):
            steps = np.clip(np.rint(rows * (50 * spread)), -127, 127).astype(np.int8)
            yield f"int8, sigma {spread}", steps, {}


def run_of(tensor: Tensor, x: np.ndarray) -> Callable[[], Any]:
    """The native product on one thread, as little Python around it as can be."""
    if tensor.dtype == np.int8:
        return lambda: tersely.linear(x, tensor, scale=0.01)
    word = by_name(x.dtype.name).word
    out = np.empty((len(x), tensor.shape[0]), x.dtype)
    given, into, multiply, name = x.view(word), out.view(word), tensor.matrix.linear, x.dtype.name
    return lambda: multiply(given, name, None, into, 1)


def check(what: str, tensor: Tensor, x: np.ndarray) -> None:
    """Raises SystemExit where the product is not that of float64."""
    scale = 0.01 if tensor.dtype == np.int8 else 1.0
    options = {"scale": scale} if tensor.dtype == np.int8 else {}
    weights = tensor.decode().astype(np.float64) * scale
    expected, found = x.astype(np.float64) @ weights.T, tersely.linear(x, tensor, **options).astype(np.float64)
    bound = (np.abs(x.astype(np.float64)) @ np.abs(weights.T)) * (1e-6 if x.dtype == np.float32 else 1e-2) + 1e-30
    if not (np.abs(expected - found) <= bound).all():
        raise SystemExit(f"{what}: the answer is wrong; nothing was timed")


def least_ns(run: Callable[[], Any], seconds: float) -> tuple[float, float]:
    """(the least time of a call, the clock in GHz that the core had about then)."""
    run()
    least, clock, end = float("inf"), 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        clock = max(clock, native.module.bench_clock_ghz())
        for _ in range(50):
            start = time.perf_counter_ns()
            run()
            least = min(least, time.perf_counter_ns() - start)
    return least, clock


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    rows, empty = [], tersely.encode(np.ones((16, 4), np.float32), formulation="split", code="packed")
    idle, _ = least_ns(run_of(empty, np.ones((arguments.rows, 4), np.float32)), arguments.seconds)
    for name in arguments.only:
        for dtype in DTYPES:
            for what, array, options in forms(name, dtype):
                tensor = tersely.encode(array, formulation=name, **options)
                kind = np.float32 if array.dtype == np.int8 else array.dtype
                x = np.random.default_rng(1).standard_normal((arguments.rows, SHAPE[1]), dtype=np.float32).astype(kind)
                label = f"{name} {dtype if array.dtype != np.int8 else ''} {what}".replace("  ", " ")
                for chosen in arguments.isa:
                    isa.use(chosen)
                    check(label, tensor, x)
                    ns, clock = least_ns(run_of(tensor, x), arguments.seconds)
                    chunk = (ns - idle) / (array.size / 64)
                    rows.append(
                        {
                            "what": label,
                            "isa": chosen,
                            "rows": arguments.rows,
                            "bits_per_weight": tensor.bits_per_weight,
                            "ns": chunk,
                            "clock_ghz": clock,
                            "cycles": chunk * clock or None,
                        }
                    )
                    print(
                        f"{label:<40} {chosen:<12} {tensor.bits_per_weight:6.2f} bits {chunk:8.2f} ns {chunk * clock:8.1f} cycles",
                        flush=True,
                    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isa", nargs="*", default=[name for name in isa.available() if name != "scalar"])
    parser.add_argument("--only", nargs="*", choices=NAMES, default=NAMES, help="formulations")
    parser.add_argument("--rows", type=int, default=1, help="rows of x")
    parser.add_argument("--seconds", type=float, default=0.2, help="for each form and instruction set")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    tersely.set_num_threads(1)
    record = {"machine": fingerprint(), "threads": 1, "kernels": measure(arguments)}
    save(record, "kernels", arguments.output)


if __name__ == "__main__":
    main()
