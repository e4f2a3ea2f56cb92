"""`sparse`: positions of the words that are not zero, and those words. The row of the registry: see `protocol`."""

from __future__ import annotations

import math

import numpy as np

from tersely.codes import checks
from tersely.codes.checks import expect_bytes
from tersely.codes.protocol import Work
from tersely.codes.sparse import reference
from tersely.codes.sparse.candidates import candidates, forced, why_not
from tersely.codes.sparse.layout import (
    BYTES,
    DTYPES,
    MOST_CODED_BLOCKS,
    NAME,
    VERSION,
    Positions,
    check_dtype,
    positions_of,
)
from tersely.codes.sparse.values import CHILD, VALUE_BYTES, coding_of
from tersely.codes.sparse.values import validate as validate_values
from tersely.core.dtypes import by_name
from tersely.core.encoded import Encoded, index_bytes, stream_bytes
from tersely.core.errors import CorruptError
from tersely.core.geometry import CHUNK_WEIGHTS, PANEL_ROWS, Geometry

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


# MEASURED with AVX2: 0.22 ns an entry against 0.13 and 0.07 ns for reading a dense word, two threads (`tersely.planner.cost_model`).
SLOW_SHARE = {32: 0.6, 16: 0.3, 8: 0.12}
"""Entries per weight from which gaps are slower than dense words of so many bits."""
SLOW_INDEX_SHARE = {32: 0.18, 16: 0.04}
"""Values per weight from which coded indices are slower than dense words; by the costs of `tersely.planner.cost_model`."""
COMPONENTS = {
    "bitmap": {"masks", "directory"},
    "deltas": {"gaps", "rows", "directory"},
    "n_of_m": {"codes"},
    "elias_fano": {"upper", "lower", "directory"},
}
"""Of each kind of positions, without those of the values."""


def slow_under(encoded: Encoded, profile: str) -> bool:
    """Gaps with many entries: visiting one costs as much as reading the dense weights around it. Without AVX-512, many
    values whose indices are coded. Whole numbers but gaps with dense values: they are decoded for every product. Others
    never are.
    """
    positions, child = positions_of(encoded.node), encoded.node.children[CHILD]
    if encoded.dtype in BYTES and (positions.kind != "deltas" or child.formulation != "dense"):
        return True
    if child.children and profile not in ("avx512", "amx"):
        return _values_share(encoded, positions) > SLOW_INDEX_SHARE[by_name(encoded.dtype).bits]
    if positions.kind != "deltas":
        return False
    share = encoded.components["gaps"].nbytes / max(1, math.prod(encoded.shape))
    faster = 1.8 if profile in ("avx512", "amx") and encoded.dtype not in BYTES else 1
    return share > SLOW_SHARE[by_name(encoded.dtype).bits] * faster


def _values_share(encoded: Encoded, positions: Positions) -> float:
    """Values per weight, those of fillers among them."""
    if positions.kind == "n_of_m":
        return positions.n / positions.m
    last = int(encoded.components["directory"].view("<u8").max(initial=0))
    return last * (CHUNK_WEIGHTS if positions.kind == "deltas" else 1) / max(1, math.prod(encoded.shape))


