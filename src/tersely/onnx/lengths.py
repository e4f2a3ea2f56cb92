"""Lengths of axes that are not known yet: polynomials of names with integer factors.

A model's input may say `batch` where a number is expected. What a model computes with lengths - products, sums, parts
of a shape - is done on these; where the result depends on what they are (`Unknown`), the caller fixes them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

TERMS, CHARACTERS = 64, 1000
"""Of a length; models that make longer ones are not to be computed with."""
Terms = tuple[tuple[tuple[str, ...], int], ...]


class Unknown(Exception):
    """What is asked depends on the lengths of these names."""

    def __init__(self, names: Iterable[str], why: str = "") -> None:
        self.names, self.why = frozenset(names), why
        super().__init__(why)


@dataclass(frozen=True)
class Length:
    """A sum of products: ((names, factor), ...), sorted, no factor zero. Every name stands for a number of at least 1.

    A name may be a whole expression that has no other form, such as `(height-1)//2`; it depends on those of `roots`.
    """

    terms: Terms
    roots: frozenset[str] = field(default=frozenset(), compare=False)

    def __str__(self) -> str:
        parts = [
            "*".join([*([str(factor)] if factor != 1 or not names else []), *names]) for names, factor in self.terms
        ]
        return "+".join(parts)

    __repr__ = __str__

    def __add__(self, other: Any) -> Any:
        if not _is_number(other):
            return NotImplemented
        return _made([*self.terms, *_terms(other)], self, other)

    __radd__ = __add__

    def __neg__(self) -> Any:
        return _made([(names, -factor) for names, factor in self.terms], self)

    def __sub__(self, other: Any) -> Any:
        return self + -other if _is_number(other) else NotImplemented

    def __rsub__(self, other: Any) -> Any:
        return -self + other if _is_number(other) else NotImplemented

    def __mul__(self, other: Any) -> Any:
        if not _is_number(other):
            return NotImplemented
        terms = [(tuple(sorted((*a, *b))), m * n) for a, m in self.terms for b, n in _terms(other)]
        return _made(terms, self, other)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        if not _is_number(other):
            return NotImplemented
        found = divided(self, other)
        return named(f"({self})//({other})", self, other) if found is None else found

    def __rfloordiv__(self, other: Any) -> Any:
        return named(f"({other})//({self})", self, other)

    def __mod__(self, other: Any) -> Any:
        if not _is_number(other):
            return NotImplemented
        return 0 if divided(self, other) is not None else named(f"({self})%({other})", self, other)

    def sign(self) -> int:
        """1 or -1 where that is sure whatever the lengths are. Raises Unknown."""
        least = sum(factor for names, factor in self.terms if not any("%" in name for name in names))
        for turn in (1, -1):
            up = all(turn * factor > 0 for names, factor in self.terms if names)
            if up and turn * least > 0:
                return turn
        raise Unknown(self.roots, f"whether {self} is more than nothing")

    def __lt__(self, other: Any) -> bool:
        return _sign(self - other) < 0

    def __gt__(self, other: Any) -> bool:
        return _sign(self - other) > 0

    def __le__(self, other: Any) -> bool:
        return not self > other

    def __ge__(self, other: Any) -> bool:
        return not self < other

    def __index__(self) -> int:
        raise Unknown(self.roots, f"what {self} is")

    __int__ = __index__
    __float__ = __index__
    __bool__ = __index__


Number = int | Length


def name_of(name: str) -> Length:
    return Length((((name,), 1),), frozenset({name}))


def named(name: str, *of: Number) -> Length:
    """An expression that has no form of its own, by a name. What is left of a division (%) may be nothing."""
    if len(name) > CHARACTERS:
        raise Unknown(roots_of(of), "a length of too many terms")
    return Length((((name,), 1),), frozenset().union(*(one.roots for one in of if isinstance(one, Length))))


def equal(a: Number, b: Number) -> bool:
    """Whether two lengths are equal. Raises Unknown where that depends on what they are."""
    if not isinstance(a, Length) and not isinstance(b, Length):
        return a == b
    difference = a - b
    if not isinstance(difference, Length):
        return bool(difference == 0)
    difference.sign()
    return False


def divided(a: Number, b: Number) -> Number | None:
    """a / b where that leaves no rest whatever the lengths are."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b if b and a % b == 0 else None
    terms = _terms(b)
    if len(terms) != 1:
        return 1 if a == b else None
    (names, factor), found = terms[0], []
    for own, number in _terms(a):
        rest = list(own)
        for name in names:
            if name not in rest:
                return None
            rest.remove(name)
        if number % factor:
            return None
        found.append((tuple(rest), number // factor))
    return _made(found, a, b)


def roots_of(shape: Iterable[Any]) -> frozenset[str]:
    return frozenset().union(*(one.roots for one in shape if isinstance(one, Length)))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, Length)) and not isinstance(value, bool)


def _terms(value: Number) -> Terms:
    return value.terms if isinstance(value, Length) else (((), value),) if value else ()


def _sign(value: Number) -> int:
    return value.sign() if isinstance(value, Length) else (value > 0) - (value < 0)


def _made(terms: Iterable[tuple[tuple[str, ...], int]], *of: Number) -> Number:
    sums: dict[tuple[str, ...], int] = {}
    for names, factor in terms:
        sums[names] = sums.get(names, 0) + factor
    if len(sums) > TERMS or any(abs(factor) >> 63 for factor in sums.values()):
        raise Unknown(roots_of(of), "a length of too many terms")
    found = tuple(sorted((names, factor) for names, factor in sums.items() if factor))
    if not any(names for names, _ in found):
        return found[0][1] if found else 0
    return Length(found, frozenset().union(*(one.roots for one in of if isinstance(one, Length))))
