"""What commands print: tables for people, one JSON document for machines, progress on a terminal only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from laconic.reports import FileReport, TensorReport
from laconic.reports import Progress as ProgressCallback

console = Console()
if not console.is_terminal:
    console = Console(width=160)  # a file or a pipe: do not fold tables to 80 columns
stderr = Console(stderr=True)


def print_json(document: Any) -> None:
    """One JSON document on standard output, nothing else."""
    typer.echo(json.dumps(document, indent=2))


def size(count: int) -> str:
    """Bytes for people: 1.5 MB (powers of ten)."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.2f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


@contextmanager
def progress_bar(title: str, quiet: bool, steps: bool = False) -> Iterator[ProgressCallback | None]:
    """A callback that drives a bar on standard error, of bytes or of steps; None where nobody would see it."""
    if quiet or not stderr.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        *([MofNCompleteColumn()] if steps else [DownloadColumn(), TransferSpeedColumn()]),
        TimeRemainingColumn(),
        TextColumn("{task.fields[name]}"),
    )
    with Progress(*columns, console=stderr, transient=True) as bar:
        task = bar.add_task(title, total=None, name="")

        def advance(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, name=name[-40:])

        yield advance


def tensor_table(tensors: tuple[TensorReport, ...], limit: int | None) -> Table:
    """Tensors, largest first; those beyond `limit` are added up in the last row."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("tensor", overflow="fold")
    table.add_column("shape")
    table.add_column("dtype")
    table.add_column("stored as", overflow="fold")
    for title in ("bits/weight", "before", "after", "ratio"):
        table.add_column(title, justify="right", no_wrap=True)
    ordered = sorted(tensors, key=lambda tensor: -tensor.bytes_before)
    shown = ordered if limit is None else ordered[:limit]
    for tensor in shown:
        bits = tensor.bits_per_weight
        table.add_row(
            tensor.name,
            " x ".join(map(str, tensor.shape)) or "scalar",
            tensor.dtype,
            escape(f"{tensor.code} ({tensor.reason})" if tensor.reason else tensor.code),
            "-" if bits is None else f"{bits:.2f}",
            size(tensor.bytes_before),
            size(tensor.bytes_after),
            f"{tensor.bytes_before / tensor.bytes_after:.3f}" if tensor.bytes_after else "-",
        )
    if len(shown) < len(ordered):
        rest = ordered[len(shown) :]
        before, after = sum(t.bytes_before for t in rest), sum(t.bytes_after for t in rest)
        ratio = f"{before / after:.3f}" if after else "-"
        table.add_row(f"... {len(rest)} smaller tensors", "", "", "", "", size(before), size(after), ratio)
    return table


def print_totals(report: FileReport, verb: str) -> None:
    """Notes, then before, after and ratio of whole files."""
    for note in report.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    console.print(
        f"{verb}: {size(report.bytes_before)} -> {size(report.bytes_after)}, ratio {report.ratio:.4f} "
        f"({100 * report.bytes_after / max(1, report.bytes_before):.1f} %)",
        highlight=False,
        soft_wrap=True,
    )
