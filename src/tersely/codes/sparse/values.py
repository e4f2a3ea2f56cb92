"""What the values of a sparse tensor may be coded by: one row each. A row's module is a `protocol.ValueCoding`.

Under 'dense' they lie as they are, without groups or padding, in the component `values.bytes`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tersely.codes.integer import values as integer
from tersely.codes.palette import values as palette
from tersely.codes.protocol import ValueCoding
from tersely.codes.split import values as split
from tersely.core.encoded import Node
from tersely.core.errors import ArgumentError, CorruptError, UnsupportedError

ROWS: tuple[ValueCoding, ...] = (split, palette, integer)
BY_NAME = {row.NAME: row for row in ROWS}

CHILD = "values"
VALUE_BYTES = "values.bytes"
"""The words themselves, under a dense child."""
DENSE = Node("dense", 1)


def coding_of(child: Node) -> ValueCoding | None:
    """The row of a child node; None for dense. Raises UnsupportedError."""
    if child.formulation == "dense":
        if child.version != 1 or child.parameters or child.children:
            raise UnsupportedError("dense values have version 1, no parameters and no children; use a newer tersely")
        return None
    row = BY_NAME.get(child.formulation)
    if row is None or child.version != row.VERSION:
        raise UnsupportedError(
            f"values of sparse under formulation {child.formulation!r} version {child.version}: this tersely reads "
            f"{', '.join(f'{name!r} version 1' for name in ('dense', *BY_NAME))}; use a newer release"
        )
    return row


def coding_named(name: object, dtype: str) -> ValueCoding | None:
    """The row that a caller names for a dtype; None for dense. Raises ArgumentError."""
    if not isinstance(name, str) or (name != "dense" and name not in BY_NAME):
        raise ArgumentError(f"unknown values {name!r}: use one of {', '.join(('dense', *BY_NAME))}")
    row = BY_NAME.get(name)
    if row is not None and dtype not in row.DTYPES:
        fit = ", ".join(repr(one) for one, other in BY_NAME.items() if dtype in other.DTYPES)
        raise ArgumentError(f"values={name!r} codes no {dtype}: use 'dense' or {fit}")
    return row


def own(components: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The child's components by their own names."""
    prefix = f"{CHILD}."
    return {name[len(prefix) :]: data for name, data in components.items() if name.startswith(prefix)}


def prefixed(components: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Inverse of `own`."""
    return {f"{CHILD}.{name}": data for name, data in components.items()}


def validate(
    coding: ValueCoding, child: Node, dtype: str, components: Mapping[str, np.ndarray], groups: np.ndarray
) -> None:
    """The coding's own check, with the tensor's names of its components in the error."""
    try:
        coding.validate(child, dtype, own(components), groups)
    except CorruptError as error:
        if error.component is not None:
            error.component = f"{CHILD}.{error.component}"
        raise
