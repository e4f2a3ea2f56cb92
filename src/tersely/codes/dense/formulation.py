"""`dense`: the bytes as they are; what every tensor falls back to, and the template of a formulation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tersely.codes.protocol import Candidate, Request, Work
from tersely.core.dtypes import BY_NAME
from tersely.core.encoded import Encoded, Node
from tersely.core.errors import ArgumentError, CorruptError, UnsupportedError
from tersely.core.geometry import Geometry, folded

NAME = "dense"
VERSION = 1
DTYPES = tuple(BY_NAME)
NODE = Node(NAME, VERSION)


def candidates(request: Request) -> list[Candidate]:
    """The bytes as they are: the candidate that every other one has to beat."""
    words = request.words
    return [
        Candidate(
            NODE,
            folded(words.shape),
            words.nbytes,
            lambda threads: {"bytes": words.reshape(-1).view(np.uint8)},
            "dense" if request.int4_columns is None else "dense pairs",
        )
    ]


def forced(request: Request, parameters: dict[str, Any]) -> Candidate:
    if parameters:
        raise ArgumentError(f"formulation 'dense' takes no parameter {next(iter(parameters))!r}")
    return candidates(request)[0]


def why_not(dtype: str, objective: str, profile: str) -> str:
    return ""


def slow_under(encoded: Encoded, profile: str) -> bool:
    return False


def work(encoded: Encoded, geometry: Geometry) -> Work:
    return Work("dense", geometry, encoded.nbytes_stored)


def validate(encoded: Encoded, geometry: Geometry) -> None:
    """Raises CorruptError where the bytes are not those of the shape."""
    if encoded.node.version != VERSION:
        raise UnsupportedError(f"formulation 'dense' version {encoded.node.version}: use a newer tersely")
    if set(encoded.components) != {"bytes"}:
        raise CorruptError("formulation 'dense' has one component, 'bytes'")
    bits = BY_NAME[encoded.dtype].bits * math.prod(encoded.shape)
    actual = encoded.components["bytes"].nbytes
    if actual != -(-bits // 8):
        raise CorruptError(f"{actual} bytes where the shape needs {-(-bits // 8)}", component="bytes")


def decode(encoded: Encoded, geometry: Geometry, threads: int) -> np.ndarray:
    """The tensor as a read-only view of its bytes, in the shape that arrays of its dtype have."""
    dtype = BY_NAME[encoded.dtype]
    return np.asarray(encoded.components["bytes"]).view(dtype.numpy).reshape(dtype.array_shape(encoded.shape))
