"""Every table of README.md and docs/benchmarks.md, made from the records.

    python -m benchmarks.tables            # write them between their marks
    python -m benchmarks.tables --check    # exit 1 where one is not what the records say

A page has a line `<!-- table: NAME -->` before a table and `<!-- end of table -->` behind it; what is between is replaced.
"""

from __future__ import annotations

import re
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.evidence import summary
from benchmarks.record import Record

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/benchmarks.md")
MARKS = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.S)

NOTHING = "Nothing is recorded yet."

Row = dict[str, Any]
Cell = tuple[tuple[str, ...], str]
"""The first columns of a row, and what stands in the column of the machine."""


def grid(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """Lines of a Markdown table."""
    titles = list(head)
    yield f"| {' | '.join(titles)} |"
    yield "|---" * len(titles) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def by_machine(kind: str, titles: tuple[str, ...], cells: Callable[[Record], Iterator[Cell]]) -> list[str]:
    """A table with a column for each machine that has a record of the kind, and a line that names the records."""
    found = record.of_kind(kind)
    if not found:
        return [NOTHING]
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for path, one in found:
        for key, text in cells(one):
            rows.setdefault(key, {})[path.name] = text
    order = list(dict.fromkeys(key[0] for key in rows))
    ranked = sorted(rows, key=lambda key: (order.index(key[0]), int(key[1]) if key[1:] and key[1].isdecimal() else 0))
    heads = [f"{one['machine']['model']}, {one['machine']['isa']}" for _, one in found]
    lines = list(grid((*titles, *heads), ([*key, *(rows[key].get(p.name, "") for p, _ in found)] for key in ranked)))
    return [*lines, "", *(f"* {_link(path, one)}" for path, one in found)]


def _link(path: Path, one: Record) -> str:
    name = f"../{path.relative_to(ROOT).as_posix()}"
    versions = {**one["versions"]}
    named = "".join(
        f", {key} {versions[key]}" for key in ("torch", "transformers", "llama-cpp-python") if key in versions
    )
    others = sorted({row["commit"] for row in one.get("rows", []) if "commit" in row})
    commits = "commit " + " and ".join([one["commit"], *others])
    return f"[{one['machine']['model']}, {one['machine']['isa']}]({name}), {commits}{named}"


def _times(row: Row) -> str:
    return f"{row['x_dense']:.2f} x" + (" (void)" if row.get("void") or row.get("busy") else "")


def product_cells(one: Record) -> Iterator[Cell]:
    """Each form of each case."""
    for row in one["rows"]:
        bits = f"{row['bits_per_weight']:.1f}"
        stored = row["stored_as"].replace(" (planned for speed)", "")
        yield (row["what"], str(row["batch"]), stored, bits), f"{_times(row)}, {row['ms']:.2f} ms"


def best_cells(one: Record) -> Iterator[Cell]:
    """The fastest form of each case, or what the planner takes for speed, where the record says so."""
    best: dict[tuple[str, str], Row] = {}
    for row in one["rows"]:
        key = (row["what"], str(row["batch"]))
        if key not in best or row["ms"] < best[key]["ms"]:
            best[key] = row
    for key, row in best.items():
        yield key, f"{_times(row)}, {row['bits_per_weight']:.1f} bits"


def model_cells(one: Record) -> Iterator[Cell]:
    """Times of every choice against the dense model."""
    for row in one["rows"]:
        for choice, ratio in row["x_dense"].items():
            if choice == "dense":
                continue
            ms, busy = row["ms"][choice], " (void)" if row["busy"] else ""
            yield (row["what"], choice.replace("llama_cpp", "llama.cpp")), f"{ms:,.1f} ms, {ratio:.2f} x{busy}"
    for choice, size in _memory(one["rows"]).items():
        yield ("memory of the weights", choice), f"{size:.3f} of dense"
    for row in one.get("load", []):
        what = f"first answer, page cache {row['page_cache']}"
        yield (what, row["choice"]), f"{row['first_answer_seconds']:.2f} s"


def _memory(rows: list[Row]) -> dict[str, float]:
    found: dict[str, float] = {}
    for row in rows:
        sizes = row.get("bytes", {})
        found |= {choice: size / sizes["dense"] for choice, size in sizes.items() if choice != "dense"}
    return found


def codec_cells(one: Record) -> Iterator[Cell]:
    for row in one["rows"]:
        speed = row["gb_per_s"]
        yield (
            (row["dtype"], row["code"]),
            f"{speed['decode']:.1f} GB/s ({speed['decode'] / speed['memcpy']:.2f} of memcpy); {speed['encode']:.1f} GB/s",
        )
    yield ("a call of `linear`", "next to no weights"), f"{one['call']['linear_us']:.1f} µs"


def file_cells(one: Record) -> Iterator[Cell]:
    for row in one["rows"]:
        speeds = f"{row['encode_mb_per_s']:,.0f} and {row['decode_mb_per_s']:,.0f} MB/s"
        yield (row["model"], row["dtype"], row["codec"]), f"{row['ratio']:.3f} x, {speeds}"


def size_table() -> list[str]:
    """Files of real networks by objective; the same on every machine."""
    ((path, one),) = record.of_kind("sizes")
    objectives = list(one["rows"][0]["bytes_after"])
    rows = (
        [
            row["model"],
            f"{row['bytes'] / 1e6:.2f} MB",
            *(f"{row['bytes'] / size:.3f} x" for size in row["bytes_after"].values()),
        ]
        for row in one["rows"]
    )
    link = f"../{path.relative_to(ROOT).as_posix()}"
    return [*grid(("network", "before", *objectives), rows), "", f"* [Record]({link}), commit {one['commit']}"]


PEERS = {
    "zstd_long": "zstd -22",
    "xz": "xz -9e",
    "brotli": "Brotli -11",
    "zpaq": "zpaq -m5",
    "zipnn": "ZipNN",
    "pcodec_best": "pcodec",
    "openzl": "OpenZL",
    "nncodec": "NNCodec",
    "huffman": "Huffman, ours",
}
"""What a page calls the peers of `benchmarks.storage`."""
MIXERS = ("zpaq",)
"""Peers that only level max is to beat: they decode at a megabyte a second."""


def storage_table() -> list[str]:
    """Whole files of the storage tier beside the best peer; rows that we lose are marked."""
    found = record.of_kind("storage")
    if not found:
        return [NOTHING]
    path, one = found[-1]
    rows = [row for row in one["rows"] if {"fast", "max"} <= row["stored"].keys()]
    head = ("network", "made into", "before", "best peer", "zpaq -m5", "fast", "max", "order 0")
    link = f"../{path.relative_to(ROOT).as_posix()}"
    versions = ", ".join(f"{PEERS[name]} {version}" for name, version in one["peers"].items() if version != "ours")
    commits = " and ".join(dict.fromkeys([one["commit"], *(row["commit"] for row in one["rows"] if "commit" in row)]))
    line = f"* [Record]({link}), commit {commits}; {versions}"
    return [*grid(head, map(storage_row, rows)), "", line]


def storage_row(row: Row) -> tuple[str, ...]:
    """A row of it. What is marked as lost is not smaller than the best peer: level max of all, fast of all but mixers."""
    sizes = {name: found["bytes"] for name, found in row["stored"].items()}
    others = {name: size for name, size in sizes.items() if name in PEERS}
    quick = {name: size for name, size in others.items() if name not in MIXERS}
    best = min(quick, key=quick.__getitem__, default=None)

    left_out = row.get("left_out", {})
    absent = [name for name in PEERS if name not in (*sizes, *left_out, *MIXERS, "nncodec")]

    def ratio(size: float, against: dict[str, int] | None = None) -> str:
        lost = against and size >= min(against.values())
        return f"{row['bytes'] / size:.3f} x" + (" (lost)" if lost else "")

    return (
        row["model"],
        row["variant"],
        f"{row['bytes'] / 1e6:.2f} MB",
        f"{PEERS[best]} {ratio(quick[best])}" + (f", of {len(quick)} peers" if absent else "") if best else "",
        ratio(sizes["zpaq"]) if "zpaq" in sizes else "",
        ratio(sizes["fast"], quick),
        ratio(sizes["max"], others),
        ratio(row["order_0_bytes"]),
    )


def storage_speeds() -> list[str]:
    """Speeds of the coders, one thread, of the rows that were timed."""
    found = [(path, one) for path, one in record.of_kind("storage") if any("speeds" in row for row in one["rows"])]
    if not found:
        return [NOTHING]
    path, one = found[-1]
    rows = [row for row in one["rows"] if "speeds" in row]
    coders = [name for name in ("fast", "max", *PEERS) if any(name in row["speeds"] for row in rows)]

    def cell(row: Row, name: str) -> str:
        speed = row["speeds"].get(name)
        return f"{_rate(speed['encode_mb_per_s'])} and {_rate(speed['decode_mb_per_s'])}" if speed else ""

    heads = [f"{row['model']}, {row['variant']}" + (" (void)" if row["speeds"]["busy"] else "") for row in rows]
    lines = grid(
        ("MB/s, encoded and decoded", *heads),
        ([PEERS.get(name, f"level {name}"), *(cell(row, name) for row in rows)] for name in coders),
    )
    return [*lines, "", f"* {_link(path, one)}"]


def opening_cells(one: Record) -> Iterator[Cell]:
    """Each step from a stored file on: seconds, speed in original bytes, and the most memory."""
    for row in one["rows"]:
        threads = row["threads"]
        what = f"{row['bytes'] / 1e6:,.0f} MB of {row['dtype']} like {row['like']}, {threads} thread" + "s" * (
            threads > 1
        )
        what += " (void)" * bool(row["busy"])
        for step, took in row["steps"].items():
            text = f"{took['seconds']:.2f} s, {took['mb_per_s']:,.0f} MB/s, {took['peak_mb']:,.0f} MB"
            yield (what, "ZipNN decodes" if step == "zipnn" else step), text


def _rate(speed: float) -> str:
    return f"{speed:,.0f}" if speed >= 10 else f"{speed:.1f}"


def kernel_cells(one: Record) -> Iterator[Cell]:
    for row in one["rows"]:
        yield (row["what"], row["isa"], str(row["rows"])), f"{row.get('least_ns', row['ns']) * row['clock_ghz']:.1f}"


def prediction_cells(one: Record) -> Iterator[Cell]:
    for name, model in one["models"].items():
        errors = [row["error"] for row in model["layers"]]
        found = f"{statistics.median(errors):.1%} in {len(errors)} layers; " if errors else ""
        share = model["plan_s"] / model["compress_s"]
        yield (name.removesuffix(".safetensors"),), f"{found}planning takes {share:.2f} of compressing"
    yield ("all",), f"{one['median_error']:.1%}"


def network_cells(one: Record) -> Iterator[Cell]:
    """Each network under objective `balanced`: against the fastest other engine, how much smaller, milliseconds."""
    for row in one["rows"]:
        ms = row["ms"]["tersely balanced"]
        others = {engine: time for engine, time in row["ms"].items() if not engine.startswith("tersely")}
        best = min(others, key=others.__getitem__)
        void = " (void)" if row["busy"] else ""
        told = f"{others[best] / ms:.2f} x{void} {best} ({others[best]:.1f} ms), {row['smaller']['balanced']:.2f} x smaller"
        yield (row["network"], str(row["batch"])), told


def evidence() -> list[str]:
    """The rows of the README, from the record of `benchmarks.evidence`."""
    if (newest := summary.newest()) is None:
        return [NOTHING]
    path, found = newest
    told = summary.line(found, path.relative_to(ROOT).as_posix())
    return [*grid(summary.HEAD, summary.rows(found)), "", *told]


TABLES: dict[str, Callable[[], list[str]]] = {
    "evidence": evidence,
    "networks": lambda: by_machine("networks", ("network, float32", "batch"), network_cells),
    "models": lambda: by_machine("models", ("", "objective"), model_cells),
    "products": lambda: by_machine("products", ("weights", "rows of x", "stored as", "bits"), product_cells),
    "pruned": lambda: by_machine("pruned", ("weights", "rows of x"), best_cells),
    "quantised": lambda: by_machine("quantised", ("weights", "rows of x"), best_cells),
    "integers": lambda: by_machine("integers", ("weights", "rows of x", "stored as", "bits"), product_cells),
    "sizes": size_table,
    "storage": storage_table,
    "storage_speeds": storage_speeds,
    "opening": lambda: by_machine("opening", ("file", "step"), opening_cells),
    "codec": lambda: by_machine("codec", ("weights", "code"), codec_cells),
    "files": lambda: by_machine("files", ("model", "weights", "codec"), file_cells),
    "kernels": lambda: by_machine("kernels", ("form", "kernels", "rows of x"), kernel_cells),
    "predictions": lambda: by_machine("predictions", ("network",), prediction_cells),
}


def filled(text: str) -> str:
    """A page with its tables as the records have them. Raises KeyError where a mark names no table."""
    return MARKS.sub(lambda found: found[1] + "\n" + "\n".join(TABLES[found[2]]()) + "\n\n" + found[3], text)


def stale() -> list[str]:
    """The pages whose tables are not what the records say."""
    return [name for name in PAGES if filled((ROOT / name).read_text()) != (ROOT / name).read_text()]


def main() -> None:
    if "--check" in sys.argv[1:]:
        if found := stale():
            raise SystemExit(f"{', '.join(found)}: run python -m benchmarks.tables")
        return
    for name in PAGES:
        (ROOT / name).write_text(filled((ROOT / name).read_text()))


if __name__ == "__main__":
    main()
