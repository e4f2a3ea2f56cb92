"""A coded tensor taken apart: its nodes, what each is called, and where its bytes are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

INFO = "info"


@dataclass(frozen=True)
class Part:
    """One node. name: how its parent calls it ('' for the root). components: bytes by short name, its children's not."""

    name: str
    formulation: str
    label: str
    components: Mapping[str, int]
    children: tuple[Part, ...]

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


def label(formulation: str, parameters: Mapping[str, Any]) -> str:
    """A node in a few characters: 'split layered(2,2)', 'split packed(4)', 'sparse bitmap', 'palette 16', 'palette grid 16', 'affine 4-bit by rows', 'same as NAME', 'dense'."""
    words = [formulation]
    if formulation == "same":
        return f"same as {parameters.get('tensor')}"
    for value in (parameters.get("positions"), parameters.get("block"), parameters.get("code")):
        if isinstance(value, str):
            words.append(value)
    if formulation == "palette" and "scale" in parameters:
        words.append("grid")
    if formulation in ("affine", "row_palette"):
        bits, columns = parameters.get("bits"), parameters.get("columns")
        words += [f"{bits}-bit"] * isinstance(bits, int) + [f"by {columns}" if columns else "by rows"]
    elif isinstance(parameters.get("entries"), int):
        words.append(str(parameters["entries"]))
    widths = parameters.get("widths")
    if isinstance(widths, (list, tuple)) and widths:
        words[-1] += f"({','.join(map(str, widths))})"
    elif words[-1] == "packed":
        words[-1] += f"({parameters.get('bits', 4)})"
    return " ".join(words)


def part(tree: Mapping[str, Any], components: Mapping[str, int], name: str = "") -> Part:
    """The node `tree` (as in `info`) with the bytes of its components, which children's names prefix."""
    children = []
    own = dict(components)
    for child, node in tree.get("children", {}).items():
        prefix = f"{child}."
        inner = {full: own.pop(full) for full in list(own) if full.startswith(prefix)}
        children.append(part(node, {full.removeprefix(prefix): count for full, count in inner.items()}, child))
    formulation = str(tree["formulation"])
    if INFO in own:
        own[INFO] = own.pop(INFO)  # the description comes last: it is no weight
    return Part(name, formulation, label(formulation, tree.get("parameters", {})), own, tuple(children))
