"""`tersely verify`: is this file whole, and is it that original?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import tersely
from tersely.cli import failures, output, text


def run(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A compressed file or folder.")],
    against: Annotated[Path | None, typer.Option(metavar="ORIGINAL", help="Compare every bit with this one.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Check structure, checksums and full decode; name the first tensor that differs. Exit code 1 where one does."""
    with output.progress_bar("verifying", json) as progress:
        report = tersely.verify(path, against, progress)
    if json:
        output.print_json(report.to_json())
    elif report.ok:
        output.line(f"{path}: {text.counted(report.tensors, 'tensor')}, {failures.with_flags(report.message)}")
    else:
        output.complain(f"{path}: {failures.with_flags(report.message)}")
    if not report.ok:
        raise typer.Exit(1)
