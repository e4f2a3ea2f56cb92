"""Quantised weights: palettes of few distinct values against dense. `python -m benchmarks.quantised`.

Rules as in README.md: 4096 x 4096; normal weights, each replaced by the nearest of 2 to 256 values that k-means finds, or
rounded to a grid of 4 to 8 bits, whose words are looked up or whose numbers are multiplied;
copies that rotate through the working set, interleaved medians, answers checked before they are timed.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

import laconic
from benchmarks.common import SHAPE, begin, parser_of, print_machine, save
from benchmarks.sparse import copies_of
from laconic import benchmark
from laconic.benchmark import Settings
from laconic.tensor import Tensor

VALUES = (2, 3, 4, 16, 32, 64, 256)


def quantised(values: int, dtype: np.dtype) -> np.ndarray:
    array = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32) * np.float32(0.02)
    return nearest(array, values).astype(dtype)


def nearest(array: np.ndarray, values: int) -> np.ndarray:
    """Each weight replaced by the nearest of a few values.

    Lloyd's algorithm on a sample, from quantiles on; ten rounds are enough for the share of each value to settle.
    """
    sample = np.sort(array.reshape(-1)[:: max(1, array.size >> 20)]).astype(np.float64)
    centres = np.quantile(sample, (np.arange(values) + 0.5) / values)
    for _ in range(10):
        parts = np.split(sample, np.searchsorted(sample, (centres[1:] + centres[:-1]) / 2))
        centres = np.array([part.mean() if part.size else old for part, old in zip(parts, centres, strict=True)])
    places = np.searchsorted(((centres[1:] + centres[:-1]) / 2).astype(np.float32), array)
    return centres.astype(np.float32)[places]


def forms_of(array: np.ndarray, copies: int) -> dict[tuple[str, str], list[Tensor]]:
    """Fixed indices, which of the objectives take them here, and the form that `size` takes if it is another."""
    planned = {name: laconic.encode(array, objective=name, profile="native") for name in ("balanced", "size")}
    fixed = laconic.encode(array, formulation="palette")
    took = [name for name, tensor in planned.items() if tensor.encoded.node == fixed.encoded.node]
    note = f" (planned: {', '.join(took)})" if took else ""
    found = {("speed", f"palette {fixed.parameters['entries']}{note}"): copies_of(fixed, copies)}
    for name, tensor in planned.items():
        if name not in took and tensor.matrix is not None:
            child = tensor.encoded.node.children.get("indices")
            code = dict(child.parameters if child else tensor.parameters)
            widths = f"({','.join(map(str, code['widths']))})" if "widths" in code else ""
            label = f"{tensor.formulation} {code.get('code', '')}{widths} (planned: {name})"
            found[name, label] = copies_of(tensor, copies)
    return found


def measure(settings: Settings, batches: tuple[int, ...], values: tuple[int, ...]) -> list[dict[str, Any]]:
    rows = []
    for dtype in (np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16)):
        for count in values:
            array = quantised(count, dtype)
            tensors = forms_of(array, max(2, -(-settings.working_set_bytes // array.nbytes)))
            for batch in batches:
                for row in benchmark.compare(f"{dtype} {count} values", array, tensors, batch, settings):
                    found = row.to_json() | {"values": count, "x_smaller": array.itemsize * 8 / row.bits_per_weight}
                    print("  ".join(row.cells()), row.dense, flush=True)
                    rows.append(found)
    return rows


def rounded(bits: int) -> np.ndarray:
    """float32 as torch's fake quantisation leaves it, without -0.0: one scale, numbers of so many bits, to about 4 sigma."""
    array = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32) * np.float32(0.02)
    half = 1 << (bits - 1)
    scale = np.float32(0.08 / half)
    return (np.clip(np.rint(array / scale), -half, half - 1) + np.float32(0)) * scale


