"""The tensors of a network, or some of its layers: real ones of a file, or drawn to the statistics of real layers."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import variants
from benchmarks.variants import Tensors

LLAMA = {"hidden": 2048, "layers": 22, "inner": 5632, "vocabulary": 32000, "key": 256}
Shapes = dict[str, tuple[int, ...]]


class MissingError(Exception):
    """A file or package that a network needs is not here; says which."""


def sample(name: str, network: Mapping[str, Any], models: Path | None, limit: int) -> Tensors:
    """A network's tensors; of more than `limit` bytes, layers spread evenly over it.

    Tensors of more than a quarter of the limit are their first rows.

    Raises:
        MissingError: where the file of a real network, or what says the shapes of a drawn one, is not here.
    """
    if "real" in network:
        tensors = _read(_file(models, network["real"]))
        sizes = {key: one.nbytes for key, one in tensors.items()}
        return {key: tensors[key][:rows] if rows else tensors[key] for key, rows in _chosen(sizes, tensors, limit)}
    like = spreads(_file(models, network["like"]))
    shapes = shapes_of(network["drawn"])
    sizes = {key: 4 * math.prod(shape) for key, shape in shapes.items()}
    blank = {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items()}
    return {
        key: drawn(f"{name}/{key}", (rows, *shapes[key][1:]) if rows else shapes[key], like)
        for key, rows in _chosen(sizes, blank, limit)
    }


def nbytes(network: Mapping[str, Any], models: Path | None) -> int:
    """How many bytes all of its tensors have. Raises MissingError."""
    if "real" in network:
        return sum(one.nbytes for one in _read(_file(models, network["real"])).values())
    return sum(4 * math.prod(shape) for shape in shapes_of(network["drawn"]).values())


def _file(models: Path | None, name: str) -> Path:
    path = None if models is None else models / f"{name}.safetensors"
    if path is None or not path.is_file():
        raise MissingError(f"{name}.safetensors is not in the models' folder (--models)")
    return path


def _read(path: Path) -> Tensors:
    """Every tensor of a file. Raises ValueError, naming it, where it is damaged."""
    try:
        return variants.read(path.read_bytes())[1]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path.name} is damaged: {error}") from None


def _chosen(sizes: Mapping[str, int], tensors: Tensors, limit: int) -> list[tuple[str, int]]:
    """Names in their order, and of how many rows each tensor is given, 0 for all."""
    names = list(sizes)
    if sum(sizes.values()) <= limit:
        return [(name, 0) for name in names]
    bits = max(1, (len(names) - 1).bit_length())
    spread = [int(f"{place:0{bits}b}"[::-1], 2) for place in range(1 << bits)]  # any first part of it is spread evenly
    left, found = limit, {}
    for place in (place for place in spread if place < len(names)):
        name, size = names[place], sizes[names[place]]
        rows = 0
        if size > limit // 4 and tensors[name].ndim >= 2:
            rows = max(1, len(tensors[name]) * (limit // 4) // size)
            size = size // len(tensors[name]) * rows
        if size <= left:
            found[name] = rows
            left -= size
    return [(name, found[name]) for name in names if name in found]


@cache
def shapes_of(drawn_as: str) -> Shapes:
    """The shapes of a published network, names as its definition has them; batch norm's counters are left out.

    Raises:
        MissingError: without torch and transformers, whose definitions are used.
    """
    if drawn_as == "llama":
        return _llama()
    try:
        import torch

        from benchmarks.networks import NETWORKS
    except ImportError as missing:
        raise MissingError(f"the shapes of {drawn_as} come from torch and transformers: {missing}") from None
    with torch.device("meta"):
        state = NETWORKS[drawn_as]().state_dict()
    return {key: tuple(one.shape) for key, one in state.items() if one.is_floating_point()}


def _llama() -> Shapes:
    hidden, inner, key = LLAMA["hidden"], LLAMA["inner"], LLAMA["key"]
    found: Shapes = {"embed_tokens.weight": (LLAMA["vocabulary"], hidden)}
    for layer in range(LLAMA["layers"]):
        found |= {
            f"layers.{layer}.{part}.weight": shape
            for part, shape in {
                "q_proj": (hidden, hidden), "k_proj": (key, hidden), "v_proj": (key, hidden), "o_proj": (hidden, hidden),
                "gate_proj": (inner, hidden), "up_proj": (inner, hidden), "down_proj": (hidden, inner),
                "input_layernorm": (hidden,), "post_attention_layernorm": (hidden,),
            }.items()
        }  # fmt: skip
    return found | {"norm.weight": (hidden,), "lm_head.weight": (LLAMA["vocabulary"], hidden)}


@dataclass(frozen=True)
class Spreads:
    """Of a real network's weights: sigma times the root of the inputs, and sigma of the logarithms of rows' and columns' sigmas."""

    scale: float
    rows: float
    columns: float


@cache
def spreads(path: Path) -> Spreads:
    """Medians over a file's weights."""
    found = []
    for array in variants.read(path.read_bytes())[1].values():
        if array.dtype != np.float32 or array.ndim < 2 or array.size < 4096:
            continue
        flat = array.reshape(len(array), -1).astype(np.float64)
        if min(flat.shape) < 8 or not flat.std():
            continue
        sigmas = [np.log(np.maximum(flat.std(axis), 1e-12)) for axis in (1, 0)]
        # A sigma of n numbers is known to about 1 / sqrt(2 n): what is above that is the layer's own.
        own = [
            math.sqrt(max(float(one.var()) - 1 / (2 * flat.shape[axis]), 0.0))
            for one, axis in zip(sigmas, (1, 0), strict=True)
        ]
        found.append((float(flat.std()) * math.sqrt(flat.shape[1]), *own))
    return Spreads(*np.median(np.array(found), axis=0).tolist())


def drawn(name: str, shape: tuple[int, ...], like: Spreads) -> np.ndarray:
    """Normal weights of rows and columns that differ as much as those of real layers; the same for the same name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if len(shape) < 2:
        return (1 + 0.1 * rng.standard_normal(shape)).astype(np.float32)
    columns = math.prod(shape[1:])
    sigma = like.scale / math.sqrt(columns)
    rows = np.exp(like.rows * rng.standard_normal((shape[0], 1))).astype(np.float32)
    across = np.exp(like.columns * rng.standard_normal((1, columns))).astype(np.float32)
    weights = rng.standard_normal((shape[0], columns), np.float32)
    weights *= rows
    weights *= across * np.float32(sigma)
    return weights.reshape(shape)
