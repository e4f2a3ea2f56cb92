"""Operators on values of bytes in NumPy: exact integers, then float32 as `quantised_operators` says.

Results are the executor's, bit for bit. Values are numbers of their dtypes, held as float64 like all of the reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tersely.core.errors import ArgumentError
from tersely.graph import reference_windows
from tersely.graph.graph import Node
from tersely.graph.quantised_operators import RANGES, bounds, is_float

Arrays = dict[str, np.ndarray]


def _integers(x: np.ndarray) -> np.ndarray:
    return np.asarray(x).astype(np.int64)


def _scale(node: Node, x: Arrays, role: str) -> np.ndarray:
    """Float32, one or one for each place of an axis, to be combined with x."""
    if "scale" not in x:
        return np.asarray(node.attributes[f"{role}_scale"], np.float32)
    return _along(node, x["scale"].astype(np.float32), x["x"])


def _zero(node: Node, x: Arrays, role: str) -> np.ndarray:
    if "scale" not in x:
        return np.asarray(node.attributes[f"{role}_zero"], np.int64)
    return _along(node, _integers(x.get("zero", np.zeros(1))), x["x"])


def _along(node: Node, array: np.ndarray, x: np.ndarray) -> np.ndarray:
    if array.size == 1:
        return array.reshape(())
    axis = node.attributes.get("axis", 1) % x.ndim
    return array.reshape([-1 if one == axis else 1 for one in range(x.ndim)])


def _rounded(value: np.ndarray, node: Node, low: int, high: int) -> np.ndarray:
    """The nearest integers, ties to even, + y's zero point, cut off."""
    zero = int(node.attributes["y_zero"])
    return np.clip(np.rint(value.astype(np.float64)) + zero, low, high)


def _quantise(node: Node, x: Arrays) -> np.ndarray:
    low, high = RANGES[node.attributes.get("dtype", "uint8")]
    with np.errstate(over="ignore"):
        whole = np.rint(x["x"].astype(np.float32) / _scale(node, x, "y")).astype(np.float64)
    found = np.clip(whole + _zero(node, x, "y"), low, high)
    return np.where(np.isnan(found), low, found)


def _dequantise(node: Node, x: Arrays) -> np.ndarray:
    difference = _integers(x["x"]) - _zero(node, x, "x")
    return (difference.astype(np.float32) * _scale(node, x, "x")).astype(np.float64)


def _by_output(x: np.ndarray, rank: int) -> np.ndarray:
    return x.reshape(-1) if x.size == 1 else x.reshape([-1, *([1] * (rank - 1))])


def _finished(node: Node, sums: np.ndarray, x: Arrays, shape: tuple[int, ...]) -> np.ndarray:
    """sums: exact; shape: what numbers for each output are reshaped to."""
    if "bias" in x:
        bias = _integers(x["bias"])
        sums = sums + (bias.reshape(shape) if bias.size > 1 else bias.reshape(()))
    if np.abs(sums).max(initial=0) >= 2**31:
        raise ArgumentError(f"{node}: a sum leaves 32 bits")
    scale = np.float32(node.attributes["x_scale"]) * x["weight_scale"].astype(np.float32)
    if not is_float(node):
        scale = scale / np.float32(node.attributes["y_scale"])
    found = sums.astype(np.float32) * (scale.reshape(shape) if scale.size > 1 else scale.reshape(()))
    return found.astype(np.float64) if is_float(node) else _rounded(found, node, *bounds(node))


def _convolution(node: Node, x: Arrays) -> np.ndarray:
    differences = _integers(x["x"]) - node.attributes["x_zero"]
    weight = _integers(x["weight"])
    if "weight_zero" in x:
        weight = weight - _by_output(_integers(x["weight_zero"]), weight.ndim)
    sums = reference_windows.convolved(node, differences, weight)
    return _finished(node, sums, x, (1, -1, 1, 1))


def _linear(node: Node, x: Arrays) -> np.ndarray:
    weight = _integers(x["weight"])
    if node.attributes.get("in_out", False):
        weight = weight.T
    if "weight_zero" in x:
        weight = weight - _by_output(_integers(x["weight_zero"]), weight.ndim)
    sums = (_integers(x["x"]) - node.attributes["x_zero"]) @ weight.T
    return _finished(node, sums, x, (-1,))


def _add(node: Node, x: Arrays) -> np.ndarray:
    def number(role: str) -> np.ndarray:
        difference = (_integers(x[role]) - node.attributes[f"{role}_zero"]).astype(np.float32)
        return np.asarray(difference * np.float32(node.attributes[f"{role}_scale"]))

    return _rounded((number("x") + number("z")) / np.float32(node.attributes["y_scale"]), node, *bounds(node))


def _average_pool(node: Node, x: Arrays) -> np.ndarray:
    differences = _integers(x["x"]) - node.attributes["x_zero"]
    scale = np.float32(node.attributes["x_scale"] / node.attributes["y_scale"])
    if "size" in node.attributes:
        size = node.attributes["size"]
        edges = [
            [slice(i * length // count, -(-(i + 1) * length // count)) for i in range(count)]
            for length, count in zip(differences.shape[2:], size, strict=True)
        ]
        blocks = [[differences[:, :, one, other] for other in edges[1]] for one in edges[0]]
        sums = np.array([[block.sum(axis=(2, 3)) for block in row] for row in blocks])
        counted = np.array([[math.prod(block.shape[2:]) for block in row] for row in blocks])
        sums, counted = np.moveaxis(sums, (0, 1), (2, 3)), counted[None, None]
    else:
        kernel = tuple(node.attributes["kernel"])
        sums = reference_windows.windows(differences, node, kernel, 0).sum(axis=(4, 5))
        ones = np.ones_like(differences[:1, :1])
        around = int(bool(node.attributes.get("count_padding", False)))
        counted = reference_windows.windows(ones, node, kernel, around).sum(axis=(4, 5))
    factor = scale / counted.astype(np.float32)
    return _rounded(sums.astype(np.float32) * factor, node, *bounds(node))


def _look_up(node: Node, x: Arrays) -> np.ndarray:
    numbers = _integers(x["x"])
    return np.asarray(x["table"][numbers + (128 if numbers.min(initial=0) < 0 else 0)])


REFERENCE: dict[str, Callable[[Node, Arrays], np.ndarray]] = {
    "quantise": _quantise,
    "dequantise": _dequantise,
    "look_up": _look_up,
    "quantised_convolution": _convolution,
    "quantised_linear": _linear,
    "quantised_add": _add,
    "quantised_average_pool": _average_pool,
}
