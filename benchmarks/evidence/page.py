"""docs/EVIDENCE.md and its pictures, made of a record and of nothing else.

    python -m benchmarks.evidence.page RECORD [--check]

--check: exit 1 where the page is not what the record says, and write nothing.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks import record
from benchmarks.evidence import claims, kept, kernels, page_coders, page_networks, plots
from benchmarks.evidence.cells import called
from benchmarks.evidence.rows import coded, failures, mixed, predictions, runs, shares, tokens_of
from benchmarks.record import Record
from benchmarks.tables import grid

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "EVIDENCE.md"
DIFFERENCE = re.compile(r"\d\.\de[-+]\d\d")
MARKS = {True: "won", False: "**lost**", None: "not measured"}


def text(found: Record, pictures: dict[str, str]) -> str:
    """The page. pictures: paths of pictures by name."""
    return "\n".join([*_lines(found, pictures), ""])


def _lines(found: Record, pictures: dict[str, str]) -> Iterator[str]:
    names = claims.titles(found)
    ran, rows, plans = runs(found), coded(found), mixed(found)
    commits = sorted({one["commit"] for one in found["units"].values()})
    old = sum(kernels.changed(one) for one in found["units"].values())
    yield "# The evidence"
    yield ""
    yield "Networks, states of their weights, coders of models and engines, side by side: what a row compares took turns in one"
    yield "process, or got one file. `make evidence` measures again and writes this page. Rows that we lose are marked as lost."
    yield ""
    yield f"{record.headline(found)}; {len(found['units'])} units of work,"
    if old:
        yield f"**kernels have changed since {old} of its {len(found['units'])} figures were measured**,"
    yield f"{_at(commits)}. Times are medians of runs that take turns, answers are compared first;"
    yield "*(void)*: other processes had the processors meanwhile. Weights of networks in `benchmarks/evidence/cases.toml` that"
    yield "are *drawn* have the shapes of the published network and the statistics of real layers of its kind. Every coder gets the"
    yield "same tensors after the same lossy step, and must give back every bit."
    yield ""
    yield "## What the paper says, and what we find"
    yield ""
    yield from grid(("claim", "here", ""), ((one.sentence, one.figure, MARKS[one.won]) for one in claims.claims(found)))
    yield ""
    if ran:
        yield from page_networks.networks(ran, runs(found, "narrow"), tokens_of(found), names, pictures)
    if rows:
        yield from page_coders.coders(rows, names, pictures)
        yield from page_coders.products(rows, names)
    if plans:
        yield from page_coders.plans(plans, names, pictures)
    yield from page_networks.predictions(predictions(found), names)
    yield from page_coders.paper_table(shares(found), names)
    yield from _lost(found)
    yield from _failures(found, names)


def _at(commits: list[str]) -> str:
    if len(commits) == 1:
        return f"measured at commit {commits[0]}"
    return f"measured at {len(commits)} commits, which the record has figure by figure"


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

    def add(who: str, why: str, row: str) -> None:
        """Rows of one kind of reason together, each with its own figure."""
        kind, figure = DIFFERENCE.sub("so much", why), DIFFERENCE.search(why)
        lost.setdefault(f"{who}: {kind}", []).append(row + (f", {figure[0]}" if figure else ""))

    for unit, why in failures(found):
        batch = f", batch {unit['batch']}" if "batch" in unit else ""
        add(called(unit.get("coder", unit["kind"])), why, f"{names[unit['network']]}, {unit['state']}{batch}")
    for run in runs(found) + runs(found, "narrow"):
        row = f"{names[run.network]}, {run.state}, batch {run.batch}{run.held}"
        for engine, why in run.left_out.items():
            add(engine, why, row)
        for engine, why in run.cold_left_out.items():
            add(f"{engine} from a file", why, row)
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
    parser.add_argument("-o", "--output", type=Path, help="docs/EVIDENCE.md, or EVIDENCE-quick.md of a quick record")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    found = kept.read(arguments.record)
    output = arguments.output or (PAGE.with_name("EVIDENCE-quick.md") if found["quick"] else PAGE)
    pictures = {name: f"pictures/{output.stem.lower()}-{name}.svg" for name in plots.of(found)}
    page = text(found, pictures)
    if arguments.check:
        if not output.is_file() or output.read_text() != page:
            raise SystemExit(f"{output} is not what {arguments.record} says: make evidence-page writes it")
        return
    plots.save(found, {name: output.parent / path for name, path in pictures.items()})
    output.write_text(page)
    print(output)


if __name__ == "__main__":
    main()
