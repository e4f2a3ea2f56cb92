"""Every operator in NumPy and float64: what the executor is compared with. Slow, short, without layouts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tersely.core.errors import ArgumentError
from tersely.graph import reference_tokens
from tersely.graph.graph import Graph, Node

Arrays = dict[str, np.ndarray]

_erf = np.vectorize(math.erf, otypes=[np.float64])


def run(graph: Graph, inputs: Mapping[str, np.ndarray], constants: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs of a graph, float64. Raises ArgumentError for operators that have no reference."""
    values = {name: np.asarray(one, np.float64) for name, one in {**constants, **inputs}.items()}
    for node in graph.nodes:
        if node.operator not in REFERENCE:
            raise ArgumentError(f"{node}: no reference")
        found = REFERENCE[node.operator](node, {role: values[name] for role, name in node.inputs.items()})
        if "activation" in node.attributes:
            found = ACTIVATIONS[node.attributes["activation"]](found)
        values[node.output] = found
    return [values[name] for name in graph.outputs]


def _windows(x: np.ndarray, node: Node, taps: tuple[int, int], fill: float, ceil: bool = False) -> np.ndarray:
    """[images, channels, rows, columns, taps_y, taps_x] of images padded with `fill`."""
    stride, padding = node.attributes["stride"], node.attributes["padding"]
    dilation = node.attributes.get("dilation", [1, 1])
    more = [step - 1 if ceil else 0 for step in stride]
    edges = [(0, 0), (0, 0), *((pad, pad + extra) for pad, extra in zip(padding, more, strict=True))]
    wide = np.pad(x, edges, constant_values=fill)
    reach = tuple(spread * (tap - 1) + 1 for spread, tap in zip(dilation, taps, strict=True))
    found = np.lib.stride_tricks.sliding_window_view(wide, reach, axis=(2, 3))
    found = found[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    if ceil:  # a window may not begin beyond the image and its first padding
        counts = [-(-(n + pad) // step) for n, pad, step in zip(x.shape[2:], padding, stride, strict=True)]
        found = found[:, :, : counts[0], : counts[1]]
    return found


def _convolution(node: Node, x: Arrays) -> np.ndarray:
    weight, groups = x["weight"], node.attributes["groups"]
    windows = _windows(x["x"], node, weight.shape[2:], 0.0)
    images, channels, rows, columns, *taps = windows.shape
    parts = windows.reshape(images, groups, channels // groups, rows, columns, *taps)
    filters = weight.reshape(groups, -1, channels // groups, *taps)
    found = np.einsum("igcrsyx,gocyx->igors", parts, filters).reshape(images, -1, rows, columns)
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
    return _windows(x["x"], node, kernel, -math.inf, ceil).max(axis=(4, 5))


def _average_pool(node: Node, x: Arrays) -> np.ndarray:
    kernel, ceil = tuple(node.attributes["kernel"]), bool(node.attributes.get("ceil", False))
    if ceil:
        raise ArgumentError(f"{node}: no reference")
    sums = _windows(x["x"], node, kernel, 0.0).sum(axis=(4, 5))
    counted = np.ones_like(x["x"][:1, :1])
    inside = _windows(counted, node, kernel, float(node.attributes["count_padding"])).sum(axis=(4, 5))
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


def _sigmoid(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "sigmoid": _sigmoid,
    "silu": lambda x: x * _sigmoid(x),
    "tanh": np.tanh,
    "exp": np.exp,
    "erf": _erf,
    "sqrt": np.sqrt,
    "negative": np.negative,
    "hard_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "gelu": lambda x: x * (1 + _erf(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
}
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
}
