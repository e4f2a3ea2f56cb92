"""What a report shows: the tensors of a file, and sums over components and formulations."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tersely.files import commands
from tersely.files.results import FileReport, TensorReport

HEADER = "header"


@dataclass(frozen=True)
class Group:
    """Tensors of one formulation (that of their root)."""

    formulation: str
    tensors: int
    weights: int
    bytes_before: int
    bytes_after: int

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class Summary:
    """components: bytes by (path of the node, its formulation, component), as `anatomy.SizeNode.walk` names them."""

    file: FileReport
    groups: tuple[Group, ...]
    components: dict[tuple[str, str, str], int]

    @property
    def weights(self) -> int:
        return sum(tensor.weights for tensor in self.file.tensors)

    @property
    def header_bytes(self) -> int:
        """What is no tensor: names, checksums, and what the original had around its tensors."""
        return self.file.bytes_after - sum(tensor.bytes_after for tensor in self.file.tensors)

    @property
    def predicted_us(self) -> tuple[float, float]:
        """One product with every matrix that the cost model knows: as stored, and dense."""
        known = [tensor for tensor in self.file.tensors if tensor.predicted_us is not None]
        return sum(t.predicted_us or 0.0 for t in known), sum(t.dense_us or 0.0 for t in known)

    def to_json(self) -> dict[str, Any]:
        stored, dense = self.predicted_us
        document = self.file.to_json()
        for tensor, entry in zip(self.file.tensors, document["tensors"], strict=True):
            entry["parts"] = tensor.anatomy.to_json()
        return document | {
            "weights": self.weights,
            "header_bytes": self.header_bytes,
            "predicted_us": stored,
            "dense_us": dense,
            "formulations": [group.to_json() for group in self.groups],
            "components": [
                {"path": path, "formulation": formulation, "component": component, "bytes": count}
                for (path, formulation, component), count in self.components.items()
            ],
        }


def gather(path: str | os.PathLike[str], profile: str | os.PathLike[str] | None = None) -> Summary:
    """What a compressed (or plain) file or folder holds. profile, errors: as `tersely.inspect`."""
    file = commands.inspect(path, profile=profile)
    components: dict[tuple[str, str, str], int] = {}
    for tensor in file.tensors:
        for path_of_node, formulation, component, count in tensor.anatomy.walk():
            key = (path_of_node, formulation, component)
            components[key] = components.get(key, 0) + count
    return Summary(file, _groups(file.tensors), components)


def _groups(tensors: Iterable[TensorReport]) -> tuple[Group, ...]:
    by_name: dict[str, list[TensorReport]] = {}
    for tensor in tensors:
        by_name.setdefault(tensor.formulation, []).append(tensor)
    found = [
        Group(
            name,
            len(members),
            sum(tensor.weights for tensor in members),
            sum(tensor.bytes_before for tensor in members),
            sum(tensor.bytes_after for tensor in members),
        )
        for name, members in by_name.items()
    ]
    return tuple(sorted(found, key=lambda group: -group.bytes_after))
