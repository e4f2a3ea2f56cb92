"""`tersely compress`: a file, a sharded checkpoint or a model folder to its compressed form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import tersely
from tersely.cli import output, tensor_table
from tersely.core.choices import Objective, StorageLevel, Store

PROFILE = "Plan for 'portable', 'avx2', 'avx512', 'amx', 'native', or by a file of `tersely calibrate`."
OBJECTIVE_ALONE = "What to optimise."
OBJECTIVE = f"{OBJECTIVE_ALONE} Default: balanced."
PLAN = "A plan that `tersely plan` made, edited or not; it says objective, profile and batch."
STORE = "The smallest file, to keep and to send; it is transcoded when it is loaded."
LEVEL = "With --store: fast, or max, which is smaller and slow both ways. Default: fast."
TARGET = "The whole file in B bits per weight, as fast as can be; instead of an objective."


def run(
    src: Annotated[
        Path,
        typer.Argument(metavar="SRC", help="A .safetensors or .onnx file, a *.safetensors.index.json, or a folder."),
    ],
    dst: Annotated[Path | None, typer.Option("-o", "--output", help="Default: NAME.tersely.safetensors.")] = None,
    objective: Annotated[Objective | None, typer.Option(help=OBJECTIVE)] = None,
    profile: Annotated[str | None, typer.Option(metavar="NAME|FILE", help=f"{PROFILE} Default: portable.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, metavar="ROWS", help="Rows of x to plan for. Default: 1.")] = None,
    target_bits: Annotated[float | None, typer.Option(metavar="B", help=TARGET)] = None,
    plan: Annotated[
        Path | None,
        typer.Option(help=PLAN),
    ] = None,
    include: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="Only these tensors.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="Not these tensors.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="Workers; default: all processors.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Plan and report, write nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing destination.")] = False,
    all_files: Annotated[bool, typer.Option("--all-files", help="Also copy duplicate weights (.bin, .pt).")] = False,
    store: Annotated[Store | None, typer.Option(help=STORE)] = None,
    level: Annotated[StorageLevel | None, typer.Option(help=LEVEL)] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Compress losslessly; what was written is decoded and compared with the source before it gets its name."""
    with output.progress_bar("compressing", json) as progress:
        report = tersely.compress(
            src,
            dst,
            objective=objective,
            profile=profile,
            batch=batch,
            target_bits=target_bits,
            plan=plan,
            include=include,
            exclude=exclude,
            threads=threads,
            dry_run=dry_run,
            force=force,
            all_files=all_files,
            store=store,
            level=level,
            progress=progress,
        )
    if json:
        output.print_json(report.to_json())
        return
    tensor_table.show(report.tensors, 20)
    output.print_totals(report, "would be" if dry_run else "verified")
    if not dry_run:
        output.written(report.destination)
