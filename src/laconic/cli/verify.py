"""`laconic verify`: is this file whole, and is it that original?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import laconic
from laconic.cli import output


def run(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A compressed file or folder.")],
    against: Annotated[Path | None, typer.Option(metavar="ORIGINAL", help="Compare every bit with this one.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Check structure, checksums and full decode; name the first tensor that differs. Exit code 1 where one does."""
    with output.progress_bar("verifying", json) as progress:
        report = laconic.verify(path, against, progress)
    if json:
        output.print_json(report.to_json())
    elif report.ok:
        output.console.print(f"{path}: {report.tensors} tensors, {report.message}", highlight=False, soft_wrap=True)
    else:
        output.stderr.print(f"laconic: {path}: {report.message}", highlight=False, soft_wrap=True)
    if not report.ok:
        raise typer.Exit(1)
