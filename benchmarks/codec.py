"""Decoding and encoding beside memcpy, loading a file to its first product, and what a call costs.

python -m benchmarks.codec
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

import tersely
from benchmarks import cases, protocol, record
from benchmarks.protocol import Protocol
from tersely.planner import choose


def codec(plan: Protocol) -> list[dict[str, Any]]:
    """Decode against memcpy of the same bytes, encode with one thread and with all."""
    rows = []
    for dtype in (np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16)):
        array = cases.normal((8192, 4096)).astype(dtype)
        out, source = np.empty_like(array), array.copy()
        for name in ("packed", "single", "deep"):
            options = {key: value for key, value in cases.FORMS[name].items() if key != "label"}
            tensor = tersely.encode(array, **options)
            runs: dict[str, protocol.Run] = {
                "memcpy": lambda k, out=out, source=source: np.copyto(out, source),  # type: ignore[misc]
                "decode": lambda k, t=tensor, out=out: t.decode(out=out, threads=1),  # type: ignore[misc]
                "encode": lambda k, a=array, o=options: choose.encode(a, threads=1, **o),  # type: ignore[misc]
                "encode, all threads": lambda k, a=array, o=options: choose.encode(a, threads=plan.threads, **o),  # type: ignore[misc]
            }
            times = protocol.measure(runs, plan)
            speeds = {key: array.nbytes / ms / 1e6 for key, ms in times.median_ms.items()}
            rows.append(
                {"dtype": dtype.name, "code": cases.FORMS[name]["label"], "gb_per_s": speeds, "busy": times.busy}
            )
            print(rows[-1], flush=True)
    return rows


def loading(plan: Protocol) -> dict[str, Any]:
    """From load_file of a 1 GB compressed file (warm page cache) to the first product, beside the product itself."""
    array = cases.normal(cases.SHAPE).astype(ml_dtypes.bfloat16)
    tensor = tersely.encode(array, formulation="split", code="packed")
    x = np.ones((1, cases.SHAPE[1]), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "big.safetensors"
        count = -(-(10**9) // tensor.nbytes_stored)
        tersely.save_file({f"w{i}": tensor for i in range(count)}, path)
        opened = tersely.load_file(path)
        times = protocol.measure(
            {
                "load and product": lambda k: tersely.linear(x, tersely.load_file(path)[f"w{k % count}"]),
                "product": lambda k: tersely.linear(x, opened[f"w{k % count}"]),
            },
            plan,
        )
        found = {"file_bytes": path.stat().st_size, "tensors": count, "ms": times.median_ms, "busy": times.busy}
    print(found, flush=True)
    return found


def call(plan: Protocol) -> dict[str, Any]:
    """Microseconds of `tersely.linear` on a matrix so small that the call is all there is."""
    tensor = tersely.encode(cases.normal((16, 64)), formulation="split")
    x, out = np.ones((1, 64), np.float32), np.empty((1, 16), np.float32)
    times = protocol.measure({"linear": lambda k: [tersely.linear(x, tensor, out=out) for _ in range(500)]}, plan)
    found = {"linear_us": times.median_ms["linear"] * 1e3 / 500, "busy": times.busy}
    print(found, flush=True)
    return found


def main() -> None:
    default = Protocol(seconds=1.0, minimum_rounds=5)
    arguments = protocol.options(__doc__, default).parse_args()
    plan = protocol.begin(arguments, default)
    found = record.new("codec", plan)
    found |= {"rows": codec(plan), "loading": loading(plan), "call": call(replace(plan, threads=1))}
    record.save(found, arguments.output)


if __name__ == "__main__":
    main()
