"""How much is tried: `pytest --thorough` takes every case, the quick profile a spread of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Case = TypeVar("Case")

thorough = False
"""Set by conftest.py before any test is collected."""


def spread(cases: Sequence[Case], share: int, *axes: object) -> list[Case]:
    """Every case, or in the quick profile one in `share`: which ones differs with the places of other axes.

    A test over (a code, a shape) that takes one shape in three of each code still takes each shape with many codes.
    """
    if thorough:
        return list(cases)
    start = _number(axes) % share
    return [cases[k % len(cases)] for k in range(start, max(len(cases), start + 1), share)]


def one(cases: Sequence[Case], *axes: object) -> list[Case]:
    """Every case, or in the quick profile a single one, which differs with the places of other axes."""
    return spread(cases, len(cases), *axes)


def pick(cases: Sequence[Case], *axes: object) -> list[Case]:
    """A single case in either profile, which differs with the places of other axes."""
    return [cases[_number(axes) % len(cases)]]


def _number(axes: tuple[object, ...]) -> int:
    return sum(sum(str(axis).encode()) for axis in axes)
