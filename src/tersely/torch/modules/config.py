"""`config=` of `compress_`: settings by name, read and checked before any weight is touched."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from tersely.codes import registry
from tersely.core.errors import ArgumentError
from tersely.planner.choose import OBJECTIVES
from tersely.torch.modules.settings import Settings
from tersely.torch.weight.tersely_tensor import CLASSES

_OF_COMPRESS = ("array", "batch", "int4_columns", "orientation", "profile", "threads")
"""What `tersely.encode` takes besides a formulation's parameters, and nothing that a name can be given."""


class Config:
    """Settings by the exact name of a parameter or module, then by patterns 're:...', then '_default'.

    Raises ArgumentError, naming the entry, for what could not be meant.
    """

    def __init__(self, given: Mapping[str, Any] | None, default: Settings) -> None:
        if not isinstance(given, (Mapping, type(None))):
            raise ArgumentError(f"config must be a mapping from names to settings, not {given!r}")
        self._default = default
        self._entries: dict[str, Settings | None] = {}
        self._patterns: dict[re.Pattern[str], Settings | None] = {}
        for key, value in (given or {}).items():
            if not isinstance(key, str):
                raise ArgumentError(f"config: names are text, not {key!r}")
            settings = _settings(key, value, default)
            if key.startswith("re:"):
                self._patterns[_pattern(key)] = settings
            else:
                self._entries[key] = settings

    def of(self, name: str) -> Settings | None:
        """Returns the settings of one parameter; None: leave it dense."""
        for key in (name, name.rpartition(".")[0]):
            if key in self._entries:
                return self._entries[key]
        for pattern, settings in self._patterns.items():
            if pattern.fullmatch(name):
                return settings
        return self._entries.get("_default", self._default)

    def check_names(self, ties: Iterable[Iterable[str]]) -> None:
        """Raises ArgumentError for an exact name that belongs to nothing: a slip would go unseen.

        ties: the names of each parameter, the one that it is known by first.
        """
        known, others = set[str](), dict[str, str]()
        for first, *rest in ties:
            known |= {first, first.rpartition(".")[0]}
            others |= {key: first for name in rest for key in (name, name.rpartition(".")[0])}
        for key in self._entries:
            if key in known or key == "_default":
                continue
            if key in others:
                raise ArgumentError(f"config: what {key!r} has is tied to {others[key]!r}: give the settings that name")
            near = difflib.get_close_matches(key, known, 1)
            raise ArgumentError(
                f"config: {key!r} is neither a parameter nor a module with parameters of its own"
                + (f"; did you mean {near[0]!r}?" if near else "")
                + " ('re:...' takes a pattern of names)"
            )


def _pattern(key: str) -> re.Pattern[str]:
    try:
        return re.compile(key.removeprefix("re:"))
    except re.error as error:
        raise ArgumentError(f"config: {key!r} is no regular expression: {error}") from None


def _settings(key: str, value: Any, default: Settings) -> Settings | None:
    if value is None:
        return None
    if not isinstance(value, (str, Mapping)):
        raise ArgumentError(f"config for {key!r}: settings are None, an objective or a mapping, not {value!r}")
    given: dict[Any, Any] = {"objective": value} if isinstance(value, str) else dict(value)
    own = {word: given.pop(word, getattr(default, word)) for word in ("objective", "mode", "minimum_bytes")}
    for word, choices in (("objective", OBJECTIVES), ("mode", tuple(CLASSES))):
        if own[word] not in choices:
            raise ArgumentError(f"config for {key!r}: unknown {word} {own[word]!r}: use one of {', '.join(choices)}")
    minimum = own["minimum_bytes"]
    if isinstance(minimum, bool) or not isinstance(minimum, (int, float)) or not minimum >= 0:
        raise ArgumentError(f"config for {key!r}: minimum_bytes must be a number of at least 0, not {minimum!r}")
    formulation = given.get("formulation")
    if "formulation" in given and (not isinstance(formulation, str) or formulation not in registry.NAMES):
        raise ArgumentError(
            f"config for {key!r}: unknown formulation {formulation!r}: use one of {', '.join(registry.NAMES)}"
        )
    if given.get("view", "") not in ("", "folded"):
        raise ArgumentError(f"config for {key!r}: unknown view {given['view']!r}: use 'folded', or leave it out")
    for word in given:
        if not isinstance(word, str) or word in _OF_COMPRESS or formulation is None:
            raise ArgumentError(
                f"config for {key!r}: unknown setting {word!r}: use objective, mode, minimum_bytes, or formulation and "
                "its parameters"
            )
    return replace(default, options=given, **own)
