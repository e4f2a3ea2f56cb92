"""`blocks`: a dictionary of distinct blocks and an index for every place. The row of the registry: see `protocol`."""

from __future__ import annotations

import numpy as np

from tersely.codes import checks
from tersely.codes.blocks import codec, reference
from tersely.codes.blocks.candidates import candidates, forced, kernel, visited_words, why_not
from tersely.codes.blocks.checks import check_components, check_node, shape_of
from tersely.codes.blocks.layout import DTYPES, MOST_BLOCKS, NAME, SHAPES, TABLE, VERSION
from tersely.codes.protocol import Work
from tersely.core.dtypes import by_name
from tersely.core.encoded import Encoded
from tersely.core.errors import CorruptError, UnsupportedError
from tersely.core.geometry import CHUNK_WEIGHTS, Geometry

__all__ = [
    "DTYPES",
    "NAME",
    "VERSION",
    "candidates",
    "decode",
    "forced",
    "slow_under",
    "validate",
    "why_not",
    "work",
]


def parameters_of(encoded: Encoded) -> tuple[str, int]:
    """Shape and number of the blocks, checked. Raises UnsupportedError."""
    check_node(encoded.node, NAME, VERSION, {"block", "count"}, TABLE)
    count = encoded.node.parameters["count"]
    if type(count) is not int or not 0 <= count <= MOST_BLOCKS:
        raise UnsupportedError(f"blocks has 0 to {MOST_BLOCKS} blocks; the file is damaged or needs a newer tersely")
    return shape_of(encoded.node, SHAPES), count


def slow_under(encoded: Encoded, profile: str) -> bool:
    return False


def work(encoded: Encoded, geometry: Geometry) -> Work:
    shape, count = parameters_of(encoded)
    places = geometry.panels * geometry.chunks_per_panel * CHUNK_WEIGHTS
    visited = visited_words(shape, count, geometry)
    name = kernel(shape, count, geometry, by_name(encoded.dtype).bits // 8)
    return Work(name, geometry, encoded.nbytes_stored, places, visited)


def validate(encoded: Encoded, geometry: Geometry) -> tuple[str, int]:
    """Structure check: parameters and sizes; indices are payload and clamped."""
    checks.expect_dtype(encoded, DTYPES, NAME)
    shape, count = parameters_of(encoded)
    if count == 0 and geometry.elements:
        raise CorruptError("a tensor with weights has no block", component="info")
    check_components(encoded, codec.component_bytes(shape, count, geometry, by_name(encoded.dtype).bits // 8), NAME)
    return shape, count


def decode(encoded: Encoded, geometry: Geometry, threads: int = 1) -> np.ndarray:
    """The tensor in its own shape and dtype. `encoded` must have passed `validate`."""
    shape, count = parameters_of(encoded)
    return checks.decode(
        encoded,
        threads,
        lambda word: reference.decode(encoded.components, geometry, shape, count, word),
    )
