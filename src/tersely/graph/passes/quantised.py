"""Floats between two values of bytes: what dequantises, computes and quantises again becomes one operator on bytes.

    dequantise -> convolution, linear -> [relu, relu6] -> quantise      quantised_convolution, quantised_linear
    the same without quantise                                           the same, with results of floats
    dequantise twice -> add -> [relu, relu6] -> quantise                quantised_add
    dequantise -> average pool or mean of pixels -> quantise            quantised_average_pool
    dequantise -> activations -> quantise                               look_up, a table of 256 numbers
    dequantise -> what only moves numbers                               the same on bytes, dequantised behind it
    dequantise of a constant that nobody took so                        a constant of floats

What is left runs as itself. `quantised_constants` then computes what kernels multiply sums by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tersely.core.errors import ArgumentError
from tersely.graph.graph import Graph, Node, renamed
from tersely.graph.operators import ACTIVATIONS
from tersely.graph.passes.quantised_constants import array_of, attributes_of, dequantised, same_scale, table_of
from tersely.graph.quantised_operators import KEEPERS, RANGES, Affine, output_axis

BOUNDED = {"relu": (0.0, None), "relu6": (0.0, 6.0)}
"""Activations that cut results off, and where."""
PRODUCTS = {"convolution": "quantised_convolution", "linear": "quantised_linear"}


def run(graph: Graph, constants: dict[str, Any]) -> Graph:
    if not any(node.operator in ("quantise", "dequantise") for node in graph.nodes):
        return graph
    graph = attributes_of(graph, constants)
    graph = _sunk(graph)
    fusing = _Fusing(graph, constants)
    graph = fusing.fused()
    return _used(_floats(graph, constants))


def _sunk(graph: Graph) -> Graph:
    """What only moves numbers moves bytes: it comes before their dequantising."""
    sources = {node.output: node for node in graph.nodes if node.operator == "dequantise" and _of_value(graph, node)}
    nodes: list[Node] = []
    for node in graph.nodes:
        read = [sources.get(name) for name in node.inputs.values()]
        first = read[0] if read else None
        if node.operator not in KEEPERS or first is None or not all(_alike(first, one) for one in read):
            nodes.append(node)
            continue
        moved = f"{node.output}.bytes"
        inputs = {role: sources[name].inputs["x"] for role, name in node.inputs.items()}
        attributes = dict(node.attributes)
        if node.operator == "pad":
            if attributes["value"] != 0:
                nodes.append(node)
                continue
            attributes["value"] = first.attributes["x_zero"]
        behind = Node("dequantise", {"x": moved}, node.output, first.attributes)
        sources[node.output] = behind
        nodes += [Node(node.operator, inputs, moved, attributes), behind]
    return graph.with_nodes(nodes)


def _of_value(graph: Graph, node: Node) -> bool:
    """Whether a value is dequantised, with one scale, not a constant."""
    return node.inputs["x"] not in graph.constants and "x_scale" in node.attributes


def _alike(a: Node, b: Node | None) -> bool:
    keys = ("x_scale", "x_zero", "x_dtype")
    return b is not None and all(a.attributes.get(key) == b.attributes.get(key) for key in keys)


class _Fusing:
    """One walk over the nodes of a graph."""

    def __init__(self, graph: Graph, constants: dict[str, Any]) -> None:
        self.graph, self.constants = graph, constants
        self.uses, self.producer = graph.uses(), graph.producer()
        self.added: set[str] = set()
        self.names: dict[str, str] = {}

    def fused(self) -> Graph:
        nodes: list[Node] = []
        for original in self.graph.nodes:
            node = next(renamed([original], self.names))
            found = self._quantised(node) if node.operator == "quantise" else None
            nodes += [node] if found is None else list(renamed(found, self.names))
        nodes = [self._float_product(node) or node for node in nodes]
        outputs = [self.names.get(name, name) for name in self.graph.outputs]
        return replace(self.graph, constants=self.graph.constants | self.added).with_nodes(nodes, outputs)

    def _quantised(self, node: Node) -> list[Node] | None:
        """What a quantise node and the floats before it become; None where they stay."""
        if "y_scale" not in node.attributes:
            return None
        before = self.producer.get(node.inputs["x"])
        activations: list[str] = []
        while before is not None and before.operator in ACTIVATIONS and self.uses[before.output] == 1:
            activations.insert(0, before.operator)
            before = self.producer.get(before.inputs["x"])
        if before is None:
            return None
        if before.operator == "dequantise" and _of_value(self.graph, before):
            return self._table(node, before, activations)
        if before.operator in KEEPERS and not activations and self.uses[before.output] == 1:
            return self._moved(node, before)
        if self.uses[before.output] != 1 or not all(one in BOUNDED for one in activations):
            return None
        written = _written(node, activations)
        if before.operator in PRODUCTS:
            found = self._product(before, node.output, written)
            return None if found is None else [found]
        if before.operator == "add":
            return self._add(before, node.output, written)
        if before.operator in ("adaptive_average_pool", "average_pool", "mean"):
            return self._pool(before, node.output, written)
        return None

    def _table(self, node: Node, before: Node, activations: Sequence[str]) -> list[Node]:
        source = _affine_of(before.attributes, "x", before.attributes["x_dtype"])
        target = _affine_of(node.attributes, "y", node.attributes["dtype"])
        x = before.inputs["x"]
        if source == target and not activations:
            self.names[node.output] = self.names.get(x, x)
            return []
        name = f"{node.output}.table"
        self.constants[name] = table_of(source, activations, target)
        self.added.add(name)
        return [Node("look_up", {"x": x, "table": name}, node.output, {"dtype": target.dtype})]

    def _moved(self, node: Node, before: Node) -> list[Node] | None:
        """Values of several scales that are put together: each in the result's first."""
        if before.operator == "pad" or not all(self._value(name) for name in before.inputs.values()):
            return None
        nodes, inputs = [], {}
        for role, name in before.inputs.items():
            part = Node("quantise", {"x": name}, f"{node.output}.{role}", node.attributes)
            nodes += self._table(part, self.producer[name], ())
            inputs[role] = self.names.get(part.output, part.output)
        return [*nodes, Node(before.operator, inputs, node.output, before.attributes)]

    def _value(self, name: str) -> Node | None:
        """The node that dequantises a value; None where it is no value of bytes."""
        found = self.producer.get(name)
        if found is None or found.operator != "dequantise" or not _of_value(self.graph, found):
            return None
        return found

    def _constant(self, name: str | None) -> Node | None:
        """The node that dequantises a constant."""
        found = self.producer.get(name) if name is not None else None
        if found is None or found.operator != "dequantise" or found.inputs["x"] not in self.graph.constants:
            return None
        return found

    def _product(self, node: Node, output: str, written: Mapping[str, Any]) -> Node | None:
        x, weight, bias = (node.inputs.get(role) for role in ("x", "weight", "bias"))
        value, matrix, added = self._value(x or ""), self._constant(weight), self._constant(bias)
        if value is None or matrix is None or "residual" in node.inputs or (bias is not None and added is None):
            return None
        if str(self.constants[matrix.inputs["x"]].dtype) not in RANGES or not _by_output(
            matrix, self.constants, output_axis(node)
        ):
            return None
        scales = np.float32(value.attributes["x_scale"]) * array_of(self.constants, matrix.inputs["scale"])
        inputs = {"x": value.inputs["x"], "weight": matrix.inputs["x"], "weight_scale": matrix.inputs["scale"]}
        if "zero" in matrix.inputs:
            inputs["weight_zero"] = matrix.inputs["zero"]
        if added is not None:
            if not same_scale(self.constants, added, scales):
                return None
            inputs["bias"] = added.inputs["x"]
        attributes = {
            **{key: one for key, one in node.attributes.items() if key != "activation"},
            **{key: value.attributes[key] for key in ("x_scale", "x_zero")},
            **written,
        }
        return Node(PRODUCTS[node.operator], inputs, output, attributes)

    def _float_product(self, node: Node) -> Node | None:
        return self._product(node, node.output, {}) if node.operator in PRODUCTS else None

    def _add(self, node: Node, output: str, written: Mapping[str, Any]) -> list[Node] | None:
        x, z = (self._value(node.inputs[role]) for role in ("x", "z"))
        if x is None or z is None:
            return None
        attributes = {
            **{
                f"{role}_{key}": one.attributes[f"x_{key}"]
                for role, one in (("x", x), ("z", z))
                for key in ("scale", "zero")
            },
            **written,
        }
        return [Node("quantised_add", {"x": x.inputs["x"], "z": z.inputs["x"]}, output, attributes)]

    def _pool(self, node: Node, output: str, written: Mapping[str, Any]) -> list[Node] | None:
        x = self._value(node.inputs["x"])
        if x is None:
            return None
        attributes = {**node.attributes, **{key: x.attributes[key] for key in ("x_scale", "x_zero")}, **written}
        if node.operator != "mean":
            return [Node("quantised_average_pool", {"x": x.inputs["x"]}, output, attributes)]
        if sorted(axis % 4 for axis in node.attributes["axes"]) != [2, 3]:
            return None
        attributes = {key: one for key, one in attributes.items() if key not in ("axes", "keep")} | {"size": [1, 1]}
        if node.attributes["keep"]:
            return [Node("quantised_average_pool", {"x": x.inputs["x"]}, output, attributes)]
        pooled = f"{output}.pixel"
        return [
            Node("quantised_average_pool", {"x": x.inputs["x"]}, pooled, attributes),
            Node("flatten", {"x": pooled}, output, {"first": 1, "last": 3}),
        ]


