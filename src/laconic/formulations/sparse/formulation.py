"""`sparse`: positions of the words that are not zero, and those words. The row of the registry: see `protocol`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from laconic import native
from laconic.dtypes import by_name
from laconic.encoded import Encoded, index_bytes, stream_bytes
from laconic.errors import CorruptError
from laconic.formulations.protocol import Work
from laconic.formulations.sparse import reference
from laconic.formulations.sparse.candidates import candidates, forced, why_not
from laconic.formulations.sparse.layout import DTYPES, NAME, VALUE_BYTES, VERSION, positions_of
from laconic.geometry import CHUNK_WEIGHTS, PANEL_ROWS, Geometry

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


# MEASURED with AVX2: 0.22 ns an entry against 0.13 and 0.07 ns for reading a dense word, two threads (`laconic.costs`).
SLOW_SHARE = {32: 0.6, 16: 0.3}
"""Entries per weight from which gaps are slower than dense words of so many bits."""
DELTA_COMPONENTS = {"gaps", "rows", "directory", VALUE_BYTES}


def slow_under(encoded: Encoded, profile: str) -> bool:
    """Gaps with many entries: visiting one costs as much as reading the dense weights around it. Bitmaps never are."""
    if positions_of(encoded.node) == "bitmap":
        return False
    share = encoded.components["gaps"].nbytes / max(1, math.prod(encoded.shape))
    return share > SLOW_SHARE[by_name(encoded.dtype).bits] * (1 if profile not in ("avx512", "amx") else 1.8)


def work(encoded: Encoded, geometry: Geometry) -> Work:
    positions = positions_of(encoded.node)
    blocks = 0
    if positions == "deltas":
        blocks = int(encoded.components["directory"].view("<u8")[geometry.panels])
    places = geometry.panels * geometry.chunks_per_panel * CHUNK_WEIGHTS
    return Work(f"sparse {positions}", geometry, encoded.nbytes_stored, places, blocks * CHUNK_WEIGHTS)


def validate(encoded: Encoded, geometry: Geometry) -> str:
    """Structure check: sizes and the directory; never the masks or values. Returns the positions."""
    if encoded.dtype not in DTYPES:
        raise CorruptError(f"formulation 'sparse' does not code dtype {encoded.dtype}")
    positions = positions_of(encoded.node)
    expected = {"masks", "directory", VALUE_BYTES} if positions == "bitmap" else DELTA_COMPONENTS
    if missing := sorted(expected - set(encoded.components)):
        raise CorruptError("the component is missing; get the file again", component=missing[0])
    if extra := sorted(set(encoded.components) - expected):
        raise CorruptError("a component that formulation 'sparse' does not have", component=extra[0])
    width = by_name(encoded.dtype).bits // 8
    if positions == "deltas":
        _validate_lanes(encoded, geometry)
        limits = np.full(geometry.panels, geometry.chunks_per_panel, np.uint64)  # no row has more entries than columns
        blocks = _validate_directory(encoded, limits, "blocks")
        _expect_bytes(encoded, "gaps", stream_bytes(blocks * CHUNK_WEIGHTS))
        _expect_bytes(encoded, VALUE_BYTES, stream_bytes(blocks * CHUNK_WEIGHTS * width))
        return positions
    _expect_bytes(encoded, "masks", stream_bytes(geometry.panels * geometry.chunks_per_panel * 8))
    values = _validate_directory(encoded, geometry.segment_lengths() * np.uint64(CHUNK_WEIGHTS), "values")
    _expect_bytes(encoded, VALUE_BYTES, stream_bytes(values * width))
    return positions


def _validate_lanes(encoded: Encoded, geometry: Geometry) -> None:
    """Every window must hold each of its rows once: then no two lanes write the same row, and every row is found."""
    _expect_bytes(encoded, "rows", index_bytes(geometry.panels * PANEL_ROWS))
    rows = encoded.components["rows"]
    for window in reference.windows(geometry):
        seen = np.bincount(rows[window], minlength=window.stop - window.start)
        if seen.size > window.stop - window.start or (seen != 1).any():
            raise CorruptError("a window does not hold each of its rows once", component="rows", byte=window.start)


def _validate_directory(encoded: Encoded, limits: np.ndarray, what: str) -> int:
    """Entries start at zero and grow by at most `limits`; returns the last one."""
    _expect_bytes(encoded, "directory", index_bytes((limits.size + 1) * 8))
    starts = encoded.components["directory"][: (limits.size + 1) * 8].view("<u8")
    if starts[0]:
        raise CorruptError("the first entry is not zero", component="directory", byte=0)
    wrong = np.flatnonzero(starts[1:] - starts[:-1] > limits)  # wraps where entries fall: then over the limit
    if wrong.size:
        raise CorruptError(
            f"part {wrong[0]} has an impossible number of {what}",
            component="directory",
            byte=int(wrong[0] + 1) * 8,
        )
    return int(starts[-1])


def _expect_bytes(encoded: Encoded, component: str, expected: int) -> None:
    actual = int(encoded.components[component].nbytes)
    if actual != expected:
        raise CorruptError(
            f"{actual} bytes where shape and directory need {expected}",
            component=component,
            byte=min(actual, expected),
        )


def decode(encoded: Encoded, geometry: Geometry, threads: int = 1) -> np.ndarray:
    """The tensor in its own shape and dtype. `encoded` must have passed `validate`."""
    dtype = by_name(encoded.dtype)
    assert dtype.numpy is not None
    coded = matrix(encoded, geometry)
    if coded is None:
        positions = positions_of(encoded.node)
        words = reference.decode(encoded.components, geometry, encoded.dtype, positions, dtype.word)
        return words.view(dtype.numpy)
    out = np.empty(encoded.shape, dtype=dtype.word)
    coded.decode(out, threads)
    return out.view(dtype.numpy)


def matrix(encoded: Encoded, geometry: Geometry) -> Any:
    """A native matrix over the components, which it keeps alive; None without the native module."""
    if not native.available():
        return None
    components = native.aligned(encoded.components)
    kind = native.module.BitmapMatrix if positions_of(encoded.node) == "bitmap" else native.module.DeltaMatrix
    return kind(native.shape_of(geometry), encoded.dtype, components)
