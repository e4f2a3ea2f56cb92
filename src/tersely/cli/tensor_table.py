"""The table of the tensors of a file: on a terminal those that are alike on one line, in a pipe each on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from tersely.cli import output, tables, text
from tersely.cli.tables import Column
from tersely.files.results import TensorReport


@dataclass(frozen=True)
class Row:
    """Tensors on one line. rest: those for which there was no room, which have nothing else in common."""

    tensors: Sequence[TensorReport]
    rest: bool = False

    @property
    def name(self) -> str:
        if self.rest:
            return f"... {text.counted(len(self.tensors), 'smaller tensor')}"
        return text.joined([tensor.name for tensor in self.tensors])

    @property
    def shape(self) -> str:
        return "" if self.rest else " x ".join(map(str, self.tensors[0].shape)) or "scalar"

    @property
    def dtype(self) -> str:
        return "" if self.rest else self.tensors[0].dtype

    @property
    def stored_as(self) -> str:
        return "" if self.rest else stored_as(self.tensors[0])

    @property
    def bits(self) -> str:
        weights = sum(tensor.weights for tensor in self.tensors)
        return f"{self.after * 8 / weights:.2f}" if weights and not self.rest else "" if self.rest else "-"

    @cached_property
    def before(self) -> int:
        return sum(tensor.bytes_before for tensor in self.tensors)

    @cached_property
    def after(self) -> int:
        return sum(tensor.bytes_after for tensor in self.tensors)


COLUMNS = (
    Column("tensor", lambda row: row.name, keep=9, least=40),
    Column("shape", lambda row: row.shape, keep=3),
    Column("dtype", lambda row: row.dtype, keep=2),
    Column("stored as", lambda row: row.stored_as, keep=8, least=16, middle=False),
    Column("bits/weight", lambda row: row.bits, right=True, keep=4),
    Column("before", lambda row: output.size(row.before), right=True, keep=5),
    Column("after", lambda row: output.size(row.after), right=True, keep=6),
    Column("ratio", lambda row: output.ratio(row.before, row.after), right=True, keep=7),
)


def stored_as(tensor: TensorReport) -> str:
    """Its form, and why it has none where it has none."""
    return f"{tensor.code} ({tensor.reason})" if tensor.reason else tensor.code


def show(tensors: Sequence[TensorReport], most: int | None) -> None:
    """Print tensors, largest first; most: so many lines, what is beyond them is added up in one more."""
    ordered = sorted(tensors, key=lambda tensor: -tensor.bytes_before)
    if output.width() is None:
        rows = [Row([tensor]) for tensor in ordered]
    else:
        alike = tables.grouped(
            ordered, lambda tensor: tensor.name, lambda tensor: (tensor.shape, tensor.dtype, stored_as(tensor))
        )
        rows = sorted(map(Row, alike), key=lambda row: -row.before)
    if most is not None and len(rows) > most:
        rest = Row([tensor for row in rows[most:] for tensor in row.tensors], rest=True)
        rows = [*rows[:most], rest]
    output.print_table(COLUMNS, rows)
