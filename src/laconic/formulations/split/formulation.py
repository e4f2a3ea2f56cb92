"""`split`: arguments in, native calls out; the NumPy reference where the native module is missing.

Needs: arrays of unsigned words (`laconic.dtypes`), never floats.
"""

from __future__ import annotations

import numpy as np

from laconic import native
from laconic.dtypes import by_name
from laconic.encoded import Encoded, Node, index_bytes, stream_bytes
from laconic.errors import ArgumentError, CorruptError, UnsupportedError
from laconic.formulations.split import reference
from laconic.formulations.split.layout import FIELDS, Parameters
from laconic.formulations.split.sizes import SizeModel, Statistics
from laconic.geometry import Geometry

VERSION = 1


def statistics(words: np.ndarray, geometry: Geometry, dtype: str, threads: int = 1) -> Statistics:
    """One pass: symbol counts per segment, tail kind per panel, constant byte. words: C-contiguous."""
    if native.module is not None:
        histograms, kinds = np.empty((geometry.segments, 256), np.uint32), np.zeros(geometry.panels, np.uint8)
        shape = native.shape_of(geometry)
        return Statistics(*native.module.split_statistics(words, shape, dtype, histograms, kinds, threads))
    chunks, real = reference.to_chunks(words, geometry)
    symbols, _, octets, tails = reference.cut_words(chunks, dtype)
    histograms = np.zeros((geometry.segments, 256), np.uint32)
    for segment, (first, last) in enumerate(geometry.segment_chunks()):
        histograms[segment] = np.bincount(symbols[first:last][real[first:last]], minlength=256)
    values = np.unique(octets[real])
    byte = int(values[0]) if values.size == 1 and FIELDS[dtype].has_byte else None
    return Statistics(histograms, reference.tail_kinds(tails, geometry), byte)


def encode(words: np.ndarray, model: SizeModel, parameters: Parameters, threads: int = 1) -> dict[str, np.ndarray]:
    """Components of C-contiguous words, whose statistics and exact sizes `model` holds."""
    parameters.check(model.dtype)
    if native.module is None:
        return reference.encode(words, model.geometry, model.dtype, parameters)
    components = {name: np.zeros(size, np.uint8) for name, size in model.component_bytes(parameters).items()}
    if parameters.short_tail is not None:
        bits = np.packbits(model.short_panels, bitorder="little")
        components["short_panels"][: bits.size] = bits
    if parameters.streams:
        starts = model.directory(parameters).reshape(-1)
        components["directory"].view("<u8")[: starts.size] = starts
    native.module.split_encode(
        words, native.shape_of(model.geometry), native.split_of(model.dtype, parameters), components, threads
    )
    return components


def parameters_of(encoded: Encoded) -> Parameters:
    """The node's parameters, checked. Raises UnsupportedError or CorruptError."""
    if encoded.node.version != VERSION:
        raise UnsupportedError(
            f"formulation 'split' version {encoded.node.version}: this laconic reads version {VERSION}; "
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
        raise UnsupportedError(f"{error}; the file is damaged or needs a newer laconic") from error
    return parameters


def validate(encoded: Encoded, geometry: Geometry) -> Parameters:
    """Structure check: after it no payload can make a kernel read outside its component.

    Looks at sizes, the directory and the panel bitmap's length, never at planes or bytes. Raises CorruptError or
    UnsupportedError with the component and the byte.
    """
    parameters = parameters_of(encoded)
    expected = {"tiles", *parameters.streams}
    expected |= {"directory"} if parameters.streams else set()
    expected |= {"short_panels"} if parameters.short_tail is not None else set()
    if missing := sorted(expected - set(encoded.components)):
        raise CorruptError("the component is missing; get the file again", component=missing[0])
    if extra := sorted(set(encoded.components) - expected):
        raise CorruptError("a component that formulation 'split' does not have", component=extra[0])
    short_count = 0
    if parameters.short_tail is not None:
        bitmap = encoded.components["short_panels"]
        _expect_bytes(encoded, "short_panels", index_bytes(-(-geometry.panels // 8)))
        bits = np.unpackbits(bitmap, bitorder="little")
        if stray := np.flatnonzero(bits[geometry.panels :]).tolist():
            raise CorruptError(
                "a bit beyond the last panel is set", component="short_panels", byte=(geometry.panels + stray[0]) // 8
            )
        short_count = int(bits.sum())
    chunks = geometry.chunks_per_panel
    used = (geometry.panels - short_count) * chunks * parameters.chunk_bytes(encoded.dtype, parameters.tail)
    used += short_count * chunks * parameters.chunk_bytes(encoded.dtype, parameters.short_tail or "none")
    _expect_bytes(encoded, "tiles", stream_bytes(used))
    if parameters.streams:
        _validate_directory(encoded, geometry, parameters)
    return parameters


def _validate_directory(encoded: Encoded, geometry: Geometry, parameters: Parameters) -> None:
    columns = len(parameters.streams)
    entries = (geometry.segments + 1) * columns
    _expect_bytes(encoded, "directory", index_bytes(entries * 8))
    starts = encoded.components["directory"][: entries * 8].view("<u8").reshape(-1, columns)
    if starts[0].any():
        raise CorruptError("the first entry is not zero", component="directory", byte=0)
    chunks = np.array([last - first for first, last in geometry.segment_chunks()], dtype=np.uint64)
    limit = chunks  # groups of the level above: a level never has more groups, nor escapes more bytes, than it
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
        _expect_bytes(encoded, name, stream_bytes(int(starts[-1, column]) * unit))
        limit = lengths


def _expect_bytes(encoded: Encoded, component: str, expected: int) -> None:
    actual = int(encoded.components[component].nbytes)
    if actual != expected:
        raise CorruptError(
            f"{actual} bytes where shape and parameters need {expected}",
            component=component,
            byte=min(actual, expected),
        )


def decode(encoded: Encoded, geometry: Geometry, parameters: Parameters, threads: int = 1) -> np.ndarray:
    """The tensor's words in its own shape. `encoded` must have passed `validate`."""
    word = by_name(encoded.dtype).word
    if native.module is None:
        return reference.decode(encoded.components, geometry, encoded.dtype, parameters, word)
    out = np.empty(encoded.shape, dtype=word)
    native.split_matrix(encoded, geometry, parameters).decode(out, threads)
    return out


def node(parameters: Parameters) -> Node:
    return Node("split", VERSION, parameters.to_json())
