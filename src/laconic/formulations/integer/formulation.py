"""`integer`: 8-bit weights as fields above a base, with a list of exceptions. The row of the registry: see `protocol`."""

from __future__ import annotations

from typing import Any

import numpy as np

from laconic import native
from laconic.dtypes import by_name
from laconic.encoded import Encoded, index_bytes, stream_bytes
from laconic.errors import CorruptError
from laconic.formulations.integer import reference
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


def slow_under(encoded: Encoded, profile: str) -> bool:
    """Where fields save too little to pay for taking them apart."""
    weights = by_name(encoded.dtype).bits // 8
    for length in encoded.shape:
        weights *= length
    return not fast(encoded.nbytes_stored, weights, profile)


def work(encoded: Encoded, geometry: Geometry) -> Work:
    return Work(kernel_of(geometry), geometry, encoded.nbytes_stored, places_of(geometry))


def validate(encoded: Encoded, geometry: Geometry) -> None:
    """Structure check: sizes, groups and directory; never fields, places or escapes."""
    check_node(encoded.node)
    if encoded.dtype not in DTYPES:
        raise CorruptError(f"formulation 'integer' does not code dtype {encoded.dtype}")
    if missing := sorted(set(COMPONENTS) - set(encoded.components)):
        raise CorruptError("the component is missing; get the file again", component=missing[0])
    if extra := sorted(set(encoded.components) - set(COMPONENTS)):
        raise CorruptError("a component that formulation 'integer' does not have", component=extra[0])
    # Counted before anything is allocated by the declared shape: only as many groups as the file has bytes for.
    units = geometry.segments // geometry.segments_per_panel
    _expect_bytes(encoded, "groups", index_bytes(units * 2))
    groups = encoded.components["groups"][: units * 2].reshape(-1, 2).astype(np.int64)
    wrong = np.flatnonzero((groups[:, 0] > MOST_BITS) | (groups[:, 1] + (1 << np.minimum(groups[:, 0], 8)) > 256))
    if wrong.size:
        raise CorruptError(f"group {wrong[0]} has impossible bits or base", component="groups", byte=int(wrong[0]) * 2)
    _expect_bytes(encoded, "fields", stream_bytes(int(field_bytes(geometry, groups[:, 0]).sum())))
    count = _validate_directory(encoded, geometry)
    _expect_bytes(encoded, "places", stream_bytes(count * 2))
    _expect_bytes(encoded, "escapes", stream_bytes(count))


def _validate_directory(encoded: Encoded, geometry: Geometry) -> int:
    """Entries start at zero and grow by at most the weights of a segment; returns the last one."""
    _expect_bytes(encoded, "directory", index_bytes((geometry.segments + 1) * 8))
    starts = encoded.components["directory"][: (geometry.segments + 1) * 8].view("<u8")
    if starts[0]:
        raise CorruptError("the first entry is not zero", component="directory", byte=0)
    limits = np.array([last - first for first, last in geometry.segment_chunks()], np.uint64) * np.uint64(CHUNK_WEIGHTS)
    wrong = np.flatnonzero(starts[1:] - starts[:-1] > limits)  # wraps where entries fall: then over the limit
    if wrong.size:
        raise CorruptError(
            f"segment {wrong[0]} has an impossible number of escapes",
            component="directory",
            byte=int(wrong[0] + 1) * 8,
        )
    return int(starts[-1])


def _expect_bytes(encoded: Encoded, component: str, expected: int) -> None:
    actual = int(encoded.components[component].nbytes)
    if actual != expected:
        raise CorruptError(
            f"{actual} bytes where shape, groups and directory need {expected}",
            component=component,
            byte=min(actual, expected),
        )


def decode(encoded: Encoded, geometry: Geometry, threads: int = 1) -> np.ndarray:
    """The tensor in its own shape and dtype. `encoded` must have passed `validate`."""
    dtype = by_name(encoded.dtype)
    assert dtype.numpy is not None
    coded = matrix(encoded, geometry)
    if coded is None:
        return reference.decode(encoded.components, geometry, encoded.dtype).view(dtype.numpy or dtype.word)
    out = np.empty(encoded.shape, dtype=dtype.word)
    coded.decode(out, threads)
    return out.view(dtype.numpy or dtype.word)


def matrix(encoded: Encoded, geometry: Geometry) -> Any:
    """A native matrix over the components, which it keeps alive; None without the native module."""
    if native.module is None:
        return None
    return native.module.IntegerMatrix(native.shape_of(geometry), encoded.dtype, native.aligned(encoded.components))
