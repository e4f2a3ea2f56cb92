"""Constants of quantised networks: scales as attributes, tables, weights as floats, what sums are multiplied by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tersely.core.errors import ArgumentError
from tersely.graph import reference_activations
from tersely.graph.graph import Graph, Node
from tersely.graph.quantised_operators import PRODUCTS, RANGES, Affine, affine, is_float, output_axis

TOLERANCE = 1e-6
"""By how much a bias's scale may differ from that of the products that it is added to: roundings of float32."""


def array_of(constants: Mapping[str, Any], name: str) -> np.ndarray:
    """A constant as it is or, coded, decoded."""
    found = constants[name]
    return found if isinstance(found, np.ndarray) else np.asarray(found.decode())


def attributes_of(graph: Graph, constants: Mapping[str, Any]) -> Graph:
    """The graph in which one scale and zero point for all numbers of a value are attributes of nodes."""
    dtypes: dict[str, str] = {}
    nodes = []
    for node in graph.nodes:
        found = _with_attributes(node, graph, constants, dtypes)
        if found.operator == "quantise":
            dtypes[found.output] = str(found.attributes.get("dtype", "uint8"))
        elif "dtype" in found.attributes:
            dtypes[found.output] = str(found.attributes["dtype"])
        elif found.inputs:
            dtypes[found.output] = dtypes.get(next(iter(found.inputs.values())), "float32")
        nodes.append(found)
    return graph.with_nodes(nodes)


def _with_attributes(node: Node, graph: Graph, constants: Mapping[str, Any], dtypes: Mapping[str, str]) -> Node:
    if node.operator not in ("quantise", "dequantise") or node.inputs["x"] in graph.constants:
        return node
    role = "y" if node.operator == "quantise" else "x"
    attributes = dict(node.attributes)
    if role == "x":
        attributes["x_dtype"] = dtypes.get(node.inputs["x"], "float32")
    if "scale" in node.inputs:
        for one in ("scale", "zero"):
            if one in node.inputs and node.inputs[one] not in graph.constants:
                raise ArgumentError(f"{node}: its {one} is computed, and the executor takes constants")
        scale = array_of(constants, node.inputs["scale"])
        zero = array_of(constants, node.inputs["zero"]) if "zero" in node.inputs else np.zeros(1, np.int64)
        if scale.size != 1 or zero.size != 1:
            return Node(node.operator, node.inputs, node.output, attributes)
        attributes |= {f"{role}_scale": float(scale.reshape(())), f"{role}_zero": int(zero.reshape(()))}
    return Node(node.operator, {"x": node.inputs["x"]}, node.output, attributes)


