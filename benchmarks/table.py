"""A record as Markdown tables: what README shows. `python -m benchmarks.table RECORD`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def print_record(record: dict[str, Any]) -> None:
    """Products, then the codec, then loading."""
    machine = record["machine"]
    print(
        f"{machine['processor']}, {record['threads']} threads, kernels {machine['isa']}, torch {machine['torch']}, "
        f"{machine['date']}, commit {machine['commit']}\n"
    )
    print("| weights | batch | objective | stored as | bits/weight | ms | x dense | x F.linear |")
    print("|---|---|---|---|---|---|---|---|")
    for row in record["products"]:
        linear = "-" if row["x_linear"] is None else f"{row['x_linear']:.2f}"
        void = " (void)" if row["void"] else ""
        print(
            f"| {row['what']} | {row['batch']} | {row['objective']} | {row['stored_as']} | {row['bits_per_weight']:.2f} "
            f"| {row['ms']:.3f} | {row['x_dense']:.2f}{void} | {linear} |"
        )
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
        f"laconic.linear {call['linear_us']:.1f} us."
    )


if __name__ == "__main__":
    print_record(json.loads(Path(sys.argv[1]).read_text()))
