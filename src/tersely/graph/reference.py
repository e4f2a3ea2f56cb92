"""Every operator in NumPy and float64: what the executor is compared with. Slow, short, without layouts."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from tersely.core.errors import ArgumentError
from tersely.graph import reference_quantised, reference_tokens
from tersely.graph.graph import Graph, Node
from tersely.graph.reference_activations import ACTIVATIONS
from tersely.graph.reference_windows import convolved, windows

Arrays = dict[str, np.ndarray]


def run(
    graph: Graph,
    inputs: Mapping[str, np.ndarray],
    constants: Mapping[str, np.ndarray],
    paired: Collection[str] = (),
) -> list[np.ndarray]:
    """The outputs of a graph, float64, those of bytes too. Raises ArgumentError for operators that have no reference.

    paired: weights of bfloat16 whose products round x to it (`lowering.pairs`). Of such a product by float32 numbers the
    executor's sums differ by at most (columns + 8) x 2^-24 of the sum of the absolute values of all that is added.
    """
    values = {name: np.asarray(one, np.float64) for name, one in {**constants, **inputs}.items()}
    for node in graph.nodes:
        if node.operator not in REFERENCE:
            raise ArgumentError(f"{node}: no reference")
        operands = {role: values[name] for role, name in node.inputs.items()}
        if node.inputs.get("weight") in paired and node.operator in ("convolution", "linear"):
            operands |= {role: to_bfloat16(operands[role]) for role in ("x", "weight")}
        found = REFERENCE[node.operator](node, operands)
        if "activation" in node.attributes:
            found = ACTIVATIONS[node.attributes["activation"]](found)
        values[node.output] = found
    return [values[name] for name in graph.outputs]


def to_bfloat16(numbers: np.ndarray) -> np.ndarray:
    """float64 that bfloat16 holds: the nearest to each number as float32, ties to even; subnormal ones are zeros."""
    narrow = np.ascontiguousarray(numbers, np.float32)
    bits = np.where(np.abs(narrow) < 2.0**-126, narrow.view(np.uint32) & 0x80000000, narrow.view(np.uint32))
    up = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    rounded = np.where(np.isnan(narrow), bits | 0x00400000, up).astype(np.uint32)
    return rounded.view(np.float32).astype(np.float64)


def _convolution(node: Node, x: Arrays) -> np.ndarray:
    found = convolved(node, x["x"], x["weight"])
    for role, combine in (("bias", np.add), ("scale", np.multiply), ("shift", np.add)):
        if role in x:
            found = combine(found, x[role].reshape(1, -1, 1, 1))
    return found + x["residual"] if "residual" in x else found


def _batch_norm(node: Node, x: Arrays) -> np.ndarray:
    def channels(role: str, otherwise: float) -> np.ndarray:
        return x[role].reshape(1, -1, 1, 1) if role in x else np.full((1, 1, 1, 1), otherwise)

    scale = channels("weight", 1) / np.sqrt(channels("variance", 1) + node.attributes["eps"])
    return (x["x"] - channels("mean", 0)) * scale + channels("bias", 0)


def _max_pool(node: Node, x: Arrays) -> np.ndarray:
    kernel, ceil = tuple(node.attributes["kernel"]), bool(node.attributes.get("ceil", False))
    return windows(x["x"], node, kernel, -math.inf, ceil).max(axis=(4, 5))


def _average_pool(node: Node, x: Arrays) -> np.ndarray:
    kernel, ceil = tuple(node.attributes["kernel"]), bool(node.attributes.get("ceil", False))
    if ceil:
        raise ArgumentError(f"{node}: no reference")
    sums = windows(x["x"], node, kernel, 0.0).sum(axis=(4, 5))
    counted = np.ones_like(x["x"][:1, :1])
    inside = windows(counted, node, kernel, float(node.attributes["count_padding"])).sum(axis=(4, 5))
    return sums / inside


def _adaptive_average_pool(node: Node, x: Arrays) -> np.ndarray:
    def edges(length: int, count: int) -> list[slice]:
        return [slice(i * length // count, -(-(i + 1) * length // count)) for i in range(count)]

    image, size = x["x"], node.attributes["size"]
    across = [edges(length, count) for length, count in zip(image.shape[2:], size, strict=True)]
    rows = [[image[:, :, one, other].mean(axis=(2, 3)) for other in across[1]] for one in across[0]]
    return np.moveaxis(np.array(rows), (0, 1), (2, 3))


def _linear(node: Node, x: Arrays) -> np.ndarray:
    weight = x["weight"] if node.attributes.get("in_out", False) else x["weight"].T
    return np.asarray(x["x"] @ weight + x.get("bias", 0.0) + x.get("residual", 0.0))


def _flatten(node: Node, x: Arrays) -> np.ndarray:
    image = x["x"]
    first, last = (axis % image.ndim for axis in (node.attributes["first"], node.attributes["last"]))
    return image.reshape(*image.shape[:first], -1, *image.shape[last + 1 :])


ARITHMETIC: dict[str, Any] = {"add": np.add, "subtract": np.subtract, "multiply": np.multiply}


def _activation(node: Node, x: Arrays) -> np.ndarray:
    return ACTIVATIONS[node.operator](x["x"])


def _arithmetic(node: Node, x: Arrays) -> np.ndarray:
    found: np.ndarray = ARITHMETIC[node.operator](x["x"], x["z"])
    return found


REFERENCE: dict[str, Callable[[Node, Arrays], np.ndarray]] = {
    "convolution": _convolution,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "max_pool": _max_pool,
    "average_pool": _average_pool,
    "adaptive_average_pool": _adaptive_average_pool,
    "flatten": _flatten,
    **dict.fromkeys(ACTIVATIONS, _activation),
    **dict.fromkeys(ARITHMETIC, _arithmetic),
    **reference_tokens.REFERENCE,
    **reference_quantised.REFERENCE,
}
