"""`make bench`: products, decoding, encoding, loading, sizes; one record of everything."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import torch  # first, so that both share its thread pool

import tersely
from benchmarks.common import SHAPE, begin, parser_of, save
from benchmarks.table import print_record
from tersely.backends.cpu import isa
from tersely.core.dtypes import raw_bytes
from tersely.planner import choose
from tersely.report import bench
from tersely.report.bench import Settings, huge_copy

PACKED = ("speed", {"code": "packed"})
SINGLE = ("speed, avx512", {"code": "layered", "widths": (3,)})
DEEP = ("size", {"code": "layered", "widths": (2, 2, 2, 2)})
DEEP_AND_FAST = ("balanced, avx512; size", DEEP[1])


def products(settings: Settings, quick: bool) -> list[dict[str, Any]]:
    """The table of products: dtype x batch x code, and forced AVX2."""
    best = isa.active()
    wide = best.startswith(("avx512", "amx"))
    # The codes that an objective chooses on this machine: where AVX-512 is missing, layered ones only save space.
    fast = (PACKED, SINGLE) if wide else (PACKED,)
    every = (PACKED, SINGLE, DEEP_AND_FAST) if wide else (PACKED, DEEP)
    plan_of_rows = [
        ("bfloat16", (1,), every, best),
        ("bfloat16", (4, 8, 16, 64, 128, 256), fast, best),
        ("float32", (1, 8), every, best),
        ("float16", (1,), (PACKED, SINGLE, DEEP) if wide else (DEEP,), best),
        ("float8_e4m3fn", (1,), (("size", {"code": "layered", "widths": (1, 1, 1)}),), best),
    ]
    if best != "avx2":
        plan_of_rows += [("bfloat16", (1,), (PACKED,), "avx2"), ("float32", (1,), (PACKED,), "avx2")]
    rows = []
    for dtype, batches, codes, name in plan_of_rows:
        with isa.using(name):
            for batch in batches[:2] if quick else batches:
                found = bench.bench_shape(*SHAPE, dtype, [batch], settings, codes)
                if name != best:  # against our own dense kernel under the same instruction set, not torch's AVX-512
                    found = [replace(row, what=f"{row.what}, forced {name}") for row in found]
                for row in found:
                    print("  ".join(row.cells()), flush=True)
                    rows.append(row.to_json())
    return rows


def mapped_products(settings: Settings) -> list[dict[str, Any]]:
    """Batch 1 from the mapped file, on its pages as they are, against the same copies in our own memory."""
    array = (np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32) * 0.02).astype(ml_dtypes.bfloat16)
    copies = max(2, -(-settings.working_set_bytes // array.nbytes))
    tensors = {}
    with tempfile.TemporaryDirectory() as folder:
        for objective, parameters in (PACKED, SINGLE):
            tensor = tersely.encode(array, formulation="split", **parameters)
            path = Path(folder) / f"{parameters['code']}.safetensors"
            tersely.save_file({f"w{i}": tensor for i in range(copies)}, path)
            tensors[objective, f"{bench._name(tensor)}, mapped"] = list(tersely.load_file(path).values())
        rows = bench.compare("bfloat16 4096 x 4096, mapped file", array, tensors, 1, settings)
    for row in rows:
        print("  ".join(row.cells()), flush=True)
    return [row.to_json() for row in rows]


def transposed(settings: Settings) -> list[dict[str, Any]]:
    """x [batch, rows] @ w: against torch's own."""
    array = (np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32) * 0.02).astype(ml_dtypes.bfloat16)
    copies = max(2, -(-settings.working_set_bytes // array.nbytes))
    dense = [torch.from_numpy(huge_copy(raw_bytes(array))).view(torch.bfloat16).reshape(SHAPE) for _ in range(copies)]
    coded = bench.copies_of(tersely.encode(array, formulation="split", code="packed"), copies)
    rows = []
    for batch in (1, 16):
        x = np.random.default_rng(1).standard_normal((batch, SHAPE[0])).astype(ml_dtypes.bfloat16)
        xt = torch.from_numpy(x.view(np.uint16).copy()).view(torch.bfloat16)
        runs = {
            "dense": lambda k, xt=xt: xt @ dense[k % copies],
            "coded": lambda k, x=x: tersely.linear_transposed(x, coded[k % copies]),
        }
        ms = bench.medians_ms(runs, settings)
        rows.append({"batch": batch, "ms": ms["coded"], "dense_ms": ms["dense"], "x_dense": ms["dense"] / ms["coded"]})
        print("transposed", rows[-1], flush=True)
    return rows


def codec(settings: Settings) -> list[dict[str, Any]]:
    """Encode and decode against memcpy of the same bytes, one thread; encode with two."""
    rows = []
    for dtype in (np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16)):
        array = (np.random.default_rng(0).standard_normal((8192, 4096), dtype=np.float32) * 0.02).astype(dtype)
        out, source = np.empty_like(array), array.copy()
        for parameters in (
            {"code": "packed"},
            {"code": "layered", "widths": (3,)},
            {"code": "layered", "widths": (2, 2, 2, 2)},
        ):
            tensor = tersely.encode(array, formulation="split", **parameters)
            runs = {
                "memcpy": lambda k, out=out, source=source: np.copyto(out, source),
                "decode": lambda k, t=tensor, out=out: t.decode(out=out, threads=1),
                "encode": lambda k, a=array, p=parameters: choose.encode(a, formulation="split", threads=1, **p),
                "encode 2": lambda k, a=array, p=parameters: choose.encode(a, formulation="split", threads=2, **p),
            }
            ms = bench.medians_ms(runs, replace(settings, seconds=1.0, minimum_rounds=5))
            rows.append(
                {
                    "dtype": dtype.name,
                    "code": bench._name(tensor),
                    "decode_gb_per_s": array.nbytes / ms["decode"] / 1e6,
                    "memcpy_gb_per_s": array.nbytes / ms["memcpy"] / 1e6,
                    "decode_of_memcpy": ms["memcpy"] / ms["decode"],
                    "encode_mb_per_s": array.nbytes / ms["encode"] / 1e3,
                    "encode_2_threads_mb_per_s": array.nbytes / ms["encode 2"] / 1e3,
                }
            )
            print(rows[-1], flush=True)
    return rows


def loading() -> dict[str, Any]:
    """From load_file of a 1 GB compressed file (warm page cache) to the first product, beyond the product itself."""
    array = (np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32) * 0.02).astype(ml_dtypes.bfloat16)
    tensor = tersely.encode(array, formulation="split", code="packed")
    x = np.ones((1, SHAPE[1]), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "big.safetensors"
        tersely.save_file({f"w{i}": tensor for i in range(-(-(10**9) // tensor.nbytes_stored))}, path)
        times, product_times = [], []
        for number in range(7):
            start = time.perf_counter()
            first = tersely.load_file(path)[f"w{number}"]
            tersely.linear(x, first)
            times.append(time.perf_counter() - start)
            start = time.perf_counter()
            tersely.linear(x, first)
            product_times.append(time.perf_counter() - start)
        result = {
            "file_bytes": path.stat().st_size,
            "load_to_first_product_ms": statistics.median(times) * 1e3,
            "product_ms": statistics.median(product_times) * 1e3,
        }
    print(result, flush=True)
    return result


def call_overhead() -> dict[str, float]:
    """Microseconds of one tiny product: the native call, and tersely.linear around it."""
    tensor = tersely.encode(np.random.default_rng(0).standard_normal((16, 64)).astype(np.float32), formulation="split")
    x, out = np.ones((1, 64), np.float32), np.empty((1, 16), np.float32)
    xw, ow, matrix = x.view(np.uint32), out.view(np.uint32), tensor.matrix

    def microseconds(run: Any) -> float:
        best = []
        for _ in range(20):
            start = time.perf_counter()
            for _ in range(500):
                run()
            best.append((time.perf_counter() - start) / 500 * 1e6)
        return statistics.median(best)

    result = {
        "native_us": microseconds(lambda: matrix.linear(xw, "float32", None, ow, 1)),
        "linear_us": microseconds(lambda: tersely.linear(x, tensor, out=out)),
    }
    print(result, flush=True)
    return result


def main() -> None:
    parser = parser_of(__doc__, 3.0)
    parser.add_argument("--quick", action="store_true", help="fewer batches")
    arguments = parser.parse_args()
    settings, record = begin(arguments)
    record |= {
        "products": products(settings, arguments.quick) + mapped_products(settings),
        "transposed": transposed(settings),
        "codec": codec(settings),
        "loading": loading(),
        "call_overhead": call_overhead(),
    }
    save(record, "products", arguments.output)
    print_record(record)


if __name__ == "__main__":
    main()
