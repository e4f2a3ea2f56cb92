"""`tersely decompress`: the byte-identical originals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import tersely
from tersely.cli import output


def run(
    src: Annotated[Path, typer.Argument(metavar="SRC", help="A compressed file or folder.")],
    dst: Annotated[Path, typer.Option("-o", "--output", help="Where the originals go.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing destination.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Give back the originals, byte for byte; their SHA-256 is compared before they get their names."""
    with output.progress_bar("decompressing", json) as progress:
        report = tersely.decompress(src, dst, force=force, progress=progress)
    if json:
        output.print_json(report.to_json())
        return
    output.print_totals(report, "restored")
    output.written(report.destination)
