"""`integer`: whole numbers of 8 and 16 bits, as fields or under a code of `split`. The row of the registry: see `protocol`."""

from __future__ import annotations

from typing import Any

import numpy as np

from laconic import native
from laconic.dtypes import by_name
from laconic.encoded import Encoded, index_bytes, stream_bytes
from laconic.errors import CorruptError, FormatError
from laconic.formulations import checks
from laconic.formulations.checks import expect_bytes
from laconic.formulations.integer import distances, nibbles, reference
from laconic.formulations.integer.candidates import (
    candidates,
    fast,
    forced,
    kernel_of,
    places_of,
    why_not,
)
from laconic.formulations.integer.layout import (
    COMPONENTS,
    DTYPES,
    MOST_BITS,
    NAME,
    VERSION,
    check_node,
    field_bytes,
)
from laconic.formulations.protocol import Work
from laconic.geometry import CHUNK_WEIGHTS, Geometry

__all__ = [
    "DTYPES",
    "NAME",
    "VERSION",
    "candidates",
    "decode",
    "forced",
    "matrix",
    "slow_under",
    "validate",
    "why_not",
    "work",
]


_CODED = {distances.CHILD: distances, nibbles.CHILD: nibbles}
"""What knows the tensors with a child."""


def slow_under(encoded: Encoded, profile: str) -> bool:
    """Where fields save too little to pay for taking them apart; for one row of x a child is slower on every machine."""
    if encoded.node.children:
        return True
    weights = by_name(encoded.dtype).bits // 8
    for length in encoded.shape:
        weights *= length
    return not fast(encoded.nbytes_stored, weights, profile)


def work(encoded: Encoded, geometry: Geometry) -> Work:
    kernel = kernel_of(geometry, encoded.dtype, next(iter(encoded.node.children), ""))
    return Work(kernel, geometry, encoded.nbytes_stored, places_of(geometry))


def validate(encoded: Encoded, geometry: Geometry) -> None:
    """Structure check: sizes, groups and directory; never fields, places or escapes."""
    checks.expect_dtype(encoded, DTYPES, NAME)
    if child := check_node(encoded.node, encoded.dtype):
        own = {name for name in encoded.components if not name.startswith(f"{child}.")}
        checks.expect_components(own, (), NAME)
        try:
            _CODED[child].validate(encoded, geometry)
        except FormatError as error:
            if error.component not in (None, "info"):
                error.component = f"{child}.{error.component}"
            raise
        return
    checks.expect_components(encoded.components, COMPONENTS, NAME)
    # Counted before anything is allocated by the declared shape: only as many groups as the file has bytes for.
    units = geometry.segments // geometry.segments_per_panel
    expect_bytes(encoded.components, "groups", index_bytes(units * 2))
    groups = encoded.components["groups"][: units * 2].reshape(-1, 2).astype(np.int64)
    wrong = np.flatnonzero((groups[:, 0] > MOST_BITS) | (groups[:, 1] + (1 << np.minimum(groups[:, 0], 8)) > 256))
    if wrong.size:
        raise CorruptError(f"group {wrong[0]} has impossible bits or base", component="groups", byte=int(wrong[0]) * 2)
    expect_bytes(encoded.components, "fields", stream_bytes(int(field_bytes(geometry, groups[:, 0]).sum())))
    count = int(
        checks.directory_of(
            encoded.components,
            geometry.segments,
            lambda: geometry.segment_lengths() * np.uint64(CHUNK_WEIGHTS),
            "escapes",
        )[-1]
    )
    expect_bytes(encoded.components, "places", stream_bytes(count * 2))
    expect_bytes(encoded.components, "escapes", stream_bytes(count))


def decode(encoded: Encoded, geometry: Geometry, threads: int = 1) -> np.ndarray:
    """The tensor in its own shape and dtype. `encoded` must have passed `validate`."""
    return checks.decode(
        matrix(encoded, geometry),
        encoded,
        threads,
        lambda word: _reference(encoded, geometry),
    )


def _reference(encoded: Encoded, geometry: Geometry) -> np.ndarray:
    for child in encoded.node.children:
        return _CODED[child].decode(encoded, geometry)
    return reference.decode(encoded.components, geometry, encoded.dtype)


def matrix(encoded: Encoded, geometry: Geometry) -> Any:
    """A matrix over the components, which it keeps alive; None without the native module."""
    if not native.available():
        return None
    for child in encoded.node.children:
        return _CODED[child].matrix(encoded, geometry)
    return native.module.IntegerMatrix(native.shape_of(geometry), encoded.dtype, native.aligned(encoded.components))
