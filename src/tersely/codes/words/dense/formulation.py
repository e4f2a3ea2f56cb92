"""`dense`: the bytes as they are; what every tensor falls back to, and the template of a formulation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tersely.codes.layouts import Words
from tersely.codes.machine import MULTIPLY_NS, call_ns
from tersely.codes.node import Formulation, Part, Run, Span
from tersely.codes.protocol import Candidate, KernelKey, Request, Work
from tersely.core.dtypes import BY_NAME, by_name
from tersely.core.encoded import Node, stream_bytes
from tersely.core.errors import ArgumentError, UnsupportedError
from tersely.core.geometry import folded

NAME = "dense"
NODE = Node(NAME, 1)
BYTES = "bytes"

# MEASURED with AVX2 on Zen 3, one thread, 4096 x 4096: one row of x takes 2.6 times as long as with fields of the
# values.
PAIRS_NS = 0.05
"""A 4-bit value of a dense pair, taken out in cache."""


@dataclass(frozen=True)
class Kernel(KernelKey):
    """pairs: bytes are multiplied as two 4-bit values each."""

    formulation = NAME
    pairs: bool = False

    def words(self) -> tuple[object, ...]:
        return ("pairs",) if self.pairs else ()


class Dense(Formulation):
    NAME = NAME
    DTYPES = tuple(BY_NAME)
    PATTERNED = False
    TAKES_INT4 = True

    def candidates(self, request: Request) -> list[Candidate]:
        """The bytes as they are: the candidate that every other one has to beat."""
        words = request.words
        kernel = Kernel(request.int4_columns is not None)
        raw = {BYTES: words.reshape(-1).view(np.uint8)}
        return [Candidate(kernel, folded(words.shape), words.nbytes, node=NODE, components=lambda threads: raw)]

    def candidate_for(self, request: Request) -> Candidate:
        if request.parameters:
            raise ArgumentError(f"formulation 'dense' takes no parameter {next(iter(request.parameters))!r}")
        return self.candidates(request)[0]

    def parse(self, node: Node, dtype: str, layout: Any) -> None:
        if node.parameters:
            raise UnsupportedError("dense has no parameters; the file is damaged or needs a newer tersely")

    def sizes(self, parameters: Any, dtype: str, layout: Any) -> Mapping[str, int]:
        bits = by_name(dtype).bits
        if isinstance(layout, Words):
            return {BYTES: stream_bytes(layout.count * bits // 8)}
        return {BYTES: -(-bits * math.prod(layout.shape) // 8)}

    def words(self, part: Part) -> np.ndarray:
        """A read-only view of the bytes. Of a tensor in the shape that arrays of its dtype have."""
        raw = np.asarray(part.components[BYTES])
        if isinstance(part.layout, Words):
            return raw[: part.layout.count * part.word.itemsize].view(part.word)
        dtype = BY_NAME[part.dtype]
        return raw.view(dtype.numpy).reshape(dtype.array_shape(part.layout.shape))

    def work(self, part: Part) -> Work:
        return Work(Kernel(), part.layout, part.nbytes)

    def predict_ns(self, work: Work, dtype: str, machine: str, batch: int) -> float:
        multiply = MULTIPLY_NS[machine] * batch
        if isinstance(work.kernel, Kernel) and work.kernel.pairs:
            return call_ns(work, work.nbytes * 2 * (PAIRS_NS + multiply))
        return call_ns(work, work.nbytes * 8 / by_name(dtype).bits * multiply)

    def slice_panels(self, part: Part, span: Span) -> Run | None:
        """Words [first, last) of a run of values; a tensor is taken apart by its rows as an array."""
        if not isinstance(part.layout, Words):
            return None
        first, last = (place * part.word.itemsize for place in span.panels)
        return Run({BYTES: part.components[BYTES][first:last]})


dense = Dense()
