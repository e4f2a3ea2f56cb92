"""What weights are made into before anybody codes them: the states of cases.toml that benchmarks.variants lacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks import variants
from benchmarks.variants import SMALLEST, Tensors


def _each(tensors: Tensors, step: Callable[[np.ndarray], np.ndarray]) -> Tensors:
    return {name: step(one) if is_weight(one) else one for name, one in tensors.items()}


def is_weight(array: np.ndarray) -> bool:
    """Whether a state changes it: float32, of two dimensions or more, not tiny."""
    return array.dtype == np.float32 and array.ndim >= 2 and array.size >= SMALLEST


def two_of_four(tensors: Tensors) -> Tensors:
    """Of four weights of a row that follow each other, the two of least magnitude set to zero."""

    def step(array: np.ndarray) -> np.ndarray:
        whole = array.size // 4 * 4
        groups = array.reshape(-1)[:whole].reshape(-1, 4)
        order = np.argsort(np.abs(groups), axis=1, kind="stable")
        out = array.reshape(-1).copy()
        np.put_along_axis(out[:whole].reshape(-1, 4), order[:, :2], np.float32(0), axis=1)
        return out.reshape(array.shape)

    return _each(tensors, step)


def channels(tensors: Tensors, zeros: float) -> Tensors:
    """The output channels of least norm set to zero, so many of each tensor."""

    def step(array: np.ndarray) -> np.ndarray:
        norms = np.square(array, dtype=np.float64).reshape(len(array), -1).sum(1)
        out = array.copy()
        out[np.argsort(norms, kind="stable")[: int(len(array) * zeros)]] = 0
        return out

    return _each(tensors, step)


def groups(tensors: Tensors, bits: int, columns: int) -> Tensors:
    """Whole numbers of so many bits, as int8, with a float16 scale for every `columns` weights of a row."""
    top, found = (1 << bits - 1) - 1, {}
    for name, array in tensors.items():
        if not is_weight(array):
            found[name] = array
            continue
        rows = array.reshape(len(array), -1)
        padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % columns))).reshape(len(rows), -1, columns)
        scale = (np.abs(padded).max(2, keepdims=True) / top).astype(np.float16)
        exact = np.where(scale > 0, scale, np.float16(1)).astype(np.float32)
        whole = np.clip(np.round(padded / exact), -top - 1, top).astype(np.int8)
        found[name] = np.ascontiguousarray(whole.reshape(len(rows), -1)[:, : rows.shape[1]]).reshape(array.shape)
        found[f"{name}.scale"] = scale[:, :, 0]
    return found


def deep_compression(tensors: Tensors, zeros: float, bits: int) -> Tensors:
    """Pruned by magnitude; what is left replaced by the nearest of 2^bits - 1 centres of its tensor (Han et al., 2016)."""

    def step(array: np.ndarray) -> np.ndarray:
        kept = variants.pruned({"": array}, zeros)[""]
        out = kept.reshape(-1).copy()
        some = np.flatnonzero(out)
        if len(some) > 1 << bits:
            padded = np.resize(out[some], max(len(some), SMALLEST))[None]
            out[some] = variants.k_means({"": padded}, bits)[""][0, : len(some)]
        return out.reshape(array.shape)

    return _each(tensors, step)


STEPS: Mapping[str, Callable[..., Tensors]] = {
    **variants.STEPS,
    "two_of_four": two_of_four,
    "channels": channels,
    "groups": groups,
    "deep_compression": deep_compression,
}


def made(tensors: Tensors, state: Mapping[str, Any]) -> Tensors:
    """The tensors after the step of a state; themselves for none."""
    settings = {key: value for key, value in state.items() if key != "kind"}
    return tensors if state["kind"] == "none" else STEPS[state["kind"]](tensors, **settings)
