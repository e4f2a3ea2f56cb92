"""What is drawn of a network: the nodes that ran, who reads whom, and what is written in each box.

Nodes that only see memory otherwise - most reshapes and permutations - have run nothing and are left out: their readers
read what they read. A value that many read far below is named at its readers, not drawn as so many long lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tersely.graph.graph import Graph, Node
from tersely.graph.operators import Shape
from tersely.graph.picture.layered import Edge, layers_of

FAR = 4
"""Layers from a value to a reader that reads it by name."""
MANY = 3
"""Readers of such a value, at least."""


@dataclass
class Box:
    """A node as it is drawn. reads: values named in it instead of lines to it."""

    name: str
    title: str
    detail: str
    form: str
    shape: Shape
    nanoseconds: int
    node: Node | None = None
    reads: list[str] = field(default_factory=list)


def subject(
    graph: Graph, shapes: Mapping[str, Shape], times: Mapping[str, int], forms: Mapping[str, str]
) -> tuple[list[Box], list[Edge]]:
    """Boxes in the order in which they run, inputs first and outputs last, and the lines between them."""
    boxes = [Box(name, name, "input", "", shapes.get(name, ()), times.get(name, 0)) for name in graph.inputs]
    place = {name: index for index, name in enumerate(graph.inputs)}
    edges: list[Edge] = []
    for node in graph.nodes:
        sources = [place[name] for name in node.inputs.values() if name in place]
        if node.output not in times and sources:
            place[node.output] = sources[0]
            continue
        place[node.output] = len(boxes)
        edges += [(source, len(boxes)) for source in dict.fromkeys(sources)]
        title, detail = _title(node), _detail(node, shapes)
        shape = shapes.get(node.output, ())
        boxes.append(Box(node.output, title, detail, forms.get(node.output, ""), shape, times[node.output], node))
    for name in graph.outputs:
        if name in place:
            edges.append((place[name], len(boxes)))
            boxes.append(Box(name, name, "output", "", shapes.get(name, ()), 0))
    return boxes, _named_far(boxes, edges)


def _named_far(boxes: Sequence[Box], edges: Sequence[Edge]) -> list[Edge]:
    layers, kept = layers_of(len(boxes), edges), []
    far: dict[int, list[Edge]] = {}
    for edge in edges:
        if layers[edge[1]] - layers[edge[0]] >= FAR:
            far.setdefault(edge[0], []).append(edge)
    for start, end in edges:
        if len(far.get(start, ())) >= MANY and (start, end) in far[start]:
            boxes[end].reads.append(boxes[start].title)
        else:
            kept.append((start, end))
    return kept


def _title(node: Node) -> str:
    """The layer's name where it has a weight: exporters number what they compute, people name layers."""
    weight = node.inputs.get("weight", "")
    return weight.removesuffix(".weight") or node.output


def _detail(node: Node, shapes: Mapping[str, Shape]) -> str:
    words = [node.operator.replace("_", " ")]
    attributes = node.attributes
    if node.operator == "convolution":
        words.append("\N{MULTIPLICATION SIGN}".join(map(str, shapes.get(node.inputs["weight"], ())[2:])))
        if max(attributes.get("stride", [1])) > 1:
            words.append("/" + "\N{MULTIPLICATION SIGN}".join(map(str, dict.fromkeys(attributes["stride"]))))
        if attributes.get("groups", 1) > 1 and shapes.get(node.inputs["weight"], (0, 0))[1] == 1:
            words[0] = "depthwise"
        elif attributes.get("groups", 1) > 1:
            words.append(f"{attributes['groups']} groups")
    if "residual" in node.inputs:
        words.append("+")
    if "activation" in attributes:
        words.append(str(attributes["activation"]).replace("_", " "))
    return " ".join(words)
