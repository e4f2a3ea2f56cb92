"""`split` as the coding of a sequence of values: what `protocol.ValueCoding` asks for.

A group of 64 values is a chunk whose vector order is the order of the values; a segment's groups make tiles of eight,
the last tile of a segment fewer. Everything else is as for matrices.
FORMAT: docs/FORMAT.md, "Values".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from tersely.backends.cpu import native
from tersely.codes.protocol import ValueCandidate, Values
from tersely.codes.split import codec, parts, reference
from tersely.codes.split.candidates import check_code, kernel_of
from tersely.codes.split.codec import node
from tersely.codes.split.formulation import parameters_of, validate_streams
from tersely.codes.split.layout import FIELDS, Parameters
from tersely.codes.split.sizes import PLANNED_LEVELS, SizeModel, Statistics
from tersely.core.dtypes import by_name
from tersely.core.encoded import Encoded, Node
from tersely.core.errors import ArgumentError, UnsupportedError
from tersely.core.geometry import CHUNK_WEIGHTS, PANEL_ROWS, TILE_CHUNKS, Geometry

NAME = codec.NAME
VERSION = codec.VERSION
DTYPES: tuple[str, ...] = ("float32", "bfloat16", "float16")
"""Of values of `sparse`; the codings that build on this one have sequences of their own dtypes."""


@dataclass(frozen=True)
class Sequence:
    """Segments of groups as `SizeModel` and `validate` see a matrix: each group is a panel of one chunk."""

    groups: np.ndarray
    chunks_per_panel: int = 1

    @property
    def panels(self) -> int:
        return int(self.groups.sum())

    @property
    def segments(self) -> int:
        return int(self.groups.size)

    def segment_lengths(self) -> np.ndarray:
        """uint64 [segments]: groups of each segment."""
        return self.groups.astype(np.uint64)

    def segment_chunks(self) -> list[tuple[int, int]]:
        ends = np.cumsum(self.groups).tolist()
        return list(zip([0, *ends[:-1]], ends, strict=True)) if ends else []

    def tiles(self) -> list[tuple[int, int, int]]:
        """(first group, last group, 0) of every tile."""
        return [
            (first, min(first + TILE_CHUNKS, stop), 0)
            for start, stop in self.segment_chunks()
            for first in range(start, stop, TILE_CHUNKS)
        ]


def candidates(values: Values, objective: str, profile: str, threads: int) -> list[ValueCandidate]:
    """The smallest code, the smallest of one level, and the one that every instruction set decodes fast."""
    model = size_model(statistics(values, threads), values.groups, values.dtype)
    wanted = [model.codes(PLANNED_LEVELS)[0]]
    if objective != "size":
        wanted += [model.codes(1)[0], ("packed", ())]
    fields = FIELDS[values.dtype]
    return [
        _candidate(values, model, model.parameters(*code))
        for k, code in enumerate(wanted)
        if code not in wanted[:k] and (code[0] != "packed" or 1 << fields.symbol_bits >= 15)
    ]


def forced(values: Values, options: dict[str, Any], threads: int) -> ValueCandidate:
    """The caller's code; table and tail come from the values. Raises ArgumentError."""
    code, widths = check_code(values.dtype, options)
    model = size_model(statistics(values, threads), values.groups, values.dtype)
    parameters = model.parameters(code, widths)
    parameters.check(values.dtype)
    if code == "constant" and np.count_nonzero(model.statistics.histograms.sum(axis=0)) > 1:
        raise ArgumentError("code 'constant' needs values that all have one exponent")
    return _candidate(values, model, parameters)


def _candidate(values: Values, model: SizeModel, parameters: Parameters) -> ValueCandidate:
    return ValueCandidate(
        node(parameters),
        model.total(parameters),
        lambda threads: write(values, model, parameters, threads),
        kernel_of(parameters),
        {"code": parameters.code} | ({"widths": list(parameters.widths)} if parameters.widths else {}),
    )


