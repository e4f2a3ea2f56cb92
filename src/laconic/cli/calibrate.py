"""`laconic calibrate`: measure this machine and write a profile to plan with."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from laconic import checkpoint
from laconic.cli import output


def run(
    destination: Annotated[Path, typer.Option("-o", "--output", help="Where the profile goes, as JSON.")] = Path(
        "profile.json"
    ),
    threads: Annotated[int | None, typer.Option(min=1, help="Workers; default: all processors.")] = None,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="Rows of x; may be given again. 1, 4, 16.")] = None,
    seconds: Annotated[float, typer.Option(min=0.0, help="For each form, shape and batch.")] = 0.06,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The profile on standard output, too.")] = False,
) -> None:
    """Time every kernel by dtype and batch, about a quarter of an hour on two cores; `--profile FILE` then plans by these times."""
    from laconic import calibration  # imports torch where it is installed, so that both share one thread pool

    checkpoint.check_document(None, destination, force)
    with output.progress_bar("calibrating", json, steps=True) as progress:
        document = calibration.calibrate(
            threads=threads, batches=sorted(set(batch or calibration.BATCHES)), seconds=seconds, progress=progress
        )
    checkpoint.write_document(destination, json_module.dumps(document, indent=1) + "\n", (), force)
    if json:
        output.print_json(document)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("kernel", "dtype", "batch", "call us", "ns/1000 weights", "ns/1000 bytes", "ns/row"):
        table.add_column(title, justify="left" if title in ("kernel", "dtype") else "right", no_wrap=True)
    for kernel, dtypes in document["costs"].items():
        for dtype, rows in dtypes.items():
            for size, (call, weight, byte, row) in rows.items():
                cells = (f"{call / 1000:.2f}", f"{weight * 1000:.1f}", f"{byte * 1000:.1f}", f"{row:.1f}")
                table.add_row(kernel, dtype, size, *cells)
    output.console.print(table)
    rough = [
        f"{kernel} {key}" for kernel, all_ in document["fit_errors"].items() for key, off in all_.items() if off > 0.3
    ]
    if rough:
        output.console.print(
            f"note: times of {', '.join(rough)} fit no sum: was the machine busy?", highlight=False, soft_wrap=True
        )
    output.console.print(
        f"{document['processor']}, {document['isa']}, {document['threads']} threads; written: {destination}",
        highlight=False,
        soft_wrap=True,
    )
