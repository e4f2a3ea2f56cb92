"""Where values lie in one arena: each from the step that writes it to the last that reads it, memory used again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALIGNMENT = 16
"""Floats: a line of cache."""


@dataclass(frozen=True)
class Life:
    """floats: how many. first, last: the steps that write and last read it."""

    floats: int
    first: int
    last: int


def place(lives: Sequence[Life]) -> tuple[list[int], int]:
    """The first float of each value, and how many there are in all. Largest first, each at the lowest place that is
    free for its whole life.
    """
    places = [0] * len(lives)
    done: list[int] = []
    for index in sorted(range(len(lives)), key=lambda i: (-lives[i].floats, lives[i].first)):
        life = lives[index]
        beside = [
            (places[other], places[other] + _rounded(lives[other].floats))
            for other in done
            if lives[other].first <= life.last and life.first <= lives[other].last
        ]
        at = 0
        for begin, end in sorted(beside):
            if begin - at >= _rounded(life.floats):
                break
            at = max(at, end)
        places[index] = at
        done.append(index)
    return places, max((places[i] + _rounded(life.floats) for i, life in enumerate(lives)), default=0)


def _rounded(floats: int) -> int:
    return -(-floats // ALIGNMENT) * ALIGNMENT
