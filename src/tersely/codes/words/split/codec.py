"""`split`: words in, native calls out; the NumPy reference where the native module is missing.

Words are arrays of unsigned integers (`tersely.core.dtypes`), never floats: those of a tensor in its own shape, or
those of a sequence of values.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from tersely.backends.cpu import native
from tersely.codes.layouts import Groups
from tersely.codes.protocol import Values
from tersely.codes.words.split import reference
from tersely.codes.words.split.layout import FIELDS, Parameters
from tersely.codes.words.split.sizes import PLANNED_LEVELS, SizeModel, Statistics
from tersely.codes.words.split.sizes import Code as Code
from tersely.core.encoded import Node
from tersely.core.geometry import CHUNK_WEIGHTS, Geometry

NAME = "split"


def node(parameters: Parameters) -> Node:
    return Node(NAME, 1, parameters.to_json())


def statistics(words: np.ndarray, layout: Geometry | Groups, dtype: str, threads: int = 1) -> Statistics:
    """One pass: symbol counts per segment, tail kind per panel, constant byte. words: C-contiguous."""
    if isinstance(layout, Groups):
        return _statistics_of_values(Values(words, layout.groups, dtype), layout, threads)
    if native.available():
        histograms, kinds = np.empty((layout.segments, 256), np.uint32), np.zeros(layout.panels, np.uint8)
        shape = native.shape_of(layout)
        byte = native.module.split_statistics(words, shape, dtype, histograms, kinds, threads)
        return Statistics(histograms, kinds, cast("int | None", byte))
    chunks, real = reference.to_chunks(words, layout)
    symbols, _, octets, tails = reference.split_words(chunks, dtype)
    histograms = np.zeros((layout.segments, 256), np.uint32)
    for segment, (first, last) in enumerate(layout.segment_chunks()):
        histograms[segment] = np.bincount(symbols[first:last][real[first:last]], minlength=256)
    values = np.unique(octets[real])
    byte = int(values[0]) if values.size == 1 and FIELDS[dtype].has_byte else None
    return Statistics(histograms, reference.tail_kinds(tails, layout), byte)


def _statistics_of_values(values: Values, layout: Groups, threads: int) -> Statistics:
    histograms = np.zeros((layout.segments, 256), np.uint32)
    if native.module is not None:
        byte, tail = native.module.split_values_statistics(
            values.words, values.starts, values.dtype, histograms, threads
        )
    else:
        symbols, _, octets, tails = reference.split_words(values.words, values.dtype)
        for segment, (first, last) in enumerate(layout.segment_chunks()):
            own = symbols[first * CHUNK_WEIGHTS : last * CHUNK_WEIGHTS]
            histograms[segment] = np.bincount(own, minlength=256)
        used = np.bitwise_or.reduce(tails, initial=0)
        tail = 0 if used == 0 else 2 if used & 0x1FFF else 1
        alike = np.unique(octets)
        byte = int(alike[0]) if alike.size == 1 and FIELDS[values.dtype].has_byte else -1
    return Statistics(histograms, np.array([tail], np.uint8), None if byte < 0 else byte)


def encode(words: np.ndarray, model: SizeModel, parameters: Parameters, threads: int = 1) -> dict[str, np.ndarray]:
    """Components of C-contiguous words, whose statistics and exact sizes `model` holds."""
    parameters.check(model.dtype)
    layout = cast("Geometry | Groups", model.layout)
    if not native.available():
        return reference.encode(words, layout, model.dtype, parameters)
    components = {name: np.zeros(size, np.uint8) for name, size in model.component_bytes(parameters).items()}
    if parameters.short_tail is not None:
        bits = np.packbits(model.short_panels, bitorder="little")
        components["short_panels"][: bits.size] = bits
    if parameters.streams:
        starts = model.directory(parameters).reshape(-1)
        components["directory"].view("<u8")[: starts.size] = starts
    own = json.dumps(parameters.to_json())
    if isinstance(layout, Groups):
        starts = Values(words, layout.groups, model.dtype).starts
        native.module.split_values_encode(words, starts, model.dtype, own, components, threads)
    else:
        native.module.split_encode(words, native.shape_of(layout), model.dtype, own, components, threads)
    return components


@dataclass(frozen=True)
class Coded:
    """Words under a code of `split`, sized to the byte and not yet coded: a candidate, or what others nest.

    words: called when they are coded.
    """

    model: SizeModel
    parameters: Parameters
    words: Callable[[], np.ndarray]

    @property
    def node(self) -> Node:
        return node(self.parameters)

    @property
    def nbytes(self) -> int:
        return self.model.total(self.parameters)

    @property
    def options(self) -> dict[str, Any]:
        """The code as parameters name it."""
        widths = self.parameters.widths
        return {"code": self.parameters.code} | ({"widths": list(widths)} if widths else {})

    def encode(self, threads: int) -> dict[str, np.ndarray]:
        return encode(self.words(), self.model, self.parameters, threads)


def size_model(words: np.ndarray, layout: Geometry | Groups, dtype: str, threads: int = 1) -> SizeModel:
    """Sizes of words under every code, from one pass over them."""
    return SizeModel(statistics(words, layout, dtype, threads), layout, dtype)


def under(model: SizeModel, words: Callable[[], np.ndarray], code: Code | None = None) -> Coded:
    """Words under a code, None for the smallest. Raises ArgumentError where the code does not fit them."""
    parameters = model.parameters(*(code or model.smallest(PLANNED_LEVELS)[0]))
    if code is not None:
        parameters.check(model.dtype)
    return Coded(model, parameters, words)
