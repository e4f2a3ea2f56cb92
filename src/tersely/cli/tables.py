"""Tables for people and for pipes.

On a terminal a row takes one line: equal rows become one, names are shortened in the middle, and where that is not
enough, the least important columns are left out. In a pipe every row is one line with everything whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len

from tersely.cli import text

GAP = 2
"""Spaces between columns."""


@dataclass(frozen=True)
class Column:
    """One column of rows of any kind.

    cell: what it shows of one row. keep: the higher, the later it is left out. least: so few cells it may be shortened
    to; 0 for a column that is whole or not there. middle: where it is cut then, else at its end.
    """

    title: str
    cell: Callable[[Any], str]
    right: bool = False
    keep: int = 9
    least: int = 0
    middle: bool = True


@dataclass(frozen=True)
class Fitted:
    """What is shown of a table: the columns, and the width of each."""

    columns: tuple[Column, ...]
    widths: tuple[int, ...]
    left_out: tuple[str, ...]


def fit_columns(columns: Sequence[Column], cells: Sequence[Sequence[str]], width: int | None) -> Fitted:
    """Which columns a table of that width has, and how wide they are. width: None for as much as it takes."""
    natural = [max([cell_len(column.title), *(cell_len(row[k]) for row in cells)]) for k, column in enumerate(columns)]
    kept = list(range(len(columns)))
    if width is None:
        return Fitted(tuple(columns), tuple(natural), ())

    def least(k: int) -> int:
        return min(natural[k], max(columns[k].least, cell_len(columns[k].title))) if columns[k].least else natural[k]

    def needed() -> int:
        return sum(map(least, kept)) + GAP * (len(kept) - 1)

    while needed() > width and len(kept) > 1:
        lowest = min(columns[k].keep for k in kept)
        kept.remove(max(k for k in kept if columns[k].keep == lowest))  # of equals the last one goes first
    spare = max(0, width - needed())
    widths = []
    for k in kept:  # what is left over goes to those that can be shortened, from left to right
        more = min(natural[k] - least(k), spare)
        spare -= more
        widths.append(min(least(k) + more, width))
    gone = tuple(column.title for k, column in enumerate(columns) if k not in kept)
    return Fitted(tuple(columns[k] for k in kept), tuple(widths), gone)


def lines(columns: Sequence[Column], rows: Sequence[Any], width: int | None) -> tuple[list[str], tuple[str, ...]]:
    """(the titles and the rows, a line each; the titles of columns that there was no room for)."""
    cells = [[text.shown(column.cell(row)) for column in columns] for row in rows]
    fitted = fit_columns(columns, cells, width)
    numbers = [columns.index(column) for column in fitted.columns]
    made = []
    for row in ([column.title for column in columns], *cells):
        parts = []
        for k, column, most in zip(numbers, fitted.columns, fitted.widths, strict=True):
            cell = text.shortened(row[k], most, column.middle)
            space = " " * (most - cell_len(cell))
            parts.append(space + cell if column.right else cell + space)
        made.append((" " * GAP).join(parts).rstrip())
    return made, fitted.left_out


def grouped(rows: Sequence[Any], name: Callable[[Any], str], alike: Callable[[Any], Any]) -> list[list[Any]]:
    """Rows whose names differ in numbers only and that are `alike`, together, where the first of them was."""
    groups: dict[Any, list[Any]] = {}
    for row in rows:
        groups.setdefault((text.pattern(name(row)), alike(row)), []).append(row)
    return list(groups.values())
