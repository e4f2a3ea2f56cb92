"""Weights of 8 bits as fields: what reads and checks them, for a tensor of its own and for values in `nibbles`."""

from __future__ import annotations

import numpy as np

from tersely.codes import checks
from tersely.codes.checks import expect_bytes
from tersely.codes.integer import reference
from tersely.codes.integer.layout import COMPONENTS, MOST_BITS, NAME, field_bytes
from tersely.core.encoded import Encoded, index_bytes, stream_bytes
from tersely.core.errors import CorruptError
from tersely.core.geometry import CHUNK_WEIGHTS, Geometry


def validate(encoded: Encoded, geometry: Geometry, most_bits: int = MOST_BITS) -> None:
    """Structure check: sizes, groups and directory; never fields, places or escapes. most_bits: of a level."""
    checks.expect_components(encoded.components, COMPONENTS, NAME)
    # Counted before anything is allocated by the declared shape: only as many groups as the file has bytes for.
    units = geometry.segments // geometry.segments_per_panel
    expect_bytes(encoded.components, "groups", index_bytes(units * 2))
    groups = encoded.components["groups"][: units * 2].reshape(-1, 2).astype(np.int64)
    levels = groups[:, 1] + (1 << np.minimum(groups[:, 0], MOST_BITS))
    wrong = np.flatnonzero((groups[:, 0] > most_bits) | (levels > 1 << most_bits))
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


def decode(encoded: Encoded, geometry: Geometry) -> np.ndarray:
    """The NumPy reference: the tensor's words, from valid components."""
    return reference.decode(encoded.components, geometry, encoded.dtype)
