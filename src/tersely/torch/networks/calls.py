"""What translating one call of an exported program sees, and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
"""Dtypes that float32 holds every number of: in our graph they are all float32."""


@dataclass(frozen=True)
class Known:
    """A tensor's shape and dtype; its values where it is a constant."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    values: torch.Tensor | None


@dataclass(frozen=True)
class Call:
    """One call: names of tensors and constants where a tensor was meant, all else as it is. Defaults are filled in.

    tensors: what is known of the arguments that are tensors, by argument. result: the tensor that is computed, as
    torch.export noted it. number: makes a constant of a number and returns its name.
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


Translate = Callable[[Call], Translated]


def inputs_of(call: Call, **roles: str) -> dict[str, str]:
    """Roles by the argument that fills them, those left out that are None."""
    return {role: call[name] for role, name in roles.items() if call[name] is not None}
