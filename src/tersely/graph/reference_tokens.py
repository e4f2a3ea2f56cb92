"""Operators on tokens, and those that say where numbers lie, in NumPy and float64: part of `reference`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tersely.graph.graph import Node
from tersely.graph.operators import slice_range, swapped

Arrays = dict[str, np.ndarray]

ARITHMETIC: dict[str, Any] = {
    "divide": np.divide,
    "power": np.power,
    "greater_equal": np.greater_equal,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "both": np.logical_and,
    "minimum": np.minimum,
    "maximum": np.maximum,
    "masked": lambda x, z: np.where(z != 0, x, 0.0),
}


def _layer_norm(node: Node, x: Arrays) -> np.ndarray:
    inside = x["x"] - x["x"].mean(-1, keepdims=True)
    found = inside / np.sqrt((inside**2).mean(-1, keepdims=True) + node.attributes["eps"])
    return np.asarray(found * x.get("weight", 1.0) + x.get("bias", 0.0))


def _exponents(scores: np.ndarray, axis: int) -> np.ndarray:
    greatest = scores.max(axis, keepdims=True)
    return np.exp(scores - np.where(np.isneginf(greatest), 0.0, greatest))


def _softmax(node: Node, x: Arrays) -> np.ndarray:
    found = _exponents(x["x"], node.attributes["axis"])
    return np.asarray(found / found.sum(node.attributes["axis"], keepdims=True))


def _attention(node: Node, x: Arrays) -> np.ndarray:
    """Of nobody to attend to comes zero."""
    scores = x["x"] @ np.swapaxes(x["k"], -1, -2) * node.attributes.get("scale", x["x"].shape[-1] ** -0.5)
    if "mask" in x:
        scores = np.where(x["mask"] != 0, scores, -np.inf) if node.attributes["boolean"] else scores + x["mask"]
    if node.attributes.get("causal", False):
        scores = np.where(np.tri(*scores.shape[-2:]) > 0, scores, -np.inf)
    found = _exponents(scores, -1)
    sums = found.sum(-1, keepdims=True)
    return np.asarray(found / np.where(sums == 0, 1.0, sums) @ x["v"])


def _embedding(node: Node, x: Arrays) -> np.ndarray:
    return np.asarray(x["weight"][x["x"].astype(np.int64)])


def _reshape(node: Node, x: Arrays) -> np.ndarray:
    shape = [x["x"].shape[axis] if length == 0 else length for axis, length in enumerate(node.attributes["shape"])]
    return x["x"].reshape(shape)


def _squeeze(node: Node, x: Arrays) -> np.ndarray:
    axes = {axis % x["x"].ndim for axis in node.attributes["axes"]}
    return x["x"].squeeze(tuple(axis for axis in axes if x["x"].shape[axis] == 1))


def _expand(node: Node, x: Arrays) -> np.ndarray:
    shape = node.attributes["shape"]
    own = (1,) * (len(shape) - x["x"].ndim) + x["x"].shape
    return np.broadcast_to(x["x"], [a if b == -1 else b for a, b in zip(own, shape, strict=True)])


def _slice(node: Node, x: Arrays) -> np.ndarray:
    return np.asarray(np.take(x["x"], list(slice_range(node, x["x"].shape)), node.attributes["axis"]))


def _leading(node: Node, x: Arrays) -> np.ndarray:
    count = x["like"].shape[node.attributes["like_axis"]]
    return np.asarray(np.take(x["x"], range(count), node.attributes["axis"]))


def _concatenate(node: Node, x: Arrays) -> np.ndarray:
    parts = [x[f"x{i}"] for i in range(len(x))]
    axis = node.attributes["axis"] % parts[0].ndim
    rest = np.broadcast_shapes(*((*one.shape[:axis], 1, *one.shape[axis + 1 :]) for one in parts))
    return np.concatenate(
        [np.broadcast_to(one, (*rest[:axis], one.shape[axis], *rest[axis + 1 :])) for one in parts], axis
    )


def _pad(node: Node, x: Arrays) -> np.ndarray:
    pairs = list(zip(node.attributes["before"], node.attributes["behind"], strict=True))
    wide = np.pad(x["x"], [(max(a, 0), max(b, 0)) for a, b in pairs], constant_values=node.attributes["value"])
    return wide[tuple(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(wide.shape, pairs, strict=True))]


def _reduce(sums: Callable[..., Any]) -> Callable[[Node, Arrays], np.ndarray]:
    return lambda node, x: np.asarray(
        sums(x["x"], axis=tuple(node.attributes["axes"]), keepdims=node.attributes["keep"])
    )


def _arithmetic(node: Node, x: Arrays) -> np.ndarray:
    return np.asarray(ARITHMETIC[node.operator](x["x"], x["z"]), np.float64)


REFERENCE: dict[str, Callable[[Node, Arrays], np.ndarray]] = {
    "layer_norm": _layer_norm,
    "softmax": _softmax,
    "attention": _attention,
    "embedding": _embedding,
    "matrix_product": lambda node, x: np.asarray(x["x"] @ x["z"]),
    "reshape": _reshape,
    "squeeze": _squeeze,
    "unsqueeze": lambda node, x: np.expand_dims(x["x"], node.attributes["axis"]),
    "permute": lambda node, x: x["x"].transpose(node.attributes["order"]),
    "transpose": lambda node, x: x["x"].transpose(swapped(node, x["x"].ndim)),
    "expand": _expand,
    "slice": _slice,
    "leading": _leading,
    "select": lambda node, x: np.asarray(np.take(x["x"], node.attributes["index"], node.attributes["axis"])),
    "concatenate": _concatenate,
    "pad": _pad,
    "mean": _reduce(np.mean),
    "sum": _reduce(np.sum),
    "max": _reduce(np.max),
    "cumulative_sum": lambda node, x: np.cumsum(x["x"], node.attributes["axis"]),
    **dict.fromkeys(ARITHMETIC, _arithmetic),
}
