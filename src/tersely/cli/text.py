"""Text for terminals: what files say of themselves, shown as it is, cut in the middle, or several names as one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rich.cells import cell_len, chop_cells

_NUMBER = re.compile(r"\d+")
_INVISIBLE = re.compile("[\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]")
"""Characters that print nothing, or turn the order of those after them."""


def shown(text: object) -> str:
    """Text that may hold anything, on one line, without what a terminal would obey or could not show.

    Control characters, halves of characters and what prints nothing stand as escapes: a name cannot end a line, colour
    it, or look like another.
    """
    text = str(text)
    if text.isprintable() and not _INVISIBLE.search(text):
        return text
    return "".join(one if one.isprintable() and not _INVISIBLE.match(one) else _escape(one) for one in text)


def _escape(one: str) -> str:
    return one if one == "\u00a0" else one.encode("unicode_escape").decode("ascii")


def one_line(text: object) -> str:
    """A message of another program on one line: its lines joined, then as `shown`."""
    return shown(" ".join(str(text).split()))


def shortened(text: str, width: int, middle: bool = True) -> str:
    """At most `width` cells of a text, the middle or the end left out. Both ends of a tensor's name tell what it is."""
    if cell_len(text) <= width:
        return text
    if width < 2:
        return "\u2026"[:width]
    head = (width - 1) // 3 if middle else width - 1
    first = chop_cells(text, head)[0] if head else ""
    last = "" if not middle else chop_cells(text[::-1], width - 1 - cell_len(first))[0][::-1]
    return f"{first}\u2026{last}"


def pattern(name: str) -> tuple[str, ...]:
    """A name cut at its numbers: names of the same pieces are the same layer at different places."""
    return tuple(_NUMBER.split(name))


def joined(names: Sequence[str]) -> str:
    """`12 x model.layers.*.mlp.up_proj` for names of one pattern: a star where their numbers differ."""
    if len(names) == 1:
        return names[0]
    pieces = pattern(names[0])
    numbers = [_NUMBER.findall(name) for name in names]
    between = [found[0] if len(set(found)) == 1 else "*" for found in zip(*numbers, strict=True)]
    merged = "".join(piece + number for piece, number in zip(pieces, [*between, ""], strict=True))
    return f"{len(names)} x {merged}"


def words(found: Iterable[object], last: str = "and") -> str:
    """'a, b and c'."""
    *most, final = map(str, found)
    return f"{', '.join(most)} {last} {final}" if most else final


def counted(count: int, noun: str) -> str:
    """'1 tensor', '2 tensors'."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