def grids(
    settings: Settings, batches: tuple[int, ...], widths: tuple[int, ...] = (4, 5, 6, 7, 8)
) -> list[dict[str, Any]]:
    rows = []
    for bits in widths:
        array = rounded(bits)
        copies = max(2, -(-settings.working_set_bytes // array.nbytes))
        codes = {"words": "fixed", "numbers": "grid"}
        tensors = {
            ("speed", name): copies_of(laconic.encode(array, formulation="palette", code=code), copies)
            for name, code in codes.items()
        }
        for batch in batches:
            for row in benchmark.compare(f"float32 {bits} bits", array, tensors, batch, settings):
                found = row.to_json() | {"bits": bits, "x_smaller": 32 / row.bits_per_weight}
                print("  ".join(row.cells()), row.dense, flush=True)
                rows.append(found)
    return rows


def integers(settings: Settings, spreads: tuple[int, ...] = (10, 20)) -> list[dict[str, Any]]:
    """int8 weights, normal with a spread in steps: coded against dense int8, x of floats and of int8, batch 1."""
    rows = []
    for spread in spreads:
        rng = np.random.default_rng(0)
        array = np.clip(np.rint(rng.standard_normal(SHAPE, dtype=np.float32) * spread), -127, 127).astype(np.int8)
        count = max(2, -(-settings.working_set_bytes // array.nbytes))
        coded = laconic.encode(array, formulation="integer")
        planned = laconic.encode(array, profile="native").formulation
        forms = {
            "coded": copies_of(coded, count),
            "dense": copies_of(laconic.encode(array, formulation="dense"), count),
        }
        inputs = {
            "float32": (rng.standard_normal((1, SHAPE[1]), dtype=np.float32), {"scale": 0.01}),
            "int8": (rng.integers(-127, 128, (1, SHAPE[1])).astype(np.int8), {}),
        }
        for name, (x, options) in inputs.items():
            answers = [laconic.linear(x, copies[0], **options) for copies in forms.values()]
            assert np.array_equal(*answers), "coded and dense int8 give other bits; nothing was timed"
            runs = {
                form: lambda k, c=copies, x=x, o=options: laconic.linear(x, c[k % len(c)], **o)
                for form, copies in forms.items()
            }
            ms = benchmark.medians_ms(runs, settings)
            rows.append(
                {
                    "spread": spread,
                    "x": name,
                    "bits_per_weight": coded.bits_per_weight,
                    "planned": planned,
                    "ms": ms["coded"],
                    "dense_ms": ms["dense"],
                    "x_dense": ms["dense"] / ms["coded"],
                }
            )
            print(rows[-1], flush=True)
    return rows


def print_rows(record: dict[str, Any]) -> None:
    print_machine(record)
    print("| weights | batch | stored as | bits/weight | x smaller | ms | x dense |\n|---|---|---|---|---|---|---|")
    for row in record["quantised"] + record["grids"]:
        void = " (void)" if row["void"] else ""
        print(
            f"| {row['what']} | {row['batch']} | {row['stored_as']} | {row['bits_per_weight']:.2f} "
            f"| {row['x_smaller']:.2f} | {row['ms']:.3f} | {row['x_dense']:.2f}{void} |"
        )
    print("\n| int8, spread | x | planned | bits/weight | ms | x dense int8 |\n|---|---|---|---|---|---|")
    for row in record["integers"]:
        print(
            f"| {row['spread']} | {row['x']} | {row['planned']} | {row['bits_per_weight']:.2f} | {row['ms']:.3f} "
            f"| {row['x_dense']:.2f} |"
        )


def main() -> None:
    parser = parser_of(__doc__, 2.0)
    parser.add_argument("--batch", type=int, action="append", help="rows of x; may be given again; default 1 and 16")
    parser.add_argument("--values", type=int, action="append", help="distinct values; may be given again")
    parser.add_argument("--only", nargs="*", choices=("quantised", "grids", "integers"), help="some of the tables")
    arguments = parser.parse_args()
    settings, record = begin(arguments)
    parts = {
        "quantised": lambda: measure(settings, tuple(arguments.batch or (1, 16)), tuple(arguments.values or VALUES)),
        "grids": lambda: grids(settings, tuple(arguments.batch or (1, 4))),
        "integers": lambda: integers(settings),
    }
    for name in arguments.only or parts:
        record[name] = parts[name]()
    save(record, "-".join(arguments.only or ["quantised"]), arguments.output)
    if not arguments.only:
        print_rows(record)


if __name__ == "__main__":
    main()
