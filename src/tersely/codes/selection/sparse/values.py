"""What the values of a sparse tensor may be coded by.

Under 'dense' they lie as they are, without groups or padding, in the component `values.bytes`.
"""

from __future__ import annotations

from tersely.codes.node import ValueCoding
from tersely.codes.words.integer.formulation import distances
from tersely.codes.words.palette.formulation import palette
from tersely.codes.words.split.formulation import split
from tersely.core.errors import ArgumentError

ROWS: tuple[ValueCoding, ...] = (split, palette, distances)
BY_NAME = {row.NAME: row for row in ROWS}


def coding_named(name: object, dtype: str) -> ValueCoding | None:
    """The row that a caller names for a dtype; None for dense. Raises ArgumentError."""
    if not isinstance(name, str) or (name != "dense" and name not in BY_NAME):
        raise ArgumentError(f"unknown values {name!r}: use one of {', '.join(('dense', *BY_NAME))}")
    row = BY_NAME.get(name)
    if row is not None and dtype not in row.VALUE_DTYPES:
        fit = ", ".join(repr(one) for one, other in BY_NAME.items() if dtype in other.VALUE_DTYPES)
        raise ArgumentError(f"values={name!r} codes no {dtype}: use 'dense' or {fit}")
    return row
