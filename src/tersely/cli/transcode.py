"""`tersely transcode`: stored to runnable, runnable to stored, or either anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import tersely
from tersely.cli import output, tensor_table
from tersely.cli.compress import LEVEL, OBJECTIVE_ALONE, PLAN, PROFILE, STORE
from tersely.core.choices import Objective, StorageLevel, Store


def run(
    src: Annotated[Path, typer.Argument(metavar="SRC", help="A compressed file or folder, stored or runnable.")],
    dst: Annotated[Path, typer.Option("-o", "--output", help="Where the result goes.")],
    store: Annotated[Store | None, typer.Option(help=STORE)] = None,
    level: Annotated[StorageLevel | None, typer.Option(help=LEVEL)] = None,
    objective: Annotated[Objective | None, typer.Option(help=OBJECTIVE_ALONE)] = None,
    profile: Annotated[str | None, typer.Option(metavar="NAME|FILE", help=f"{PROFILE} Default: native.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, metavar="ROWS", help="Rows of x to plan for. Default: 1.")] = None,
    plan: Annotated[Path | None, typer.Option(help=PLAN)] = None,
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="Workers; default: all processors.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing destination.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Code the weights anew, tensor by tensor, with no dense file between; the original stays the same."""
    with output.progress_bar("transcoding", json) as progress:
        report = tersely.transcode(
            src,
            dst,
            store=store,
            level=level,
            objective=objective,
            profile=profile,
            batch=batch,
            plan=plan,
            threads=threads,
            force=force,
            progress=progress,
        )
    if json:
        output.print_json(report.to_json())
        return
    tensor_table.show(report.tensors, 20)
    output.print_totals(report, "verified")
    output.written(report.destination)
