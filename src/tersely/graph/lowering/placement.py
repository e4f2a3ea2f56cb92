"""Where values lie in one arena: each from the step that writes it to the last that reads it, memory used again.

What is memory of another value lives as long as that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tersely.graph.lowering.loops import operands
from tersely.graph.lowering.program import ALIGNMENT, Loop, Program


@dataclass(frozen=True)
class Life:
    """floats: how many. first, last: the steps that write and last read it."""

    floats: int
    first: int
    last: int


def place(lives: Sequence[Life]) -> tuple[list[int], int]:
    """The first float of each value, and how many there are in all.

    Largest first, each at the lowest place that is free for its whole life.
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


def place_values(program: Program) -> None:
    """Give every value of a program its place; before one with a halo is written, a step writes its halo."""
    first, last = _lives(program)
    lives = [Life(layout.floats, first[i], last[i]) for i, layout in enumerate(program.layouts) if i in first]
    placed, program.arena = place(lives)
    places = dict(zip((i for i in range(len(program.layouts)) if i in first), placed, strict=True))
    owners = [program.aliases.get(i, (i, 0)) for i in range(len(program.layouts))]
    program.places = [places.get(owner, 0) + offset for owner, offset in owners]
    steps, nodes = list(program.steps), list(program.nodes)
    program.steps, program.nodes = [], []
    begins = []
    for step, name in zip(steps, nodes, strict=True):
        begins.append(len(program.steps))
        for y in [step[role] for role in ("y", "rounded") if role in step]:
            if program.layouts[y].halo:
                fill = {"fill": program.layouts[y].fill} if program.layouts[y].fill else {}
                program.steps.append({"operator": "clear", "y": y, **fill})
                program.nodes.append(name)
        program.steps.append(step)
        program.nodes.append(name)
    begins.append(len(program.steps))
    program.loops = [Loop(begins[one.first], begins[one.end], one.turns) for one in program.loops]


def _lives(program: Program) -> tuple[dict[int, int], dict[int, int]]:
    """The first and the last step of each value. What a loop does not have to itself lives through all of its turns."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for index, step in enumerate(program.steps):
        for value in operands(step):
            first.setdefault(program.owner(value), index)
            last[program.owner(value)] = index
    for loop in program.loops:
        for owner in first:
            here = first[owner] < loop.end and last[owner] >= loop.first
            if here and not (loop.first <= first[owner] and last[owner] < loop.end):
                first[owner], last[owner] = min(first[owner], loop.first), max(last[owner], loop.end - 1)
    return first, last
