"""A record as Markdown tables: what README shows. `python -m benchmarks.table RECORD`, or `--readme RECORD ...` to write it there."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

README = Path(__file__).parent.parent / "README.md"
START, END = "<!-- table: made by `python -m benchmarks.table --readme RECORD ...` -->\n", "<!-- end of table -->"


def headline(record: dict[str, Any]) -> str:
    """Machine, threads, versions, commit."""
    machine = record["machine"]
    return (
        f"{machine['processor']}, {record['threads']} threads, kernels {machine['isa']}, torch {machine['torch']}, "
        f"{machine['date']}, commit {machine['commit']}"
    )


def product_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """One line a product."""
    yield "| weights | batch | objective | stored as | bits/weight | ms | x dense | x F.linear |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        linear = "-" if row["x_linear"] is None else f"{row['x_linear']:.2f}"
        void = " (void)" if row["void"] else ""
        yield (
            f"| {row['what']} | {row['batch']} | {row['objective']} | {row['stored_as']} | {row['bits_per_weight']:.2f} "
            f"| {row['ms']:.3f} | {row['x_dense']:.2f}{void} | {linear} |"
        )


def print_record(record: dict[str, Any]) -> None:
    """Products, then the codec, then loading."""
    print(headline(record) + "\n")
    for line in product_lines(record["products"]):
        print(line)
    print("\n| transposed, bfloat16 packed, batch | ms | x torch |\n|---|---|---|")
    for row in record["transposed"]:
        print(f"| {row['batch']} | {row['ms']:.3f} | {row['x_dense']:.2f} |")
    print("\n| one thread | decode GB/s | of memcpy | encode MB/s | encode MB/s, 2 threads |\n|---|---|---|---|---|")
    for row in record["codec"]:
        print(
            f"| {row['dtype']} {row['code']} | {row['decode_gb_per_s']:.1f} | {row['decode_of_memcpy']:.2f} "
            f"| {row['encode_mb_per_s']:.0f} | {row['encode_2_threads_mb_per_s']:.0f} |"
        )
    load, call = record["loading"], record["call_overhead"]
    print(
        f"\nload_file of {load['file_bytes'] / 1e9:.2f} GB to the first product: {load['load_to_first_product_ms']:.1f} ms, "
        f"of which the product {load['product_ms']:.1f} ms. A call: native {call['native_us']:.1f} us, "
        f"tersely.linear {call['linear_us']:.1f} us."
    )


def write_readme(paths: list[Path]) -> None:
    """Put the products of each record, under its headline, between the marks of README.md."""
    parts = []
    for path in paths:
        record = json.loads(path.read_text())
        chosen = [row for row in record["products"] if "forced" not in row["what"] and "mapped" not in row["what"]]
        name = path.resolve().relative_to(README.parent).as_posix()
        parts.append(f"[{headline(record)}]({name}):\n\n" + "\n".join(product_lines(chosen)) + "\n")
    text = README.read_text()
    pattern = re.escape(START) + r".*?" + re.escape(END)
    replaced, count = re.subn(pattern, lambda _: START + "\n" + "\n".join(parts) + "\n" + END, text, flags=re.S)
    if count != 1:
        raise SystemExit("README.md lacks the marks of the table")
    README.write_text(replaced)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--readme"]:
        write_readme([Path(name) for name in sys.argv[2:]])
    else:
        print_record(json.loads(Path(sys.argv[1]).read_text()))
