"""What commands print: text and tables for people, one JSON document for machines, progress on a terminal only.

Nothing that is printed is markup: what files, folders and other programs say is text, whatever it looks like. On a
terminal a row takes one line; in a pipe nothing is wrapped, shortened or left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column as RichColumn
from rich.text import Text
from rich.tree import Tree

from tersely.cli import failures, tables, text
from tersely.cli.tables import Column
from tersely.files.results import FileReport
from tersely.files.results import Progress as ProgressCallback

_ENDLESS = 1_000_000
"""Columns of a pipe."""


def console(stderr: bool = False) -> Console:
    """A console that takes text for text, of the stream as it is now."""
    made = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not made.is_terminal:
        made.width = _ENDLESS
    return made


def width() -> int | None:
    """Columns of the terminal on standard output; None for a pipe or a file, which have no end."""
    found = console()
    return found.width if found.is_terminal else None


def print_json(document: Any) -> None:
    """One JSON document on standard output, nothing else."""
    typer.echo(json.dumps(document, indent=2))


def line(words: str, title: str = "") -> None:
    """One line of text, which a terminal may continue on the next; title: its beginning, in bold."""
    console().print(Text(text.shown(title), "bold") + Text(text.shown(words)), soft_wrap=True)


def notes(found: Iterable[str]) -> None:
    """What a reader must know beside the result."""
    for note in found:
        line(f"note: {failures.with_flags(note)}")


def complain(message: str, kind: str = "tersely") -> None:
    """What is wrong, or what must be known where standard output is for the result alone, on standard error."""
    console(stderr=True).print(Text(f"{kind}: {text.one_line(message)}"), soft_wrap=True)


def written(path: object) -> None:
    line(f"written: {path}")


def size(count: int) -> str:
    """Bytes for people: 1.5 MB (powers of ten)."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.2f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


def ratio(before: int, after: int) -> str:
    return f"{before / after:.3f}" if after else "-"


class _Name(ProgressColumn):
    """The name of what is at work, in the room that is left."""

    def __init__(self) -> None:
        super().__init__(RichColumn(no_wrap=True, ratio=1, min_width=0))

    def render(self, task: Task) -> Text:
        return Text(str(task.fields["name"]), no_wrap=True, overflow="ellipsis")


@contextmanager
def progress_bar(title: str, quiet: bool, steps: bool = False) -> Iterator[ProgressCallback | None]:
    """A callback that drives a bar on standard error, of bytes or of steps; None where nobody would see it."""
    stderr = console(stderr=True)
    if quiet or not stderr.is_terminal:
        yield None
        return
    whole = RichColumn(no_wrap=True)
    columns = (
        TextColumn("{task.description}", markup=False, table_column=whole),
        BarColumn(bar_width=min(40, max(4, stderr.width // 8))),
        MofNCompleteColumn(table_column=whole) if steps else DownloadColumn(table_column=whole),
        TimeRemainingColumn(compact=True, table_column=whole),
        _Name(),
    )
    with Progress(*columns, console=stderr, transient=True, expand=True) as bar:
        task = bar.add_task(title, total=None, name="")
        room = max(0, stderr.width - 60)

        def advance(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, name=text.shortened(text.shown(name), room))

        yield advance


def print_table(columns: Sequence[Column], rows: Sequence[Any]) -> None:
    """Rows by columns, as wide as the terminal; columns that it has no room for are named below."""
    (titles, *lines), left_out = tables.lines(columns, rows, width())
    line("", title=titles)
    for one in lines:
        line(one)
    if left_out:
        line(f"(no room for {text.words(left_out)}; a pipe has it all)")


def print_tree(tree: Tree) -> None:
    """A tree whose labels are text, a node a line."""
    console().print(tree)


def print_totals(report: FileReport, verb: str) -> None:
    """Notes, then before, after and ratio of whole files."""
    notes(report.notes)
    line(
        f"{verb}: {size(report.bytes_before)} -> {size(report.bytes_after)}, ratio {report.ratio:.4f} "
        f"({100 * report.bytes_after / max(1, report.bytes_before):.1f} %)"
    )