def work(encoded: Encoded, geometry: Geometry) -> Work:
    """For the cost model; `encoded` must have passed `validate`."""
    positions, child = positions_of(encoded.node), encoded.node.children[CHILD]
    places, entries = geometry.panels * geometry.chunks_per_panel * CHUNK_WEIGHTS, 0
    kernel, coding = positions.kernel, coding_of(child)
    if positions.kind == "deltas":
        entries = int(encoded.components["directory"].view("<u8")[geometry.panels]) * CHUNK_WEIGHTS
    elif positions.kind == "n_of_m" and coding is not None:
        entries = int((-(-positions.segment_values(geometry) // CHUNK_WEIGHTS)).sum()) * CHUNK_WEIGHTS
    elif positions.kind == "elias_fano" or coding is not None:
        entries = int(encoded.components["directory"].view("<u8")[geometry.segments])
    if coding is not None:
        kernel += f" + {coding.kernel(child)}"
    return Work(kernel, geometry, encoded.nbytes_stored, places, entries)


def validate(encoded: Encoded, geometry: Geometry) -> Positions:
    """Structure check: sizes and the directory; never the masks, codes or values. Returns the positions."""
    positions = positions_of(encoded.node)  # first: a version that is not known says more than a dtype
    checks.expect_dtype(encoded, DTYPES, NAME)
    check_dtype(encoded.node, encoded.dtype)
    child = encoded.node.children[CHILD]
    coding = coding_of(child)
    _expect_components(encoded, COMPONENTS[positions.kind], coding is None)
    width = by_name(encoded.dtype).bits // 8
    if positions.kind == "deltas":
        _validate_lanes(encoded, geometry)
        most = geometry.chunks_per_panel  # no row has more entries than columns
        if coding is not None:
            most = min(most, int(MOST_CODED_BLOCKS))
        starts = checks.directory_of(
            encoded.components, geometry.panels, lambda: np.full(geometry.panels, most, np.uint64), "blocks"
        )
        blocks = int(starts[-1])
        expect_bytes(encoded.components, "gaps", stream_bytes(blocks * CHUNK_WEIGHTS))
        if coding is None:
            expect_bytes(encoded.components, VALUE_BYTES, stream_bytes(blocks * CHUNK_WEIGHTS * width))
        else:
            validate_values(coding, child, encoded.dtype, encoded.components, np.diff(starts).astype(np.int64))
        return positions
    if positions.kind != "n_of_m":
        starts = checks.directory_of(
            encoded.components,
            geometry.segments,
            lambda: geometry.segment_lengths() * np.uint64(CHUNK_WEIGHTS),
            "values",
        )
        counts = np.diff(starts).astype(np.int64)
        if positions.kind == "bitmap":
            expect_bytes(encoded.components, "masks", stream_bytes(geometry.panels * geometry.chunks_per_panel * 8))
        else:
            expect_bytes(
                encoded.components, "upper", stream_bytes(int(positions.upper_starts(geometry, starts)[-1]) * 8)
            )
            expect_bytes(encoded.components, "lower", stream_bytes(-(-int(starts[-1]) * positions.low_bits // 8)))
        if coding is not None and (partial := np.flatnonzero(counts % CHUNK_WEIGHTS)).size:
            where = int(partial[0] + 1) * 8
            raise CorruptError("a segment's values are not whole groups", component="directory", byte=where)
    else:
        expect_bytes(encoded.components, "codes", stream_bytes(geometry.panels * positions.panel_bytes(geometry)))
        counts = positions.segment_values(geometry)
    if coding is None:
        expect_bytes(encoded.components, VALUE_BYTES, stream_bytes(int(counts.sum()) * width))
    else:
        groups = -(-counts // CHUNK_WEIGHTS)
        validate_values(coding, child, encoded.dtype, encoded.components, groups)
    return positions


def _expect_components(encoded: Encoded, own: set[str], plain: bool) -> None:
    """Those of the positions; of the values, where dense, the one; a coding checks its own."""
    found = {name for name in encoded.components if plain or not name.startswith(f"{CHILD}.")}
    checks.expect_components(found, own | {VALUE_BYTES} if plain else own, NAME)


def _validate_lanes(encoded: Encoded, geometry: Geometry) -> None:
    """Every window must hold each of its rows once: then no two lanes write the same row, and every row is found."""
    expect_bytes(encoded.components, "rows", index_bytes(geometry.panels * PANEL_ROWS))
    rows = encoded.components["rows"]
    if not geometry.panels:
        return  # a stack of matrices without rows may have any number of them
    for window in reference.windows(geometry):
        seen = np.bincount(rows[window], minlength=window.stop - window.start)
        if seen.size > window.stop - window.start or (seen != 1).any():
            raise CorruptError("a window does not hold each of its rows once", component="rows", byte=window.start)


def decode(encoded: Encoded, geometry: Geometry, threads: int = 1) -> np.ndarray:
    """The tensor in its own shape and dtype. `encoded` must have passed `validate`."""
    return checks.decode(
        encoded,
        threads,
        lambda word: reference.decode(encoded.components, geometry, encoded.dtype, encoded.node, word),
    )