def _along(node: Node, array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Scales or zero points, one for all or one for each place of an axis, to be combined with numbers."""
    if array.size == 1:
        return array.reshape(())
    axis = int(node.attributes.get("axis", 1)) % len(shape)
    if array.shape != (shape[axis],):
        raise ArgumentError(f"{node}: {array.shape} scales or zero points for axis {axis} of {tuple(shape)}")
    return array.reshape([-1 if one == axis else 1 for one in range(len(shape))])


def dequantised(node: Node, constants: Mapping[str, Any]) -> np.ndarray:
    """What a node makes of a constant, float32."""
    x = array_of(constants, node.inputs["x"])
    scale = array_of(constants, node.inputs["scale"]).astype(np.float32)
    zero = array_of(constants, node.inputs["zero"]) if "zero" in node.inputs else np.zeros(1, np.int64)
    difference = x.astype(np.int64) - _along(node, zero.astype(np.int64), x.shape)
    return (difference.astype(np.float32) * _along(node, scale, x.shape)).astype(np.float32)


def same_scale(constants: Mapping[str, Any], bias: Node, scales: np.ndarray) -> bool:
    """Whether a dequantised bias counts in units of the products that it is added to: int32, scales theirs, zero 0."""
    own = array_of(constants, bias.inputs["scale"]).astype(np.float64).reshape(-1)
    zero = array_of(constants, bias.inputs["zero"]) if "zero" in bias.inputs else np.zeros(1)
    if constants[bias.inputs["x"]].dtype != np.int32 or np.any(zero != 0):
        return False
    wanted = scales.astype(np.float64).reshape(-1)
    if 1 not in (own.size, wanted.size) and own.size != wanted.size:
        return False
    return bool(np.all(np.abs(own - wanted) <= TOLERANCE * np.abs(wanted)))


def quantised(x: np.ndarray, target: Affine) -> np.ndarray:
    """Float32 numbers as those of a quantised value: by division, ties to even, cut off at the ends of its dtype."""
    with np.errstate(over="ignore"):
        whole = np.rint(np.asarray(x, np.float32) / np.float32(target.scale)).astype(np.float64)
    return np.clip(whole + target.zero, *RANGES[target.dtype]).astype(target.dtype)


def table_of(source: Affine, activations: Sequence[str], target: Affine) -> np.ndarray:
    """What every number of a dtype, from the least on, becomes by activations in float64 and quantising anew."""
    low, high = RANGES[source.dtype]
    numbers = (np.arange(low, high + 1) - source.zero).astype(np.float32) * np.float32(source.scale)
    for name in activations:
        numbers = reference_activations.ACTIVATIONS[name](numbers.astype(np.float64)).astype(np.float32)
    return quantised(np.nan_to_num(numbers, nan=0.0), target)


def run(graph: Graph, constants: dict[str, Any]) -> Graph:
    """What kernels take: a multiplier, zero point and bias for each output, and the dtype of weights."""
    nodes, added = [], set[str]()
    for node in graph.nodes:
        if node.operator in PRODUCTS:
            node = _product(node, graph, constants, added)
        nodes.append(node)
    return replace(graph, constants=graph.constants | added).with_nodes(nodes)


def _product(node: Node, graph: Graph, constants: dict[str, Any], added: set[str]) -> Node:
    for role, name in node.inputs.items():
        if role != "x" and name not in graph.constants:
            raise ArgumentError(f"{node}: its {role} is computed, and the executor takes constants")
    weight = constants[node.inputs["weight"]]
    dtype, outputs = str(weight.dtype), weight.shape[output_axis(node)]
    if dtype not in RANGES:
        raise ArgumentError(f"{node}: weights of {dtype}: int8 and uint8 are multiplied as bytes")

    def each(array: np.ndarray, what: str) -> np.ndarray:
        if array.size not in (1, outputs):
            raise ArgumentError(f"{node}: {array.size} {what} for {outputs} outputs")
        return np.ascontiguousarray(np.broadcast_to(array.reshape(-1), (outputs,)))

    scale = each(array_of(constants, node.inputs["weight_scale"]).astype(np.float32), "scales")
    if not np.all(np.isfinite(scale) & (scale > 0)):
        raise ArgumentError(f"{node}: a scale of its weights is no finite number above zero")
    own = affine(node, "x", _input_dtype(node))
    multiplier = np.float32(own.scale) * scale
    if not is_float(node):
        multiplier = multiplier / np.float32(affine(node, "y", node.attributes["dtype"]).scale)
    if not np.all(np.isfinite(multiplier)):
        raise ArgumentError(f"{node}: its scales have no finite product")
    inputs = dict(node.inputs)
    made = {"multiplier": multiplier.astype(np.float32)}
    if "weight_zero" in inputs:
        zero = each(array_of(constants, inputs.pop("weight_zero")).astype(np.int32), "zero points")
        if np.any(zero):
            made["weight_zero"] = zero
    if "bias" in inputs:
        bias = array_of(constants, inputs.pop("bias"))
        if bias.dtype != np.int32:
            raise ArgumentError(f"{node}: a bias of {bias.dtype}, and int32 is added to sums of bytes")
        made["bias"] = each(bias, "numbers of a bias")
    for role, array in made.items():
        inputs[role] = f"{node.output}.{role}"
        constants[inputs[role]] = array
        added.add(inputs[role])
    return Node(node.operator, inputs, node.output, {**node.attributes, "weight_dtype": dtype})


def _input_dtype(node: Node) -> str:
    """A dtype that a node's x_zero may be of: the executor compares it with x's when it is lowered."""
    return "int8" if node.attributes["x_zero"] < 0 else "uint8"
