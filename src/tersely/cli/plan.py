"""`tersely plan`: what every tensor would become, as a table, as JSON to edit, or one tensor explained."""

from __future__ import annotations

import json as json_module
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from tersely.cli import failures, output, tables, text
from tersely.cli.compress import LEVEL, OBJECTIVE, PROFILE, TARGET
from tersely.cli.tables import Column
from tersely.core.choices import Objective, StorageLevel, Store
from tersely.core.dtypes import BY_NAME
from tersely.files import folder, plan_file, plan_source, store_file
from tersely.planner import choose
from tersely.storage.archive.tried import Way


def run(
    src: Annotated[
        Path,
        typer.Argument(metavar="SRC", help="A .safetensors or .onnx file, a *.safetensors.index.json, or a folder."),
    ],
    explain: Annotated[str | None, typer.Option(metavar="NAME", help="Every candidate of this tensor.")] = None,
    destination: Annotated[Path | None, typer.Option("-o", "--output", help="Write the plan here, as JSON.")] = None,
    objective: Annotated[Objective | None, typer.Option(help=OBJECTIVE)] = None,
    profile: Annotated[str, typer.Option(metavar="NAME|FILE", help=PROFILE)] = "portable",
    batch: Annotated[int, typer.Option(min=1, metavar="ROWS", help="Rows of x to plan for.")] = 1,
    target_bits: Annotated[float | None, typer.Option(metavar="B", help=TARGET)] = None,
    include: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="Only these tensors.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="Not these tensors.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="Workers; default: all processors.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing plan.")] = False,
    store: Annotated[Store | None, typer.Option(help="With --explain: what storing the tensor tries.")] = None,
    level: Annotated[StorageLevel | None, typer.Option(help=LEVEL)] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Plan without writing weights; times are the cost model's."""
    if store is not None and explain is None:
        raise typer.BadParameter("--store goes with --explain; what a whole file takes is known when it is written")
    if level is not None and store is None:
        raise typer.BadParameter("--level is one of storing: give --store smallest with it")
    if explain is not None:
        ignored = {"-o": destination, "--target-bits": target_bits, "--include": include, "--exclude": exclude}
        if given := [option for option, value in ignored.items() if value is not None]:
            raise typer.BadParameter(f"{given[0]} does not go with --explain, which is about one tensor")
        if store is not None:
            _show_stored(store_file.explain(src, explain, level=level or "fast", threads=threads), json)
            return
        wanted = objective or plan_file.BALANCED
        verdicts = plan_file.explain(src, explain, objective=wanted, profile=profile, batch=batch, threads=threads)
        rows: list[dict[str, Any]] = [
            {
                "candidate": plan_file.label(one.candidate),
                "stored_bytes": one.candidate.nbytes,
                "predicted_us": round(one.ns / 1000, 1),
                "reason_rejected": one.reason_rejected,
                "note": one.note,
            }
            for one in verdicts
        ]
        if json:
            output.print_json(rows)
            return
        output.print_table(CANDIDATES, rows)
        return
    source = plan_source.find(src)
    if destination is not None:
        folder.check_document(source.root if source.folder else source.path, destination, force)
    document = plan_file.make_plan(
        src,
        objective=objective,
        profile=profile,
        batch=batch,
        target_bits=target_bits,
        include=include,
        exclude=exclude,
        threads=threads,
    )
    if destination is not None:
        folder.write_document(
            destination,
            json_module.dumps(document, indent=1) + "\n",
            [source.root / shard for shard in source.weights],
            force,
        )
    for note in plan_file.unmatched(source, include or (), exclude or ()):
        output.complain(failures.with_flags(note), kind="note")
    if json:
        output.print_json(document)
        return
    _show(document)
    if destination is not None:
        output.written(destination)


@dataclass(frozen=True)
class Row:
    """Entries of a plan on one line."""

    names: Sequence[str]
    entries: Sequence[Mapping[str, Any]]

    @property
    def how(self) -> str:
        return str(self.entries[0]["label"])

    @property
    def time(self) -> str:
        times = [entry.get("predicted_us") for entry in self.entries]
        return "-" if None in times else f"{sum(filter(None, times)):.1f}"

    @property
    def reason(self) -> str:
        reasons = {str(entry["reason"]) for entry in self.entries}
        return reasons.pop() if len(reasons) == 1 else "each its own: --explain NAME"

    @property
    def size(self) -> int:
        return sum(entry["stored_bytes"] for entry in self.entries)

    @property
    def plain(self) -> int:
        """Bytes of the plain tensors."""
        return sum(-(-math.prod(entry["shape"]) * BY_NAME[entry["dtype"]].bits // 8) for entry in self.entries)


TENSORS = (
    Column("tensor", lambda row: text.joined(row.names), keep=9, least=40),
    Column("stored as", lambda row: row.how, keep=8, least=12, middle=False),
    Column("size", lambda row: output.size(row.size), right=True, keep=7),
    Column("predicted us", lambda row: row.time, right=True, keep=6),
    Column("reason", lambda row: row.reason, keep=5, least=24, middle=False),
)
CANDIDATES = (
    Column("candidate", lambda row: row["candidate"], keep=9, least=20, middle=False),
    Column("size", lambda row: output.size(row["stored_bytes"]), right=True, keep=7),
    Column("predicted us", lambda row: f"{row['predicted_us']:.1f}", right=True, keep=6),
    Column("why it lost", lambda row: _why(row), keep=8, least=24, middle=False),
)


def _show_stored(ways: Sequence[Way], json: bool) -> None:
    """What storing tried for one tensor, in the columns of candidates: products do not count."""
    rows: list[dict[str, Any]] = [
        {
            "candidate": way.label,
            "stored_bytes": way.nbytes,
            "reason_rejected": "" if way.chosen else f"{way.nbytes / max(1, way.chosen_bytes):.3f} {choose.LARGER}",
            "note": way.note,
        }
        for way in ways
    ]
    if json:
        output.print_json(rows)
        return
    output.print_table([column for column in CANDIDATES if column.title != "predicted us"], rows)


def _why(row: Mapping[str, Any]) -> str:
    return str(row["reason_rejected"] or (f"chosen: {row['note']}" if row["note"] else "chosen"))


def _show(document: Mapping[str, Any]) -> None:
    """The plan as a table, then what all tensors are together."""
    tensors = document["tensors"]
    rows = [Row([name], [entry]) for name, entry in tensors.items()]
    whole = Row(list(tensors), list(tensors.values()))
    if output.width() is not None:
        alike = tables.grouped(
            rows, lambda row: row.names[0], lambda row: (row.how, str(row.entries[0]["shape"]), row.entries[0]["dtype"])
        )
        rows = [Row([row.names[0] for row in group], [row.entries[0] for row in group]) for group in alike]
    output.print_table(TENSORS, rows)
    coded = sum(entry["formulation"] != "dense" for entry in tensors.values())
    output.line(
        f"together: {len(tensors)} tensors ({coded} coded), weights {output.size(whole.plain)} -> {output.size(whole.size)}, "
        f"ratio {output.ratio(whole.plain, whole.size)}"
    )
    timed = [entry["predicted_us"] for entry in tensors.values() if entry.get("predicted_us") is not None]
    if timed:
        output.line(f"predicted: {sum(timed):.1f} us for a product by each, batch {document['batch']}")
    if "bits_per_weight" in document:
        output.line(f"whole file: at most {document['bits_per_weight']:.3f} bits per weight")