def statistics(values: Values, threads: int) -> Statistics:
    """One pass, as `codec.statistics`."""
    sequence = Sequence(values.groups)
    histograms = np.zeros((sequence.segments, 256), np.uint32)
    if native.module is not None:
        byte, tail = native.module.split_values_statistics(
            values.words, values.starts, values.dtype, histograms, threads
        )
    else:
        symbols, _, octets, tails = reference.cut_words(values.words, values.dtype)
        for segment, (first, last) in enumerate(sequence.segment_chunks()):
            own = symbols[first * CHUNK_WEIGHTS : last * CHUNK_WEIGHTS]
            histograms[segment] = np.bincount(own, minlength=256)
        used = np.bitwise_or.reduce(tails, initial=0)
        tail = 0 if used == 0 else 2 if used & 0x1FFF else 1
        alike = np.unique(octets)
        byte = int(alike[0]) if alike.size == 1 and FIELDS[values.dtype].has_byte else -1
    return Statistics(histograms, np.array([tail], np.uint8), None if byte < 0 else byte)


def size_model(found: Statistics, groups: np.ndarray, dtype: str) -> SizeModel:
    return SizeModel(found, cast(Geometry, Sequence(groups)), dtype)  # has what sizes ask of a geometry


def write(values: Values, model: SizeModel, parameters: Parameters, threads: int) -> dict[str, np.ndarray]:
    """Components of values, whose exact sizes `model` holds."""
    if not native.available():
        return encode(node(parameters), values)
    components = {name: np.zeros(size, np.uint8) for name, size in model.component_bytes(parameters).items()}
    if parameters.streams:
        starts = model.directory(parameters).reshape(-1)
        components["directory"].view("<u8")[: starts.size] = starts
    native.module.split_values_encode(
        values.words, values.starts, values.dtype, json.dumps(parameters.to_json()), components, threads
    )
    return components


def _parameters(node: Node, dtype: str) -> Parameters:
    parameters = parameters_of(Encoded((), dtype, "folded", "out_in", "as_is", node, {}))
    if parameters.short_tail is not None:
        raise UnsupportedError("values under 'split' have one tail; the file is damaged or needs a newer tersely")
    return parameters


def kernel(node: Node) -> str:
    """The row of the cost model that predicts decoding a group."""
    levels = node.parameters.get("widths", ())
    return f"split {node.parameters.get('code', '')}" + (f" {len(levels)}" if levels else "")


def validate(node: Node, dtype: str, components: Mapping[str, np.ndarray], groups: np.ndarray) -> None:
    """Structure check, as of matrices. Raises CorruptError or UnsupportedError with the component's own name."""
    parameters = _parameters(node, dtype)
    validate_streams(components, dtype, Sequence(groups), parameters)


def vector_order(dtype: str) -> np.ndarray:
    """int64 [16, 4]: which value of a group of 64 stands at (row, column) of its chunk."""
    row, column = np.mgrid[0:PANEL_ROWS, 0:4]
    return column // 2 * 32 + row * 2 + column % 2 if dtype == "bfloat16" else column * PANEL_ROWS + row


def encode(node: Node, values: Values) -> dict[str, np.ndarray]:
    """The NumPy reference: components of values under a node's parameters."""
    sequence = Sequence(values.groups)
    chunks = values.words.reshape(-1, CHUNK_WEIGHTS)[:, vector_order(values.dtype).reshape(-1)]
    chunks = chunks.reshape(-1, PANEL_ROWS, 4)
    parameters = _parameters(node, values.dtype)
    segments, short = sequence.segment_chunks(), np.zeros(1, bool)
    real = np.ones(chunks.shape, bool)
    return reference.encode_chunks(chunks, real, values.dtype, parameters, segments, sequence.tiles(), short)


def decode(node: Node, dtype: str, components: Mapping[str, np.ndarray], groups: np.ndarray) -> np.ndarray:
    """Inverse of `encode`: words [64 * groups]. Components must have passed `validate`."""
    sequence, word = Sequence(groups), np.dtype(np.uint8) if dtype == "index" else by_name(dtype).word
    segments, short = sequence.segment_chunks(), np.zeros(1, bool)
    chunks = reference.decode_chunks(
        components, dtype, _parameters(node, dtype), word, segments, sequence.tiles(), short
    )
    order = np.argsort(vector_order(dtype).reshape(-1))
    return chunks.reshape(-1, CHUNK_WEIGHTS)[:, order].reshape(-1)


def cut(
    node: Node,
    dtype: str,
    components: Mapping[str, np.ndarray],
    groups: tuple[int, int],
    segments: tuple[int, int],
) -> parts.Run:
    return parts.cut_groups(components, dtype, _parameters(node, dtype), groups, segments)


def pack(node: Node, dtype: str, runs: Iterable[parts.Run]) -> dict[str, np.ndarray]:
    return parts.pack(list(runs), _parameters(node, dtype))
