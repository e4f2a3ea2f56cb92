"""`dense`: the bytes as they are; what every tensor falls back to, and the template of a formulation."""

from __future__ import annotations

import numpy as np

from laconic.dtypes import BY_NAME
from laconic.encoded import Encoded, Node
from laconic.errors import CorruptError, UnsupportedError

VERSION = 1
NODE = Node("dense", VERSION)


def encode(raw: np.ndarray, shape: tuple[int, ...], dtype: str, profile: str = "portable") -> Encoded:
    """raw: the tensor's bytes (uint8, row-major, little-endian)."""
    return Encoded(shape, dtype, "folded", "out_in", "as_is", NODE, {"bytes": raw}, profile)


def validate(encoded: Encoded) -> None:
    """Raises CorruptError where the bytes are not those of the shape."""
    if encoded.node.version != VERSION:
        raise UnsupportedError(f"formulation 'dense' version {encoded.node.version}: use a newer laconic")
    if set(encoded.components) != {"bytes"}:
        raise CorruptError("formulation 'dense' has one component, 'bytes'")
    bits = BY_NAME[encoded.dtype].bits
    for length in encoded.shape:
        bits *= length
    actual = encoded.components["bytes"].nbytes
    if actual != -(-bits // 8):
        raise CorruptError(f"{actual} bytes where the shape needs {-(-bits // 8)}", component="bytes")


def decode(encoded: Encoded) -> np.ndarray:
    """The tensor as a read-only view of its bytes; raw bytes for dtypes that NumPy does not have."""
    raw = np.asarray(encoded.components["bytes"])
    dtype = BY_NAME[encoded.dtype].numpy
    return raw if dtype is None else raw.view(dtype).reshape(encoded.shape)
