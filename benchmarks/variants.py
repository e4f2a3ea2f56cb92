"""Tensors of a safetensors file, what they are made into before they are stored, and the file of the result.

A lossy step (casting, pruning, k-means, rounding to int8) is done once, here: every coder gets the same bytes. Tensors of
one dimension, and small ones, stay as they are where weights are pruned or quantised, as in practice.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

DTYPES: dict[str, Any] = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "I64": np.int64,
    "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
SMALLEST = 512
"""Weights that a tensor must have to be pruned or quantised."""
LLOYD_STEPS = 6
Tensors = dict[str, np.ndarray]


def read(data: bytes) -> tuple[bytes, Tensors]:
    """The header of a file, with its length before it, and its tensors in the order of their bytes."""
    end = 8 + struct.unpack("<Q", data[:8])[0]
    entries = {name: entry for name, entry in json.loads(data[8:end]).items() if name != "__metadata__"}
    tensors = {}
    for name, entry in sorted(entries.items(), key=lambda one: one[1]["data_offsets"]):
        first, last = (end + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(data[first:last], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return data[:end], tensors


def write(tensors: Tensors) -> bytes:
    """A file of tensors, in their order; the header is padded with spaces to a multiple of 8 bytes."""
    entries, offset = {}, 0
    for name, array in tensors.items():
        places = [offset, offset + array.nbytes]
        entries[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": places}
        offset += array.nbytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *(array.tobytes() for array in tensors.values())])


def made(path: Path, variant: Mapping[str, Any]) -> bytes:
    """The bytes of a file after the lossy step of a variant; those of the file itself for none."""
    data = path.read_bytes()
    kind, settings = variant["kind"], {key: value for key, value in variant.items() if key != "kind"}
    return data if kind == "none" else write(STEPS[kind](read(data)[1], **settings))


def _weights(array: np.ndarray) -> bool:
    return array.dtype == np.float32 and array.ndim >= 2 and array.size >= SMALLEST


def cast(tensors: Tensors, dtype: str) -> Tensors:
    """Every float32 tensor cast."""
    to = np.dtype(getattr(ml_dtypes, dtype, dtype))
    return {name: array.astype(to) if array.dtype == np.float32 else array for name, array in tensors.items()}


def pruned(tensors: Tensors, zeros: float) -> Tensors:
    """The weights of least magnitude set to zero, so many of each tensor."""
    return {name: _without_least(array, zeros) if _weights(array) else array for name, array in tensors.items()}


def _without_least(array: np.ndarray, zeros: float) -> np.ndarray:
    magnitude = np.abs(array)
    return np.where(magnitude <= np.quantile(magnitude, zeros), np.float32(0), array)


def k_means(tensors: Tensors, bits: int) -> Tensors:
    """Each weight replaced by the nearest of 2^bits centres of its tensor, by Lloyd's algorithm from quantiles."""
    return {name: _nearest_centres(array, 1 << bits) if _weights(array) else array for name, array in tensors.items()}


def _nearest_centres(array: np.ndarray, count: int) -> np.ndarray:
    flat = array.reshape(-1)
    centres = np.unique(np.quantile(flat, (np.arange(count) + 0.5) / count).astype(np.float32))
    for _ in range(LLOYD_STEPS):
        nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2, flat)
        sums = np.bincount(nearest, flat, len(centres))
        counts = np.bincount(nearest, minlength=len(centres))
        centres = np.where(counts > 0, sums / np.maximum(counts, 1), centres).astype(np.float32)
    found = centres[np.searchsorted((centres[1:] + centres[:-1]) / 2, flat)]
    return found.reshape(array.shape)


def int8(tensors: Tensors, zeros: float = 0.0) -> Tensors:
    """Weights as integers with a scale for each output channel, the first dimension; pruned first where zeros > 0."""
    found: Tensors = {}
    for name, array in tensors.items():
        if not _weights(array):
            found[name] = array
            continue
        kept = _without_least(array, zeros) if zeros else array
        largest = np.abs(kept).max(axis=tuple(range(1, kept.ndim)), keepdims=True)
        scale = np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)
        found[name] = np.round(kept / scale).astype(np.int8)
        found[f"{name}.scale"] = scale
    return found


STEPS: dict[str, Any] = {"cast": cast, "pruned": pruned, "k_means": k_means, "int8": int8}


def order_0_bytes(tensors: Tensors) -> float:
    """What a coder of order 0, with statistics of its own for each tensor, cannot get below.

    Of a tensor, the least of: its values as symbols, with the table of the values that occur; the exponents of floats as
    symbols, zero as one of them, and all other bits of the values that are not zero as they are.
    """
    return sum(min(_order_0_of_words(array), _order_0_of_exponents(array)) for array in tensors.values())


def _entropy_bytes(counts: np.ndarray) -> float:
    total = int(counts.sum())
    return float(-(counts * np.log2(counts / total)).sum() / 8) if total else 0.0


def _words(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(f"u{array.dtype.itemsize}")


def _order_0_of_words(array: np.ndarray) -> float:
    counts = np.unique(_words(array), return_counts=True)[1]
    return _entropy_bytes(counts) + len(counts) * array.dtype.itemsize


def _order_0_of_exponents(array: np.ndarray) -> float:
    try:
        fraction = ml_dtypes.finfo(array.dtype).nmant
    except ValueError:
        return float(array.nbytes)
    words, bits = _words(array), 8 * array.dtype.itemsize
    exponents = (words >> fraction) & ((1 << (bits - 1 - fraction)) - 1)
    symbols = np.where(words == 0, -1, exponents.astype(np.int64))
    counts = np.unique(symbols, return_counts=True)[1]
    return _entropy_bytes(counts) + int((words != 0).sum()) * (fraction + 1) / 8
