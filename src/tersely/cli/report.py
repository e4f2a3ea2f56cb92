"""`tersely report`: where every bit of a file went, as one page for a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tersely.cli import output
from tersely.files import folder
from tersely.report import gather, page


def run(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A compressed (or plain) file or folder.")],
    dst: Annotated[Path | None, typer.Option("-o", "--output", help="Default: NAME.report.html.")] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="Predict times for this machine: a name, or a file of `tersely calibrate`."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing page.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON document on standard output; a page only with -o.")
    ] = False,
) -> None:
    """Write a page that needs nothing else: bytes of every component, formulations, predicted times.

    Reads no payload.
    """
    destination = dst or Path(path.resolve().name.removesuffix(".safetensors") + ".report.html")
    wanted = dst is not None or not json
    if wanted:
        folder.check_document(path, destination, force)
    found = gather(path, profile)
    if wanted:
        folder.write_document(destination, page(found), path.rglob("*.safetensors") if path.is_dir() else [path], force)
    if json:
        output.print_json(found.to_json())
        return
    output.print_totals(found.file, "file")
    output.written(destination)
