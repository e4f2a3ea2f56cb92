"""`split`: exponents under a symbol code, all other bits beside them. The row of the registry: see `protocol`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tersely.codes import checks
from tersely.codes.checks import expect_bytes
from tersely.codes.protocol import Work
from tersely.codes.split import reference
from tersely.codes.split.candidates import candidates, forced, kernel_of, why_not
from tersely.codes.split.candidates import slow_under as code_is_slow_under
from tersely.codes.split.codec import NAME, VERSION, encode, node, statistics
from tersely.codes.split.layout import FIELDS, Parameters
from tersely.core.encoded import Encoded, index_bytes, stream_bytes
from tersely.core.errors import ArgumentError, CorruptError, UnsupportedError
from tersely.core.geometry import CHUNK_WEIGHTS, Geometry

__all__ = [
    "DTYPES",
    "NAME",
    "VERSION",
    "candidates",
    "decode",
    "encode",
    "forced",
    "node",
    "parameters_of",
    "slow_under",
    "statistics",
    "validate",
    "why_not",
    "work",
]

DTYPES = tuple(name for name in FIELDS if name != "index")


def parameters_of(encoded: Encoded) -> Parameters:
    """The node's parameters, checked. Raises UnsupportedError or CorruptError."""
    if encoded.node.version != VERSION:
        raise UnsupportedError(
            f"formulation 'split' version {encoded.node.version}: this tersely reads version {VERSION}; "
            "use a newer release"
        )
    if encoded.node.children:
        raise UnsupportedError("formulation 'split' has no children in version 1; use a newer release")
    if encoded.dtype not in FIELDS:
        raise CorruptError(f"formulation 'split' does not code dtype {encoded.dtype}")
    try:
        parameters = Parameters.from_json(dict(encoded.node.parameters))
        parameters.check(encoded.dtype)
    except ArgumentError as error:
        raise UnsupportedError(f"{error}; the file is damaged or needs a newer tersely") from error
    return parameters


def slow_under(encoded: Encoded, profile: str) -> bool:
    parameters = parameters_of(encoded)
    return code_is_slow_under(encoded.dtype, parameters.code, parameters.widths, profile)


def work(encoded: Encoded, geometry: Geometry) -> Work:
    places = geometry.panels * geometry.chunks_per_panel * CHUNK_WEIGHTS
    return Work(kernel_of(parameters_of(encoded)), geometry, encoded.nbytes_stored, places)


def validate(encoded: Encoded, geometry: Geometry) -> Parameters:
    """Structure check: after it no payload can make a kernel read outside its component.

    Looks at sizes, the directory and the panel bitmap's length, never at planes or bytes. Raises CorruptError or
    UnsupportedError with the component and the byte.
    """
    parameters = parameters_of(encoded)
    validate_streams(encoded.components, encoded.dtype, geometry, parameters)
    return parameters


def validate_streams(components: Mapping[str, np.ndarray], dtype: str, geometry: Any, parameters: Parameters) -> None:
    """The check of `validate` for a geometry, or for a sequence that has panels, chunks and segments as one has."""
    expected = {"tiles", *parameters.streams}
    expected |= {"directory"} if parameters.streams else set()
    expected |= {"short_panels"} if parameters.short_tail is not None else set()
    checks.expect_components(components, expected, NAME)
    short_count = 0
    if parameters.short_tail is not None:
        bitmap = components["short_panels"]
        expect_bytes(components, "short_panels", index_bytes(-(-geometry.panels // 8)))
        bits = np.unpackbits(bitmap, bitorder="little")
        if stray := np.flatnonzero(bits[geometry.panels :]).tolist():
            raise CorruptError(
                "a bit beyond the last panel is set", component="short_panels", byte=(geometry.panels + stray[0]) // 8
            )
        short_count = int(bits.sum())
    chunks = geometry.chunks_per_panel
    used = (geometry.panels - short_count) * chunks * parameters.chunk_bytes(dtype, parameters.tail)
    used += short_count * chunks * parameters.chunk_bytes(dtype, parameters.short_tail or "none")
    expect_bytes(components, "tiles", stream_bytes(used))
    if parameters.streams:
        _validate_directory(components, geometry, parameters)


def _validate_directory(components: Mapping[str, np.ndarray], geometry: Any, parameters: Parameters) -> None:
    columns = len(parameters.streams)
    entries = (geometry.segments + 1) * columns
    expect_bytes(components, "directory", index_bytes(entries * 8))
    starts = components["directory"][: entries * 8].view("<u8").reshape(-1, columns)
    if starts[0].any():
        raise CorruptError("the first entry is not zero", component="directory", byte=0)
    limit = (
        geometry.segment_lengths()
    )  # groups of the level above: a level never has more groups, nor escapes more bytes, than it
    for column, name in enumerate(parameters.streams):
        lengths = starts[1:, column] - starts[:-1, column]  # wraps where entries fall: then over the limit
        bound = limit * np.uint64(64) if name == "escapes" else limit
        wrong = np.flatnonzero(lengths > bound)
        if wrong.size:
            raise CorruptError(
                f"segment {wrong[0]} has an impossible number of entries in {name}",
                component="directory",
                byte=int(((wrong[0] + 1) * columns + column) * 8),
            )
        unit = 1 if name == "escapes" else 8 * parameters.widths[column + 1]
        expect_bytes(components, name, stream_bytes(int(starts[-1, column]) * unit))
        limit = lengths


def decode(encoded: Encoded, geometry: Geometry, threads: int = 1) -> np.ndarray:
    """The tensor in its own shape and dtype. `encoded` must have passed `validate`."""
    parameters = parameters_of(encoded)
    return checks.decode(
        encoded,
        threads,
        lambda word: reference.decode(encoded.components, geometry, encoded.dtype, parameters, word),
    )
