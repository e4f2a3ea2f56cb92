"""Equal tensors, of which a file has one: who is equal to whom, and where an alias costs less than the tensor again.

Only a tensor whose first duplicate is coded is written as an alias (`container.alias`): dense tensors are whole for
every reader of safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tersely.codes.protocol import Candidate
from tersely.core.dtypes import BY_TAG
from tersely.core.encoded import Encoded
from tersely.core.errors import ArgumentError
from tersely.files.container import alias, description, limits
from tersely.files.container.writer import cost_bytes

_SAMPLE_BYTES = 1024
"""Read of the beginning, the middle and the end of tensors of one shape, to tell nearly all that differ."""
_BLOCK_BYTES = 1 << 22


def is_worth(name: str, other: str, blank: Encoded, nbytes: int) -> bool:
    """Whether an alias of `other` takes less than the tensor again: nbytes of components, and at least a description.

    blank: the other tensor without its components, so that plans, which code nothing, come to the same answer.
    """
    if len(other) > limits.NAME_CHARACTERS:
        return False
    return cost_bytes(name, alias.described(blank, other)) < nbytes + cost_bytes(name, blank)


def reason_duplicate(other: str) -> str:
    """The reason for an alias, in plans."""
    return f"bit for bit {other!r}, which the file has"


class SavedTensors:
    """Coded tensors that a new file has, to find those that are one of them again, by the bytes of their components."""

    def __init__(self) -> None:
        self._known: dict[Hashable, list[tuple[str, Encoded]]] = {}

    def find(self, name: str, encoded: Encoded, crc32: str) -> str | None:
        """The tensor that this one may be an alias of; None, and remembered under its name, where it is stored itself.

        crc32: of the decoded bytes. Components are compared only where everything else is equal.
        """
        key = (
            *(encoded.shape, encoded.dtype, encoded.view, encoded.orientation, encoded.column_order, crc32),
            json.dumps(encoded.node.to_json(), sort_keys=True),
            tuple(sorted((component, data.nbytes) for component, data in encoded.components.items())),
        )
        alike = self._known.setdefault(key, [])
        blank = replace(encoded, components={})
        for other, there in alike:
            if is_worth(name, other, blank, encoded.nbytes_stored) and all(
                _is_same_memory(data, there.components[component]) or np.array_equal(data, there.components[component])
                for component, data in encoded.components.items()
            ):
                return other
        alike.append((name, encoded))
        return None


def _is_same_memory(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(a.ctypes.data == b.ctypes.data and a.strides == b.strides)  # of equal sizes: the caller knows


class Duplicates:
    """The equal tensors of a source, and which of its tensors the file that is being planned or written has coded.

    A tensor is told to `note` when it is decided, in the order of writing.
    """

    def __init__(self, source: Any, groups: Mapping[str, Hashable], profile: str) -> None:
        """source: anything with `dense`, `raw` and `forget`. groups: the tensors that may be coded, in the order of
        writing, and what must be equal beside dtype, shape and bytes. profile: the name to record."""
        self._source, self._profile = source, profile
        self._order = {name: index for index, name in enumerate(groups)}
        self._first = firsts(source, groups)
        self._members: dict[str, list[str]] = {}
        for name in groups:
            self._members.setdefault(self.first(name), []).append(name)
        self._coded: dict[str, tuple[Candidate, float]] = {}
        self._aliases: set[str] = set()
        self._kept: dict[str, str] = {}

    def first(self, name: str) -> str:
        """The first of the tensors that are equal to this one, itself among them."""
        return self._first.get(name, name)

    def equal_to(self, name: str) -> list[str]:
        """The tensors that are equal to this one, itself among them, in the order of writing."""
        return self._members.get(self.first(name), [])

    def before(self, name: str) -> list[str]:
        """The equal tensors that are written before this one."""
        return [one for one in self.equal_to(name) if self._order[one] < self._order.get(name, 0)]

    def note(self, name: str, candidate: Candidate, ns: float = 0.0) -> None:
        """What a tensor became. ns: the predicted time of its product."""
        if alias.is_alias(candidate.node):
            self._aliases.add(name)
        elif candidate.node.formulation != "dense":
            self._coded[name] = (replace(candidate, components=_none), ns)  # its words would stay in memory
            self._kept.setdefault(self.first(name), name)

    def alias(self, name: str) -> tuple[Candidate, float, str] | None:
        """A tensor as an alias of one that is coded, the time of its product, and the other's name; None where there
        is none or the alias would take more.
        """
        other = self._kept.get(self.first(name), name)
        if other == name:
            return None
        candidate, ns = self._coded[other]
        found = self.best(name, other, candidate)
        return (found, ns, other) if alias.is_alias(found.node) else None

    def best(self, name: str, other: str, candidate: Candidate) -> Candidate:
        """What an equal tensor becomes where the other one becomes this candidate: an alias, or the same again."""
        if name == other or candidate.node.formulation == "dense":
            return candidate
        pays = is_worth(name, other, self._blank(name, candidate), candidate.nbytes)
        return self.alias_of(name, other, candidate) if pays else candidate

    def alias_of(self, name: str, other: str, candidate: Candidate) -> Candidate:
        """The alias as a candidate: its bytes are those of its description."""
        blank = self._blank(name, candidate)
        info = len(description.to_bytes(alias.described(blank, other), {}, "0" * 8))
        node = alias.node_of(other)
        return replace(candidate, node=node, nbytes=info, components=_none, options={alias.TENSOR: other}, allowance=0)

    def alias_for(self, name: str, parameters: Mapping[str, Any], view: str) -> Candidate:
        """The alias that a plan names. Raises ArgumentError."""
        if view:
            raise ArgumentError("a copy takes the view of its tensor: leave 'view' out")
        if set(parameters) != {alias.TENSOR}:
            odd = sorted({alias.TENSOR} ^ set(parameters), key=str)[0]
            raise ArgumentError(f"formulation {alias.FORMULATION!r} has one parameter, 'tensor': check {odd!r}")
        other = parameters[alias.TENSOR]
        if not isinstance(other, str) or other not in self._source.dense:
            raise ArgumentError(f"it is to be a copy of {other!r}, which the source does not have")
        if other in self._aliases or other == name:
            raise ArgumentError(f"it is to be a copy of {other!r}, which is one itself: name the tensor that is stored")
        if other not in self._coded:
            later = self._order.get(other, -1) > self._order[name]
            reason = "is written after it" if later else "stays dense, and dense tensors have no copies"
            raise ArgumentError(f"it is to be a copy of {other!r}, which {reason}")
        ours, theirs = self._source.dense[name], self._source.dense[other]
        if (ours.tag, ours.shape) != (theirs.tag, theirs.shape) or not _same_bytes(self._source, name, other):
            raise ArgumentError(f"it is to be a copy of {other!r}, which has other weights")
        if len(other) > limits.NAME_CHARACTERS:
            raise ArgumentError(f"it is to be a copy of a tensor whose name is too long: {other[:80]!r}...")
        return self.alias_of(name, other, self._coded[other][0])

    def _blank(self, name: str, candidate: Candidate) -> Encoded:
        entry = self._source.dense[name]
        return candidate.blank(entry.shape, BY_TAG[entry.tag].name, self._profile)


def _none(threads: int) -> dict[str, np.ndarray]:
    return {}


def firsts(source: Any, groups: Mapping[str, Hashable]) -> dict[str, str]:
    """The first equal tensor of each that is not the first itself, as the source knows it or compared byte for byte."""

    def shape(name: str) -> Hashable:
        entry = source.dense[name]
        return entry.tag, entry.shape, groups[name]

    found: dict[str, str] = {}
    known = source.equal_names() if hasattr(source, "equal_names") else None
    if known is not None:
        told: dict[Hashable, str] = {}
        for name in groups:
            other = told.setdefault((known.get(name, name), shape(name)), name)
            found |= {name: other} if other != name else {}
        return found
    for alike in _grouped(list(groups), shape):
        for sampled in _grouped(alike, lambda name: _sample(source, name)):
            for digested in _grouped(sampled, lambda name: _crc32(source, name)):
                firsts: list[str] = []
                for name in digested:
                    first = next((one for one in firsts if _same_bytes(source, one, name)), None)
                    if first is None:
                        firsts.append(name)
                    else:
                        found[name] = first
    return found


def _grouped(names: Sequence[str], key: Callable[[str], Hashable]) -> Iterator[list[str]]:
    """Groups of equal keys, of at least two names each; nothing is asked about a single name."""
    groups: dict[Hashable, list[str]] = {}
    for name in names if len(names) > 1 else ():
        groups.setdefault(key(name), []).append(name)
    yield from (group for group in groups.values() if len(group) > 1)


def _sample(source: Any, name: str) -> bytes:
    data = source.raw(source.dense[name])
    starts = (0, max(0, data.size // 2 - _SAMPLE_BYTES), max(0, data.size - _SAMPLE_BYTES))
    found = b"".join(data[start : start + _SAMPLE_BYTES].tobytes() for start in starts)
    source.forget(name)
    return found


def _crc32(source: Any, name: str) -> str:
    crc = description.crc32(source.raw(source.dense[name]))
    source.forget(name)
    return crc


def _same_bytes(source: Any, a: str, b: str) -> bool:
    """Whether two tensors of one size have the same bytes; the first block that differs ends it."""
    ours, theirs = source.raw(source.dense[a]), source.raw(source.dense[b])
    starts = range(0, ours.size, _BLOCK_BYTES)
    equal = all(np.array_equal(ours[at : at + _BLOCK_BYTES], theirs[at : at + _BLOCK_BYTES]) for at in starts)
    source.forget(a)
    source.forget(b)
    return equal