def _affine_of(attributes: Mapping[str, Any], role: str, dtype: str) -> Affine:
    return Affine(attributes[f"{role}_scale"], attributes[f"{role}_zero"], dtype)


def _by_output(matrix: Node, constants: Mapping[str, Any], axis: int) -> bool:
    """Whether a weight has one scale, or one for each output."""
    if array_of(constants, matrix.inputs["scale"]).size == 1:
        return True
    return int(matrix.attributes.get("axis", 1)) % len(constants[matrix.inputs["x"]].shape) == axis


def _written(node: Node, activations: Sequence[str]) -> dict[str, Any]:
    """Attributes of an operator whose results are those of a quantise node behind activations that cut off."""
    dtype = node.attributes["dtype"]
    low, high = RANGES[dtype]
    target = _affine_of(node.attributes, "y", dtype)
    for one in activations:
        for bound, number in zip(("low", "high"), BOUNDED[one], strict=True):
            if number is None:
                continue
            place = int(np.clip(np.rint(np.float32(number) / np.float32(target.scale)) + target.zero, *RANGES[dtype]))
            low, high = (max(low, place), high) if bound == "low" else (low, min(high, place))
    found = {"y_scale": target.scale, "y_zero": target.zero, "dtype": dtype}
    return found if (low, high) == RANGES[dtype] else {**found, "low": low, "high": max(low, high)}


def _floats(graph: Graph, constants: dict[str, Any]) -> Graph:
    """Constants that are still dequantised, as floats."""
    names: dict[str, str] = {}
    for node in graph.nodes:
        if node.operator == "dequantise" and node.inputs["x"] in graph.constants:
            constants[node.output] = dequantised(node, constants)
            names[node.output] = node.output
    nodes = [node for node in graph.nodes if node.output not in names]
    return replace(graph, constants=graph.constants | set(names)).with_nodes(nodes)


def _used(graph: Graph) -> Graph:
    """The graph without nodes that nobody reads."""
    read = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if node.output in read:
            kept.append(node)
            read.update(node.inputs.values())
    if not kept and graph.nodes:
        raise ArgumentError("no node computes an output of the graph")
    return graph.with_nodes(kept[::-1])
