"""`split`: words in, native calls out; the NumPy reference where the native module is missing.

Needs: arrays of unsigned words (`tersely.core.dtypes`), never floats.
"""

from __future__ import annotations

import json
from typing import cast

import numpy as np

from tersely.backends.cpu import native
from tersely.codes.split import reference
from tersely.codes.split.layout import FIELDS, Parameters
from tersely.codes.split.sizes import SizeModel, Statistics
from tersely.core.encoded import Node
from tersely.core.geometry import Geometry

NAME = "split"
VERSION = 1


def node(parameters: Parameters) -> Node:
    return Node(NAME, VERSION, parameters.to_json())


def statistics(words: np.ndarray, geometry: Geometry, dtype: str, threads: int = 1) -> Statistics:
    """One pass: symbol counts per segment, tail kind per panel, constant byte. words: C-contiguous."""
    if native.available():
        histograms, kinds = np.empty((geometry.segments, 256), np.uint32), np.zeros(geometry.panels, np.uint8)
        shape = native.shape_of(geometry)
        byte = native.module.split_statistics(words, shape, dtype, histograms, kinds, threads)
        return Statistics(histograms, kinds, cast("int | None", byte))
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
    if not native.available():
        return reference.encode(words, model.geometry, model.dtype, parameters)
    components = {name: np.zeros(size, np.uint8) for name, size in model.component_bytes(parameters).items()}
    if parameters.short_tail is not None:
        bits = np.packbits(model.short_panels, bitorder="little")
        components["short_panels"][: bits.size] = bits
    if parameters.streams:
        starts = model.directory(parameters).reshape(-1)
        components["directory"].view("<u8")[: starts.size] = starts
    native.module.split_encode(
        words,
        native.shape_of(model.geometry),
        model.dtype,
        json.dumps(parameters.to_json()),
        components,
        threads,
    )
    return components
