"""Quantised weights: palettes of few distinct values and numbers with scales against dense. `python -m benchmarks.quantised`.

Rules as in README.md: 4096 x 4096; normal weights, each replaced by the nearest of 2 to 256 values that k-means finds, or
rounded to a grid of 4 to 8 bits, whose words are looked up or whose numbers are multiplied, or rounded by rows or by
groups of their columns;
copies that rotate through the working set, interleaved medians, answers checked before they are timed.
"""

from __future__ import annotations

import itertools
from typing import Any

import ml_dtypes
import numpy as np
import torch

import tersely
from benchmarks.common import SHAPE, begin, parser_of, print_machine, save
from benchmarks.sparse import copies_of
from tersely.report import bench, calibrate
from tersely.report.bench import Settings
from tersely.tensors.tensor import Tensor

DTYPES = (np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16))
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
    planned = {name: tersely.encode(array, objective=name, profile="native") for name in ("balanced", "size")}
    fixed = tersely.encode(array, formulation="palette")
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
    for dtype in DTYPES:
        for count in values:
            array = quantised(count, dtype)
            tensors = forms_of(array, max(2, -(-settings.working_set_bytes // array.nbytes)))
            for batch in batches:
                for row in bench.compare(f"{dtype} {count} values", array, tensors, batch, settings):
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
            ("speed", name): copies_of(tersely.encode(array, formulation="palette", code=code), copies)
            for name, code in codes.items()
        }
        for batch in batches:
            for row in bench.compare(f"float32 {bits} bits", array, tensors, batch, settings):
                found = row.to_json() | {"bits": bits, "x_smaller": 32 / row.bits_per_weight}
                print("  ".join(row.cells()), row.dense, flush=True)
                rows.append(found)
    return rows


def scaled(settings: Settings, batches: tuple[int, ...]) -> list[dict[str, Any]]:
    """Weights rounded to numbers of 4 and 8 bits, with a scale for each row or each group of its columns; and of 16 words
    for each, at no regular distances (bits 0)."""
    rows = []
    normal = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32) * np.float32(0.02)
    forms_of_rows = ((4, SHAPE[1]), (4, 128), (4, 32), (8, SHAPE[1]), (0, SHAPE[1]), (0, 128))
    for dtype, (bits, columns) in itertools.product(DTYPES, forms_of_rows):
        if bits:
            array = calibrate.quantised(normal, bits, columns).astype(dtype)
        else:
            array = calibrate.shared(np.random.default_rng(0), SHAPE, 16, columns).astype(dtype)
        copies = max(2, -(-settings.working_set_bytes // array.nbytes))
        lines = tersely.encode(array, formulation="affine" if bits else "row_palette")
        smallest = tersely.encode(array, objective="size")
        forms = {"speed": lines} | ({"size": smallest} if smallest.encoded.node != lines.encoded.node else {})
        tensors = {(name, f"{one.formulation} ({name})"): copies_of(one, copies) for name, one in forms.items()}
        for batch in batches:
            by = "rows" if columns == SHAPE[1] else f"{columns} columns"
            what = f"{bits} bits" if bits else "16 words"
            for row in bench.compare(f"{dtype} {what} by {by}", array, tensors, batch, settings):
                found = row.to_json() | {
                    "bits": bits,
                    "columns": columns,
                    "x_smaller": array.itemsize * 8 / row.bits_per_weight,
                }
                print("  ".join(row.cells()), row.dense, flush=True)
                rows.append(found)
    return rows


def integers(settings: Settings, spreads: tuple[int, ...] = (10, 20)) -> list[dict[str, Any]]:
    """int8 weights, normal with a spread in steps, against dense int8: fields, and distances near the entropy.

    x of floats and of int8 in one row; distances with 4 and 16 rows of floats, too, since they are decoded once for all.
    """
    rows = []
    for spread in spreads:
        rng = np.random.default_rng(0)
        array = np.clip(np.rint(rng.standard_normal(SHAPE, dtype=np.float32) * spread), -127, 127).astype(np.int8)
        count = max(2, -(-settings.working_set_bytes // array.nbytes))
        options = {
            "fields": {"formulation": "integer"},
            "distances": {"formulation": "integer", "code": "distances"},
            "dense": {"formulation": "dense"},
        }
        forms = {name: copies_of(tersely.encode(array, **own), count) for name, own in options.items()}
        inputs = [("float32", b, normal_x(rng, b), {"scale": 0.01}) for b in (1, 4, 16)]
        inputs.append(("int8", 1, rng.integers(-127, 128, (1, SHAPE[1])).astype(np.int8), {}))
        for name, batch, x, own in inputs:
            answers = [tersely.linear(x, copies[0], **own) for copies in forms.values()]
            assert all(np.array_equal(answers[-1], answer) for answer in answers), "other bits; nothing was timed"
            runs = {
                form: lambda k, c=copies, x=x, o=own: tersely.linear(x, c[k % len(c)], **o)
                for form, copies in forms.items()
            }
            ms = bench.medians_ms(runs, settings)
            for form in ("fields", "distances"):
                rows.append(
                    {
                        "spread": spread,
                        "x": name,
                        "batch": batch,
                        "stored_as": form,
                        "bits_per_weight": forms[form][0].bits_per_weight,
                        "ms": ms[form],
                        "dense_ms": ms["dense"],
                        "x_dense": ms["dense"] / ms[form],
                    }
                )
                print(rows[-1], flush=True)
    return rows


def fours(settings: Settings) -> list[dict[str, Any]]:
    """4-bit weights by rows and by groups of 128 columns, as fields and as dense pairs, against the same numbers as dense
    int8 weights with one scale and `F.linear` of dequantised ones."""
    rng, rows = np.random.default_rng(0), []
    numbers = np.clip(np.rint(rng.standard_normal(SHAPE, dtype=np.float32) * 2.5), -8, 7).astype(np.int8)
    halves = numbers.view(np.uint8) & 15
    packed = halves[:, ::2] | halves[:, 1::2] << 4
    count = max(2, -(-settings.working_set_bytes // packed.nbytes))
    columns = {"int4_columns": SHAPE[1]}
    forms = {
        "fields": copies_of(tersely.encode(packed, "integer", code="nibble_fields", **columns), count),
        "dense pairs": copies_of(tersely.encode(packed, "dense"), count),
    }
    dense = copies_of(tersely.encode(numbers, "dense"), max(2, count // 2))
    for groups, batch in itertools.product((1, SHAPE[1] // 128), (1, 4, 16)):
        x = normal_x(rng, batch)
        scale = (rng.random((SHAPE[0], groups), dtype=np.float32) + 0.5) * np.float32(0.01)
        real = (numbers.reshape(SHAPE[0], groups, -1) * scale[:, :, None]).reshape(SHAPE)
        own = {"scale": scale, "packed": "int4"}
        answers = [tersely.linear(x, copies[0], **own) for copies in forms.values()]
        assert np.array_equal(*answers), "other bits; nothing was timed"
        assert np.allclose(answers[0], x @ real.T, atol=1e-2), "other answers; nothing was timed"
        runs: dict[str, Any] = {
            form: lambda k, c=copies, x=x, o=own: tersely.linear(x, c[k % len(c)], **o)
            for form, copies in forms.items()
        }
        runs["dense int8"] = lambda k, x=x: tersely.linear(x, dense[k % len(dense)], scale=0.01)
        runs |= floats(x, real, settings)
        ms = bench.medians_ms(runs, settings)
        by = "rows" if groups == 1 else "128 columns"
        for form, copies in forms.items():
            rows.append({"scales": by, "batch": batch, "stored_as": form, "bits": copies[0].bits_per_weight / 2})
            rows[-1] |= {"ms": ms[form]} | {name: ms[name] for name in runs if name not in forms}
            print(rows[-1], flush=True)
    return rows


def floats(x: np.ndarray, real: np.ndarray, settings: Settings) -> dict[str, Any]:
    """`F.linear` of dequantised weights by dtype, copies rotating."""
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        weight = torch.from_numpy(real).to(dtype)
        copies = [weight.clone() for _ in range(max(2, -(-settings.working_set_bytes // weight.nbytes)))]
        own = torch.from_numpy(x).to(dtype)
        name = str(dtype).removeprefix("torch.")
        found[name] = lambda k, x=own, c=copies: torch.nn.functional.linear(x, c[k % len(c)])
    return found


def normal_x(rng: np.random.Generator, batch: int) -> np.ndarray:
    return rng.standard_normal((batch, SHAPE[1]), dtype=np.float32)


def print_rows(record: dict[str, Any]) -> None:
    print_machine(record)
    print("| weights | batch | stored as | bits/weight | x smaller | ms | x dense |\n|---|---|---|---|---|---|---|")
    for row in record["quantised"] + record["grids"] + record["scaled"]:
        void = " (void)" if row["void"] else ""
        print(
            f"| {row['what']} | {row['batch']} | {row['stored_as']} | {row['bits_per_weight']:.2f} "
            f"| {row['x_smaller']:.2f} | {row['ms']:.3f} | {row['x_dense']:.2f}{void} |"
        )
    print("\n| int8, spread | x | batch | stored as | bits/weight | ms | x dense int8 |\n|---|---|---|---|---|---|---|")
    for row in record["integers"]:
        print(
            f"| {row['spread']} | {row['x']} | {row['batch']} | {row['stored_as']} | {row['bits_per_weight']:.2f} "
            f"| {row['ms']:.3f} | {row['x_dense']:.2f} |"
        )
    against = ("dense int8", "float32", "bfloat16")
    print(f"\n| int4, scales by | batch | stored as | bits/weight | ms | {' | '.join(against)} |")
    print("|---" * (5 + len(against)) + "|")
    for row in record["fours"]:
        others = " | ".join(f"{row[name]:.3f}" for name in against)
        print(
            f"| {row['scales']} | {row['batch']} | {row['stored_as']} | {row['bits']:.2f} | {row['ms']:.3f} | {others} |"
        )


def main() -> None:
    parser = parser_of(__doc__, 2.0)
    parser.add_argument("--batch", type=int, action="append", help="rows of x; may be given again; default 1 and 16")
    parser.add_argument("--values", type=int, action="append", help="distinct values; may be given again")
    parser.add_argument(
        "--only", nargs="*", choices=("quantised", "grids", "scaled", "integers", "fours"), help="some of the tables"
    )
    arguments = parser.parse_args()
    settings, record = begin(arguments)
    parts = {
        "quantised": lambda: measure(settings, tuple(arguments.batch or (1, 16)), tuple(arguments.values or VALUES)),
        "grids": lambda: grids(settings, tuple(arguments.batch or (1, 4))),
        "scaled": lambda: scaled(settings, tuple(arguments.batch or (1, 16))),
        "integers": lambda: integers(settings),
        "fours": lambda: fours(settings),
    }
    for name in arguments.only or parts:
        record[name] = parts[name]()
    save(record, "-".join(arguments.only or ["quantised"]), arguments.output)
    if not arguments.only:
        print_rows(record)


if __name__ == "__main__":
    main()
