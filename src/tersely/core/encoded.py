"""`Encoded`: a tensor as named byte arrays and a description; the narrow waist of the package.

Formulations make and read it, the container stores it, and neither knows the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SLACK_BYTES = 64
"""FORMAT: zero bytes after the last used byte of every stream component: kernels read 64 bytes at a time."""


def stream_bytes(used_bytes: int) -> int:
    """Stored size of a stream component: the used bytes, the slack, rounded up to 64."""
    return (used_bytes + SLACK_BYTES + 63) // 64 * 64


def index_bytes(used_bytes: int) -> int:
    """Stored size of an index component (read word by word, so without slack): rounded up to 64."""
    return (used_bytes + 63) // 64 * 64


def stored(used: np.ndarray, stored_bytes: Callable[[int], int]) -> np.ndarray:
    """The bytes of an array as a component of one of these sizes."""
    raw = np.ascontiguousarray(used).reshape(-1).view(np.uint8)
    component = np.zeros(stored_bytes(raw.size), dtype=np.uint8)
    component[: raw.size] = raw
    return component


@dataclass(frozen=True)
class Node:
    """One formulation of the description tree.

    parameters: JSON-able. children: nodes whose components carry this child's name as a dotted prefix.
    """

    formulation: str
    version: int
    parameters: Mapping[str, Any] = field(default_factory=dict)
    children: Mapping[str, Node] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Compact form for `info`; empty parameters and children are left out."""
        json: dict[str, Any] = {"formulation": self.formulation, "version": self.version}
        if self.parameters:
            json["parameters"] = dict(self.parameters)
        if self.children:
            json["children"] = {name: child.to_json() for name, child in self.children.items()}
        return json

    def walk(self, prefix: str = "") -> Iterator[tuple[str, Node]]:
        """Every node with its dotted prefix ('' for the root), depth first."""
        yield prefix, self
        for name, child in self.children.items():
            yield from child.walk(f"{prefix}{name}.")


@dataclass(frozen=True)
class Encoded:
    """A tensor in coded form.

    shape, dtype: of the original tensor (dtype as in `tersely.core.dtypes`, e.g. 'bfloat16').
    view, orientation, column_order: how the tensor was seen as matrices (`tersely.core.geometry`).
    node: root of the description tree. components: uint8 arrays by dotted name, slack included.
    profile: the planning profile that chose the formulation; informative.
    """

    shape: tuple[int, ...]
    dtype: str
    view: str
    orientation: str
    column_order: str
    node: Node
    components: Mapping[str, np.ndarray]
    profile: str = "portable"

    @property
    def nbytes_stored(self) -> int:
        """Bytes of all components, slack included, description and header entries not."""
        return sum(int(component.nbytes) for component in self.components.values())
