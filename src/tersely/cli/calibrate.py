"""`tersely calibrate`: measure this machine and write a profile to plan with."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated

import typer

from tersely.cli import output
from tersely.cli.tables import Column
from tersely.files import folder

COLUMNS = (
    Column("kernel", lambda row: row[0], least=12),
    Column("dtype", lambda row: row[1]),
    Column("batch", lambda row: row[2], right=True),
    Column("call us", lambda row: f"{row[3] / 1000:.2f}", right=True, keep=5),
    Column("ns/1000 weights", lambda row: f"{row[4] * 1000:.1f}", right=True, keep=8),
    Column("ns/1000 bytes", lambda row: f"{row[5] * 1000:.1f}", right=True, keep=7),
    Column("ns/row", lambda row: f"{row[6]:.1f}", right=True, keep=6),
)


def run(
    destination: Annotated[Path, typer.Option("-o", "--output", help="Where the profile goes, as JSON.")] = Path(
        "profile.json"
    ),
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="Workers; default: all processors.")] = None,
    batch: Annotated[
        list[int] | None, typer.Option(min=1, metavar="ROWS", help="Rows of x; may be given again. 1, 4, 16.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.0, metavar="S", help="For each form, shape and batch.")] = 0.06,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The profile on standard output, too.")] = False,
) -> None:
    """Time every kernel by dtype and batch, about a quarter of an hour on two cores; `--profile FILE` then plans by
    these times.
    """
    from tersely.report import calibrate  # imports torch where it is installed, so that both share one thread pool

    folder.check_document(None, destination, force)
    with output.progress_bar("calibrating", json, steps=True) as progress:
        document = calibrate.calibrate(
            threads=threads, batches=sorted(set(batch or calibrate.BATCHES)), seconds=seconds, progress=progress
        )
    folder.write_document(destination, json_module.dumps(document, indent=1) + "\n", (), force)
    if json:
        output.print_json(document)
        return
    output.print_table(
        COLUMNS,
        [
            (kernel, dtype, size, *costs)
            for kernel, dtypes in document["costs"].items()
            for dtype, rows in dtypes.items()
            for size, costs in rows.items()
        ],
    )
    rough = [
        f"{kernel} {key}" for kernel, all_ in document["fit_errors"].items() for key, off in all_.items() if off > 0.3
    ]
    if rough:
        output.notes([f"times of {', '.join(rough)} fit no sum: was the machine busy?"])
    output.line(f"{document['processor']}, {document['isa']}, {document['threads']} threads; written: {destination}")
