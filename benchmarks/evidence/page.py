"""docs/EVIDENCE.md and its pictures, made of a record and of nothing else.

    python -m benchmarks.evidence.page RECORD [--check]

--check: exit 1 where the page is not what the record says, and write nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.evidence import claims, kernels, plots
from benchmarks.evidence.coding import OURS, RUNNABLE
from benchmarks.evidence.rows import Coded, Run, coded, failures, mixed, predictions, runs, shares, tokens_of
from benchmarks.record import Record
from benchmarks.tables import grid

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "EVIDENCE.md"
MARKS = {True: "won", False: "**lost**", None: "not measured"}


def text(found: Record, pictures: dict[str, str]) -> str:
    """The page. pictures: paths of pictures by name."""
    return "\n".join([*_lines(found, pictures), ""])


def _lines(found: Record, pictures: dict[str, str]) -> Iterator[str]:
    names = claims.titles(found)
    ran, rows, plans = runs(found), coded(found), mixed(found)
    commits = sorted({one["commit"] for one in found["units"].values()})
    old = sum(one["kernels"] != kernels.digest() for one in found["units"].values())
    yield "# The evidence"
    yield ""
    yield "Networks, states of their weights, coders of models and engines, side by side in one run:"
    yield "`make evidence` measures again and writes this page. Rows that we lose are marked as lost."
    yield ""
    yield f"{record.headline(found)}; {len(found['units'])} units of work,"
    if old:
        yield f"**kernels have changed since {old} of its {len(found['units'])} figures were measured**,"
    yield f"measured at commit {' and '.join(commits)}. Times are medians of runs that take turns, answers are compared first;"
    yield "*(void)*: other processes had the processors meanwhile. Weights of networks in `benchmarks/evidence/cases.toml` that"
    yield "are *drawn* have the shapes of the published network and the statistics of real layers of its kind; real ones are"
    yield "whole files. Every coder gets the same tensors after the same lossy step, and must give back every bit."
    yield ""
    yield "## What the paper says, and what we find"
    yield ""
    yield from grid(("claim", "here", ""), ((one.sentence, one.figure, MARKS[one.won]) for one in claims.claims(found)))
    yield ""
    if ran:
        yield from _networks(ran, tokens_of(found), names, pictures)
    if rows:
        yield from _coders(rows, names, pictures)
        yield from _products(rows, names)
    if plans:
        yield from _plans(plans, names, pictures)
    yield from _predictions(predictions(found), names)
    yield from _shares(shares(found), names)
    yield from _lost(found)
    yield from _failures(found, names)


def _networks(
    ran: list[Run], tokens: list[dict[str, Any]], names: dict[str, str], pictures: dict[str, str]
) -> Iterator[str]:
    yield "## Whole networks"
    yield ""
    yield "Pipelines on coded weights against the fastest other engine of the row; *dense* is our executor on weights that are"
    yield "not coded. `balanced` decodes every weight at every run, `speed` keeps what decodes too slowly as it is. Networks that run"
    yield "have the published shapes and weights as they are initialised, whose exponents are about as regular as trained ones."
    yield ""
    yield f"![Speed against size of whole networks]({pictures['networks']})"
    yield ""
    engines = sorted({name for run in ran for name in run.ms if not name.startswith("tersely")})
    head = ("network", "weights", "batch", "balanced", "speed", "dense", *engines, "balanced x fastest", "smaller", "")
    yield from grid(head, (_network_row(run, names, engines) for run in ran))
    yield ""
    yield from _tokens(tokens)
    yield from _cold([run for run in ran if run.cold], names)


def _cold(cold: list[Run], names: dict[str, str]) -> Iterator[str]:
    if cold:
        yield "From a file to the first answer, and the most memory a process had (before it opened the file):"
        yield ""
        columns = sorted({engine for run in cold for engine in run.cold})
        body = [
            [names[run.network]]
            + [
                f"{one['first_ms']:.0f} ms, {one['most_mb']:.0f} MB ({one['before_mb']:.0f})"
                if (one := run.cold.get(engine))
                else ""
                for engine in columns
            ]
            for run in cold
        ]
        yield from grid(("network, float32", *columns), body)
        yield ""


def _tokens(found: list[dict[str, Any]]) -> Iterator[str]:
    for one in found:
        unit, ms, nbytes = one["unit"], one["ms"], one["bytes"]
        others = {name: value for name, value in ms.items() if name not in ("balanced", "size")}
        fastest = min(others, key=others.__getitem__)
        yield f"A token of a Llama shape ({unit['layers']} layers, {unit['hidden']} wide, bfloat16, drawn weights, batch 1): "
        yield (
            "; ".join(
                f"{name} {ms[name]:.1f} ms, {others[fastest] / ms[name]:.2f} x {fastest.replace('dense', 'PyTorch')}, "
                f"{nbytes['dense'] / nbytes[name]:.2f} x smaller"
                for name in ("balanced", "size")
            )
            + f"{' (void)' if one['busy'] else ''}. Others: {', '.join(f'{name} {value:.1f} ms' for name, value in others.items())}."
        )
        yield ""


def _network_row(run: Run, names: dict[str, str], engines: list[str]) -> list[str]:
    ratio = run.ratio()
    verdict = "" if ratio is None else "won" if ratio >= 1 else "**lost**"
    cells = [
        f"{run.ms[name]:.1f}" if name in run.ms else ""
        for name in ("tersely balanced", "tersely speed", "tersely dense")
    ]
    others = [f"{run.ms[name]:.1f}" if name in run.ms else _short(run.left_out.get(name, "")) for name in engines]
    void = " (void)" if run.busy else ""
    figure = "" if ratio is None else f"{ratio:.2f} x{void}"
    return [
        names[run.network],
        run.state,
        str(run.batch),
        *cells,
        *others,
        figure,
        f"{run.smaller['balanced']:.2f} x",
        verdict,
    ]


def _short(reason: str) -> str:
    if reason.startswith(("is not installed", "disqualified", "crashed", "took")):
        return reason.split(":")[0].replace("is not installed", "missing")
    return "failed" if reason else ""


def _coders(rows: list[Coded], names: dict[str, str], pictures: dict[str, str]) -> Iterator[str]:
    rivals = sorted({name for row in rows for name in row.ratio if name not in OURS})
    yield "## Coders of models"
    yield ""
    yield "How many times smaller the same layers of each network become (larger is better; the best is bold). Ours are whole"
    yield "files with names and header, rivals are charged for neither. *order 0*: the bound of a coder that knows how often each"
    yield "value, or each exponent, occurs in a tensor, and nothing else."
    yield ""
    yield f"![Size against speed of decoding]({pictures['coders']})"
    yield ""
    columns = [name for name in OURS if any(name in row.ratio for row in rows)] + rivals
    body = []
    for row in rows:
        best = max(row.ratio.values(), default=0)
        cells = [_ratio_cell(row, name, best) for name in columns]
        mine = row.ratio.get("tersely max", 0)
        verdict = "" if not row.best_rival() else "won" if mine >= row.ratio[row.best_rival()] else "**lost**"
        body.append([names[row.network], row.state, f"{row.order_0:.3f}", *cells, verdict])
    yield from grid(("network", "weights", "order 0", *(_called(name) for name in columns), ""), body)
    yield ""
    yield "Megabytes of original bytes a second of processor time, medians of the rows (samples are small: what is paid once for a"
    yield "tensor counts):"
    yield ""
    speeds = []
    for name in columns:
        encode = [row.encode[name] for row in rows if name in row.encode]
        decode = [row.decode[name] for row in rows if name in row.decode]
        if encode:
            speeds.append(
                [
                    _called(name),
                    f"{statistics.median(encode):,.1f}",
                    f"{statistics.median(decode):,.1f}",
                    str(len(encode)),
                ]
            )
    yield from grid(("coder", "encodes", "decodes", "rows"), speeds)
    yield ""


def _ratio_cell(row: Coded, name: str, best: float) -> str:
    if name not in row.ratio:
        return "" if "takes none" in row.failed.get(name, "takes none") else _short(row.failed[name])
    shown = f"{row.ratio[name]:.3f}"
    return f"**{shown}**" if row.ratio[name] == best else shown


def _called(name: str) -> str:
    return name.replace("zstd_long", "zstd -22").replace("pcodec_best", "pcodec").replace("_", " ")


def _products(rows: list[Coded], names: dict[str, str]) -> Iterator[str]:
    rows = [row for row in rows if row.product]
    if not rows:
        return
    columns = sorted(
        {name for row in rows for name in row.product["ms"]} - {"dense"}, key=lambda one: (one not in RUNNABLE, one)
    )
    yield "## Products of coded matrices"
    yield ""
    yield "The largest matrix of each network by one row, one thread: speed and size against the fastest dense product."
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
    yield from grid(("network", "weights", "dense", *(_called(name) for name in columns)), body)
    yield ""


def _plans(plans: list[dict[str, Any]], names: dict[str, str], pictures: dict[str, str]) -> Iterator[str]:
    yield "## Mixed formulations"
    yield ""
    yield "The planner's choice layer by layer against each formulation alone, which codes every layer that it makes smaller:"
    yield "how many times smaller than dense, and the time of a product of every layer against dense."
    yield ""
    yield f"![Bits of a weight, layer by layer]({pictures['layers']})"
    yield ""
    body = []
    for one in plans:
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


def _predictions(found: list[dict[str, Any]], names: dict[str, str]) -> Iterator[str]:
    for one in found:
        same = ", ".join(
            f"{one[key]['equal']:,} of {one['images']:,} under `{key}` (outputs differ by {one[key]['difference']:.0e})"
            for key in ("size", "balanced", "speed")
        )
        yield f"{names[one['unit']['network']]} on labelled test images: accuracy {one['accuracy']:.1%} by PyTorch; equal"
        yield f"predictions from coded weights: {same}."
        yield ""


def _shares(found: list[dict[str, Any]], names: dict[str, str]) -> Iterator[str]:
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


def _lost(found: Record) -> Iterator[str]:
    lost = list(claims.losses(found))
    yield "## Where we lose"
    yield ""
    if not lost:
        yield "Nowhere in this record."
        yield ""
        return
    kinds: dict[str, list[str]] = {}
    for row, kind in lost:
        kinds.setdefault(claims.REASONS.get(kind, "Not known."), []).append(row)
    for reason, those in kinds.items():
        yield f"* {'; '.join(those)}. *{reason}*"
    yield ""


def _failures(found: Record, names: dict[str, str]) -> Iterator[str]:
    lost: dict[str, list[str]] = {}
    for unit, why in failures(found):
        who = unit.get("coder", unit["kind"])
        lost.setdefault(f"{_called(who)}: {why}", []).append(f"{names[unit['network']]}, {unit['state']}")
    for run in runs(found):
        for engine, why in run.left_out.items():
            lost.setdefault(f"{engine}: {why}", []).append(f"{names[run.network]}, {run.state}")
    if not lost:
        return
    yield "## Who is missing, and why"
    yield ""
    for why, where in lost.items():
        some = "; ".join(dict.fromkeys(where[:4])) + (f" and {len(where) - 4} more" if len(where) > 4 else "")
        yield f"* {why} ({some})"
    yield ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=PAGE)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    found = json.loads(arguments.record.read_text())
    pictures = {name: f"pictures/evidence-{name}.svg" for name in plots.PICTURES}
    page = text(found, pictures)
    if arguments.check:
        if not arguments.output.is_file() or arguments.output.read_text() != page:
            raise SystemExit(f"{arguments.output} is not what {arguments.record} says: make evidence-page writes it")
        return
    plots.save(found, arguments.output.parent)
    arguments.output.write_text(page)


if __name__ == "__main__":
    main()
