"""A coded tensor taken apart: its nodes, what each is called, and where its bytes are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tersely.codes import registry
from tersely.codes.node import INFO, split_components


@dataclass(frozen=True)
class SizeNode:
    """One node. name: how its parent calls it ('' for the root). components: bytes by short name, its children's
    not.
    """

    name: str
    formulation: str
    label: str
    components: Mapping[str, int]
    children: tuple[SizeNode, ...]

    @property
    def nbytes(self) -> int:
        return sum(self.components.values()) + sum(child.nbytes for child in self.children)

    def walk(self, outer: str = "") -> list[tuple[str, str, str, int]]:
        """(path, formulation, component, bytes) of the whole tree, a node before its children.

        path: 'split' for the root, 'sparse values: split' for a child.
        """
        path = f"{outer} {self.name}: {self.formulation}" if outer else self.formulation
        own = [(path, self.formulation, name, count) for name, count in self.components.items()]
        return own + [found for child in self.children for found in child.walk(path)]

    def to_json(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "bytes": self.nbytes,
            "components": dict(self.components),
            "children": {child.name: child.to_json() for child in self.children},
        }


def sizes(tree: Mapping[str, Any], components: Mapping[str, int], name: str = "") -> SizeNode:
    """The node `tree` (as in `info`) with the bytes of its components, which children's names prefix."""
    nodes = tree.get("children", {})
    own, inner = split_components(components, nodes)
    children = tuple(sizes(node, inner[child], child) for child, node in nodes.items())
    formulation = str(tree["formulation"])
    if INFO in own:
        own[INFO] = own.pop(INFO)  # the description comes last: it is no weight
    return SizeNode(name, formulation, registry.node_label(tree), own, children)
