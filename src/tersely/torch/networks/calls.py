"""What translating one call of an exported program sees, and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Call:
    """One call: names of tensors and constants where a tensor was meant, all else as it is. Defaults are filled in.

    tensors: what is known of the arguments that are tensors, by argument: shape and dtype; constants are whole. result:
    the same of what is computed. number: makes a constant of a number and returns its name.
    """

    arguments: dict[str, Any]
    tensors: dict[str, Any]
    result: Any
    number: Callable[[float], str]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]


@dataclass(frozen=True)
class Translated:
    """operator None: the output is the input `x`."""

    operator: str | None
    inputs: dict[str, str]
    attributes: dict[str, Any]


Translate = Callable[[Call], Translated | list[Translated]]
"""A list for calls of several outputs."""


def inputs_of(call: Call, **roles: str) -> dict[str, str]:
    """Roles by the argument that fills them, those left out that are None."""
    return {role: call[name] for role, name in roles.items() if call[name] is not None}
