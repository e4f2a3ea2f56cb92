"""Cycles that each form takes for 64 weights when they are in the cache: the figures in the comments of the kernels.

    python -m benchmarks.kernels                        # every instruction set of this machine
    python -m benchmarks.kernels --isa avx2 --only palette
    python -m benchmarks.kernels --rows 4               # rows of x

One thread; what a call on next to no weights takes is subtracted. 32 x 4096 weights (int8: 256 x 4096), made as those of cases.toml are.
Cycles are times by the clock that the core had meanwhile, which a chain of multiplications measures beside each form. The record has the
least times too: compare two builds by these, on one machine, taking turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tersely
from benchmarks import cases, protocol, record
from benchmarks.protocol import Protocol
from tersely.backends.cpu import isa, native
from tersely.core.dtypes import by_name
from tersely.report import bench
from tersely.tensors.tensor import Tensor

SHAPE = (32, 4096)
DTYPES = ("float32", "bfloat16", "float16")
NAMES = ("split", "sparse", "palette", "row_palette", "affine", "integer")


def forms(name: str, dtype: str) -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
    """(what, weights, options of encode) of a formulation."""
    kind = by_name(dtype).numpy
    assert kind is not None
    if name == "split":
        normal = cases.normal(SHAPE).astype(kind)
        yield "packed(4)", normal, {"code": "packed"}
        for widths in ((3,), (2, 2), (2, 2, 2, 2)):
            yield f"layered({','.join(map(str, widths))})", normal, {"code": "layered", "widths": widths}
    elif name == "sparse":
        for zeros in (0.5, 0.8, 0.95):
            for what, positions in (("bitmap", "bitmap"), ("gaps", "gaps")):
                array = cases.pruned(SHAPE, zeros).astype(kind)
                yield f"{what}, {zeros:.0%} zeros", array, {"positions": positions}
    elif name == "palette":
        for count in (16, 32, 64, 128, 256):
            yield f"{count} words", cases.values(SHAPE, count).astype(kind), {}
    elif name == "affine":
        for bits, columns in ((2, SHAPE[1]), (4, SHAPE[1]), (4, 128), (4, 32), (8, SHAPE[1])):
            array = cases.scaled(SHAPE, bits, columns).astype(kind)
            yield cases.LABELS["scaled"](bits, columns), array, {}
    elif name == "row_palette":
        for words, columns in ((4, SHAPE[1]), (16, SHAPE[1]), (16, 128), (16, 64)):
            array = cases.tables(SHAPE, words, columns).astype(kind)
            yield cases.LABELS["tables"](words, columns), array, {"columns": columns % SHAPE[1]}
    elif dtype == "float32":
        for spread in (3, 10, 20):  # a byte each: eight times the rows, so that what is done to x counts less
            yield f"int8, sigma {spread}", cases.int8((8 * SHAPE[0], SHAPE[1]), spread), {}


def run_of(tensor: Tensor, x: np.ndarray) -> Callable[[int], object]:
    """The native product on one thread, as little Python around it as can be."""
    if tensor.dtype == np.int8:
        return lambda k: tersely.linear(x, tensor, scale=0.01)
    return bench.coded_run(x, np.empty((len(x), tensor.shape[0]), x.dtype), [tensor], 1)


def check(what: str, tensor: Tensor, x: np.ndarray) -> None:
    """Raises SystemExit where the product is not that of float64."""
    scale = 0.01 if tensor.dtype == np.int8 else 1.0
    options = {"scale": scale} if tensor.dtype == np.int8 else {}
    weights = tensor.decode().astype(np.float64) * scale
    expected, found = x.astype(np.float64) @ weights.T, tersely.linear(x, tensor, **options).astype(np.float64)
    bound = (np.abs(x.astype(np.float64)) @ np.abs(weights.T)) * (1e-6 if x.dtype == np.float32 else 1e-2) + 1e-30
    if not (np.abs(expected - found) <= bound).all():
        raise SystemExit(f"{what}: the answer is wrong; nothing was timed")


def measure(plan: Protocol, only: list[str], sets: list[str], rows_of_x: int) -> list[dict[str, Any]]:
    rows = []
    empty = tersely.encode(np.ones((16, 4), np.float32), formulation="split", code="packed")
    call = run_of(empty, np.ones((rows_of_x, 4), np.float32))
    for name in only:
        for dtype in DTYPES:
            for what, array, options in forms(name, dtype):
                tensor = tersely.encode(array, formulation=name, **options)
                kind = np.float32 if array.dtype == np.int8 else array.dtype
                x = np.random.default_rng(1).standard_normal((rows_of_x, SHAPE[1]), dtype=np.float32).astype(kind)
                label = " ".join((name, what) if array.dtype == np.int8 else (name, dtype, what))
                for chosen in sets:
                    with isa.using(chosen):
                        check(label, tensor, x)
                        before = native.module.bench_clock_ghz()
                        times = protocol.measure({"form": run_of(tensor, x), "call": call}, plan)
                        clock = max(before, native.module.bench_clock_ghz())
                    chunks = array.size / 64 / 1e6
                    ns = (times.median_ms["form"] - times.median_ms["call"]) / chunks
                    least = (times.least_ms["form"] - times.least_ms["call"]) / chunks
                    rows.append(
                        {
                            "what": label,
                            "isa": chosen,
                            "rows": rows_of_x,
                            "bits_per_weight": tensor.bits_per_weight,
                            "ns": ns,
                            "least_ns": least,
                            "clock_ghz": clock,
                            "cycles": ns * clock,
                            "busy": times.busy,
                        }
                    )
                    print(f"{label:<40} {chosen:<12} {ns:8.2f} ns, {ns * clock:8.1f} cycles (least {least:8.2f} ns)")
    return rows


def main() -> None:
    default = Protocol(threads=1, seconds=0.2, tries=1)
    parser = protocol.options(__doc__, default)
    parser.add_argument("--isa", nargs="*", default=[name for name in isa.available() if name != "scalar"])
    parser.add_argument("--only", nargs="*", choices=NAMES, default=NAMES, help="formulations")
    parser.add_argument("--rows", type=int, default=1, help="rows of x")
    arguments = parser.parse_args()
    plan = protocol.begin(arguments, default)
    found = record.new("kernels", plan)
    record.save(found | {"rows": measure(plan, arguments.only, arguments.isa, arguments.rows)}, arguments.output)


if __name__ == "__main__":
    main()
