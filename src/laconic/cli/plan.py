"""`laconic plan`: what every tensor would become, as a table, as JSON to edit, or one tensor explained."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from laconic import checkpoint, planning
from laconic.cli import output
from laconic.cli.compress import OBJECTIVE, PROFILE, TARGET, Objective


def run(
    src: Annotated[Path, typer.Argument(help="A .safetensors or .onnx file, a *.safetensors.index.json, or a folder.")],
    explain: Annotated[str | None, typer.Option(metavar="NAME", help="Every candidate of this tensor.")] = None,
    destination: Annotated[Path | None, typer.Option("-o", "--output", help="Write the plan here, as JSON.")] = None,
    objective: Annotated[Objective | None, typer.Option(help=OBJECTIVE)] = None,
    profile: Annotated[str, typer.Option(metavar="NAME|FILE", help=PROFILE)] = "portable",
    batch: Annotated[int, typer.Option(min=1, help="Rows of x to plan for.")] = 1,
    target_bits: Annotated[float | None, typer.Option(metavar="B", help=TARGET)] = None,
    include: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="Only these tensors.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="Not these tensors.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Workers; default: all processors.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing plan.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Plan without writing weights; times are the cost model's."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    if explain is not None:
        ignored = {"-o": destination, "--target-bits": target_bits, "--include": include, "--exclude": exclude}
        if given := [option for option, value in ignored.items() if value is not None]:
            raise typer.BadParameter(f"{given[0]} does not go with --explain, which is about one tensor")
        wanted = objective or planning.BALANCED
        verdicts = planning.explain(src, explain, objective=wanted, profile=profile, batch=batch, threads=threads)
        rows: list[dict[str, Any]] = [
            {
                "candidate": planning.label(one.candidate),
                "stored_bytes": one.candidate.nbytes,
                "predicted_us": round(one.ns / 1000, 1),
                "lost": one.lost,
                "note": one.note,
            }
            for one in verdicts
        ]
        if json:
            output.print_json(rows)
            return
        for title in ("candidate", "size", "predicted us", "why it lost"):
            table.add_column(title, justify="right" if title in ("size", "predicted us") else "left")
        for row in rows:
            lost = row["lost"] or (f"chosen: {row['note']}" if row["note"] else "chosen")
            table.add_row(
                escape(row["candidate"]), output.size(row["stored_bytes"]), f"{row['predicted_us']:.1f}", escape(lost)
            )
        output.console.print(table)
        return
    source = checkpoint.find_source(src, False)
    if destination is not None:
        checkpoint.check_document(source.root if source.folder else source.path, destination, force)
    document = planning.make_plan(
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
        checkpoint.write_document(
            destination,
            json_module.dumps(document, indent=1) + "\n",
            [source.root / shard for shard in source.weights],
            force,
        )
    for note in planning.unmatched(source, include or (), exclude or ()):
        output.stderr.print(f"note: {note}", highlight=False, soft_wrap=True)
    if json:
        output.print_json(document)
        return
    for title in ("tensor", "stored as", "size", "predicted us", "reason"):
        table.add_column(title, justify="right" if title in ("size", "predicted us") else "left", overflow="fold")
    for name, entry in document["tensors"].items():
        how = planning.described(entry["formulation"], entry["parameters"], entry.get("view", ""))
        time = entry.get("predicted_us")
        table.add_row(
            escape(name),
            escape(how),
            output.size(entry["stored_bytes"]),
            "-" if time is None else f"{time:.1f}",
            escape(entry["reason"]),
        )
    output.console.print(table)
    if "bits_per_weight" in document:
        output.console.print(f"whole file: at most {document['bits_per_weight']:.3f} bits per weight", highlight=False)
    if destination is not None:
        output.console.print(f"written: {destination}", highlight=False, soft_wrap=True)
