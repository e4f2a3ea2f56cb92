"""`block_sparse`: empty rows, columns and chunks cost a bit, and products skip them. The row of the registry: see `protocol`."""

from __future__ import annotations

import numpy as np

from tersely.codes import checks
from tersely.codes.block_sparse import reference
from tersely.codes.block_sparse.candidates import candidates, forced, why_not
from tersely.codes.block_sparse.layout import NAME, SHAPES, VALUE_BYTES, VALUES, VERSION, component_bytes, mask_words
from tersely.codes.blocks.checks import check_components, check_node, shape_of
from tersely.codes.blocks.layout import DTYPES, places, stored_words
from tersely.codes.protocol import Work
from tersely.core.dtypes import by_name
from tersely.core.encoded import Encoded
from tersely.core.errors import CorruptError
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


def slow_under(encoded: Encoded, profile: str) -> bool:
    return False


def work(encoded: Encoded, geometry: Geometry) -> Work:
    shape = shape_of(encoded.node, SHAPES)
    kept = int(encoded.components["directory"].view("<u8")[geometry.panels])
    coded = geometry.panels * geometry.chunks_per_panel * CHUNK_WEIGHTS
    entries = max(1, stored_words(shape, kept, geometry))
    return Work(f"block_sparse {shape}", geometry, encoded.nbytes_stored, coded, entries)


def validate(encoded: Encoded, geometry: Geometry) -> str:
    """Structure check: parameters, sizes, and that the directory counts the bits of every panel. Returns the shape."""
    checks.expect_dtype(encoded, DTYPES, NAME)
    check_node(encoded.node, NAME, VERSION, {"block"}, VALUES)
    shape, word_bytes = shape_of(encoded.node, SHAPES), by_name(encoded.dtype).bits // 8
    sizes = component_bytes(shape, 0, geometry, word_bytes)
    sizes[VALUE_BYTES] = int(encoded.components[VALUE_BYTES].nbytes) if VALUE_BYTES in encoded.components else 0
    check_components(encoded, sizes, NAME)
    bits = reference.bits_of(encoded.components["masks"], geometry, shape)
    if stray := np.flatnonzero(bits[:, places(shape, geometry) :].any(axis=1)).tolist():
        size = mask_words(shape, geometry) * 8
        raise CorruptError("a bit beyond the last place is set", component="masks", byte=stray[0] * size)
    starts = encoded.components["directory"][: (geometry.panels + 1) * 8].view("<u8")
    counted = np.cumsum([0, *bits.sum(axis=1, dtype=np.uint64)], dtype="<u8")
    if (wrong := np.flatnonzero(starts != counted)).size:
        raise CorruptError(
            f"{starts[wrong[0]]} blocks where the masks before have {counted[wrong[0]]}",
            component="directory",
            byte=int(wrong[0]) * 8,
        )
    check_components(encoded, component_bytes(shape, int(counted[-1]), geometry, word_bytes), NAME)
    return shape


def decode(encoded: Encoded, geometry: Geometry, threads: int = 1) -> np.ndarray:
    """The tensor in its own shape and dtype. `encoded` must have passed `validate`."""
    shape = shape_of(encoded.node, SHAPES)
    return checks.decode(
        encoded,
        threads,
        lambda word: reference.decode(encoded.components, geometry, shape, word),
    )
