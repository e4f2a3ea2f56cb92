"""Sections of the page on coders: sizes, speeds, products, plans, and the paper's table."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from benchmarks.evidence.cells import called, short
from benchmarks.evidence.coding import OURS, RUNNABLE
from benchmarks.evidence.rows import Coded
from benchmarks.tables import grid


def _rivals(rows: list[Coded], rivals: list[str], names: dict[str, str]) -> Iterator[str]:
    """A line for each rival: in how many rows ours is smaller, by how much, and where it comes closest or wins."""
    yield "Rival by rival, over every row that both code: in how many ours is smaller, how many times as large the rival's files are"
    yield "as those of `max` (geometric mean), and the row in which it comes closest, or wins by most:"
    yield ""
    body = []
    for name in rivals:
        both = [row for row in rows if name in row.ratio and "tersely max" in row.ratio]
        if not both:
            continue
        larger = {id(row): row.ratio["tersely max"] / row.ratio[name] for row in both}
        closest = min(both, key=lambda row: larger[id(row)])
        counts = [
            f"{sum(row.ratio.get(mine, 0) > row.ratio[name] for row in both)} of {len(both)}"
            for mine in ("tersely max", "tersely fast")
        ]
        body.append(
            [called(name), *counts, f"{statistics.geometric_mean(larger.values()):.3f}",
             f"{larger[id(closest)]:.4f}: {names[closest.network]}, {closest.state}"]
        )  # fmt: skip
    yield from grid(("rival", "max is smaller in", "fast is smaller in", "times as large", "closest"), body)
    yield ""


def coders(rows: list[Coded], names: dict[str, str], pictures: dict[str, str]) -> Iterator[str]:
    rows = [row for row in rows if row.ratio]
    if not rows:
        return
    rivals = sorted({name for row in rows for name in row.ratio if name not in OURS})
    yield "## Coders of models"
    yield ""
    most = max(row.original_bytes for row in rows)
    yield "How many times smaller the same layers of each network become (larger is better; the best is bold): a sample, layers"
    yield f"spread evenly over the network, of {most / 1e6:.1f} MB at most, because some coders take minutes for a megabyte. Ours are"
    yield "whole files with names and header, rivals are charged for neither. *order 0*: the bound of a coder that knows how often"
    yield "each value, or each exponent, occurs in a tensor, and nothing else."
    yield ""
    yield f"![Size against speed of decoding]({pictures['coders']})"
    yield ""
    yield from _rivals(rows, rivals, names)
    yield "All of it:"
    yield ""
    columns = [name for name in OURS if any(name in row.ratio for row in rows)] + rivals
    body = []
    for row in rows:
        best = max(row.ratio.values(), default=0)
        cells = [_ratio_cell(row, name, best) for name in columns]
        mine = row.ratio.get("tersely max", 0)
        verdict = "" if not row.best_rival() else "won" if mine >= row.ratio[row.best_rival()] else "**lost**"
        body.append([names[row.network], row.state, f"{row.order_0:.3f}", *cells, verdict])
    yield from grid(("network", "weights", "order 0", *(called(name) for name in columns), ""), body)
    yield ""
    yield "Megabytes of original bytes a second of processor time, medians of the rows (samples are small: what is paid once for a"
    yield "tensor counts; other units may have run on the other cores):"
    yield ""
    speeds = []
    for name in columns:
        encode = [row.encode[name] for row in rows if name in row.encode]
        decode = [row.decode[name] for row in rows if name in row.decode]
        if encode:
            speeds.append(
                [
                    called(name),
                    f"{statistics.median(encode):,.1f}",
                    f"{statistics.median(decode):,.1f}",
                    str(len(encode)),
                ]
            )
    yield from grid(("coder", "encodes", "decodes", "rows"), speeds)
    yield ""


def _ratio_cell(row: Coded, name: str, best: float) -> str:
    if name not in row.ratio:
        return "" if "takes none" in row.failed.get(name, "takes none") else short(row.failed[name])
    shown = f"{row.ratio[name]:.3f}"
    return f"**{shown}**" if row.ratio[name] == best else shown


def products(rows: list[Coded], names: dict[str, str]) -> Iterator[str]:
    rows = [row for row in rows if row.product]
    if not rows:
        return
    columns = sorted(
        {name for row in rows for name in row.product["ms"]} - {"dense"}, key=lambda one: (one not in RUNNABLE, one)
    )
    yield "## Products of coded matrices"
    yield ""
    yield "A large matrix of each network by one row, one thread: speed and size against the fastest dense product. Each coder has"
    yield "as many copies as make dense ones larger than the caches together, and takes them in turn."
    yield ""
    body = []
    for row in rows:
        ms, nbytes = row.product["ms"], row.product["bytes"]
        void = " (void)" if row.product["busy"] else ""
        cells = [
            f"{ms['dense'] / ms[name]:.2f} x, {nbytes['dense'] / nbytes[name]:.2f} smaller" if name in ms else ""
            for name in columns
        ]
        shape = " x ".join(map(str, row.product["shape"]))
        body.append([names[row.network], row.state, f"{shape}, {ms['dense']:.2f} ms{void}", *cells])
    yield from grid(("network", "weights", "dense", *(called(name) for name in columns)), body)
    yield ""


def plans(found: list[dict[str, Any]], names: dict[str, str], pictures: dict[str, str]) -> Iterator[str]:
    yield "## Mixed formulations"
    yield ""
    yield "The planner's choice layer by layer against each formulation alone, which codes every layer that it makes smaller:"
    yield "how many times smaller than dense, and the time of a product of every layer against dense."
    yield ""
    yield f"![Bits of a weight, layer by layer]({pictures['layers']})"
    yield ""
    body = []
    for one in found:
        nbytes, ms = one["bytes"], one["ms"]
        alone = [name for name in nbytes if name not in ("balanced", "size", "speed", "dense")]
        cells = [
            f"{_against(nbytes, name):.2f} smaller, {_against(ms, name):.2f} x"
            for name in ("balanced", "size", "speed")
        ]
        told = ", ".join(f"{name} {_against(nbytes, name):.2f}, {_against(ms, name):.2f} x" for name in alone)
        got = ", ".join(f"{count} {name}" for name, count in one["formulations"]["balanced"].items())
        void = " (void)" if one["busy"] else ""
        body.append([names[one["unit"]["network"]], one["unit"]["state"] + void, *cells, told, got])
    yield from grid(("network", "weights", "balanced", "size", "speed", "one alone", "layers under balanced"), body)
    yield ""


def paper_table(found: list[dict[str, Any]], names: dict[str, str]) -> Iterator[str]:
    if not found:
        return
    yield "## The paper's table"
    yield ""
    yield "Percent of float32, as the paper of 2022 counts: HF, Huffman codes; E and B, its element-wise and block-wise sequences in"
    yield "a wavelet tree (our plain implementation); tersely, blocks of level `max`. Its own inputs were rounded, and cannot be had."
    yield ""
    head = ("network", "layer", "weights", "HF", "E", "B", "tersely")
    body = []
    for one in found:
        title = f"{names[one['unit']['network']]}, {one['unit']['state']}"
        total = sum(layer["weights"] for layer in one["layers"])
        whole = {
            key: sum(layer[key] * layer["weights"] for layer in one["layers"]) / total
            for key in ("HF", "E", "B", "tersely")
        }
        body.append([title, "**all**", f"{total:,}", *(f"**{value:.2f}**" for value in whole.values())])
        largest = sorted(one["layers"], key=lambda layer: -layer["weights"])[:8]
        body += [
            ["", layer["layer"], f"{layer['weights']:,}", *(f"{layer[key]:.2f}" for key in whole)] for layer in largest
        ]
    yield from grid(head, body)
    yield ""


def _against(values: dict[str, float], name: str) -> float:
    return values["dense"] / values[name]
