"""`integer`: integers of 8 and 16 bits, as fields or under a code of `split`."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from tersely.codes import checks
from tersely.codes.checks import expect_bytes
from tersely.codes.layouts import Groups
from tersely.codes.node import INDEX, Formulation, Part, Run, Span, ValueCoding, prefixed
from tersely.codes.protocol import KernelKey, Request, ValueCandidate, Values, Work
from tersely.codes.words.integer import candidates, costs, reference
from tersely.codes.words.integer.distances import Centre, fold, unfold
from tersely.codes.words.integer.layout import (
    BYTES,
    DISTANCES,
    DTYPES,
    MAX_BITS,
    NAME,
    NIBBLE_BITS,
    NIBBLES,
    field_bytes,
)
from tersely.codes.words.integer.nibbles import DTYPE as NIBBLE_DTYPE
from tersely.codes.words.integer.nibbles import SIGN, SIGNED, put_together, seen_as
from tersely.codes.words.split.formulation import split
from tersely.core.dtypes import by_name
from tersely.core.encoded import Node, index_bytes, stream_bytes
from tersely.core.errors import CorruptError, UnsupportedError
from tersely.core.geometry import CHUNK_WEIGHTS


class Fields(Formulation):
    """Integers of 8 bits as fields: a node without parameters and children, alone or inside others.

    max_bits: of a level, fewer where it holds 4-bit values.
    """

    NAME = NAME
    DTYPES = DTYPES
    COSTS = costs
    INDEXES = frozenset({"directory", "groups"})

    def __init__(self, max_bits: int = MAX_BITS) -> None:
        self._max_bits = max_bits

    def parse(self, node: Node, dtype: str, layout: Any) -> Any:
        if node.parameters or dtype not in BYTES:
            raise UnsupportedError(
                f"formulation 'integer' has fields of {' and '.join(BYTES)} without parameters; the file is damaged or "
                "needs a newer tersely"
            )

    def label(self, parameters: Mapping[str, Any], children: Collection[str] = ()) -> str:
        """'integer fields', 'integer nibbles'."""
        return f"{self.NAME} {' '.join(children) or 'fields'}"

    def walks(self, node: Node) -> bool:
        return NIBBLES not in node.children

    def sizes(self, parameters: Any, dtype: str, layout: Any) -> Mapping[str, int | None]:
        # Counted before anything is allocated by the declared shape: only as many groups as the file has bytes for.
        units = layout.segments // layout.segments_per_panel
        return {
            "fields": None,
            "groups": index_bytes(units * 2),
            "directory": None,
            "escape_positions": None,
            "escapes": None,
        }

    def check(self, part: Part) -> None:
        """Sizes, groups and directory; never fields, positions or escapes."""
        components, geometry, bits = part.components, part.layout, self._max_bits
        groups = _groups(part).astype(np.int64)
        levels = groups[:, 1] + (1 << np.minimum(groups[:, 0], MAX_BITS))
        wrong = np.flatnonzero((groups[:, 0] > bits) | (levels > 1 << bits))
        if wrong.size:
            message = f"group {wrong[0]} has impossible bits or base"
            raise CorruptError(message, component="groups", byte=int(wrong[0]) * 2)
        expect_bytes(components, "fields", stream_bytes(int(field_bytes(geometry, groups[:, 0]).sum())))
        starts = checks.directory_of(
            components, geometry.segments, lambda: geometry.segment_lengths * np.uint64(CHUNK_WEIGHTS), "escapes"
        )
        expect_bytes(components, "escape_positions", stream_bytes(int(starts[-1]) * 2))
        expect_bytes(components, "escapes", stream_bytes(int(starts[-1])))

    def words(self, part: Part) -> np.ndarray:
        return reference.decode(part.components, part.layout, part.dtype)

    def work(self, part: Part) -> Work:
        geometry, child = part.layout, next(iter(part.children), "")
        return Work(
            costs.kernel_of(geometry, part.dtype, child), geometry, part.nbytes, costs.padded_weights_of(geometry)
        )

    def slice_panels(self, part: Part, span: Span) -> Run:
        """Groups of fields with their escapes."""
        components, geometry = part.components, part.layout
        first, last = (segment // geometry.segments_per_panel for segment in span.segments)
        groups = _groups(part)
        ends = np.concatenate([[0], np.cumsum(field_bytes(geometry, groups[:, 0]))])
        starts = part.directory(geometry.segments)[span.segments[0] : span.segments[1] + 1]
        begin, end = int(starts[0]), int(starts[-1])
        streams = {
            "fields": components["fields"][int(ends[first]) : int(ends[last])],
            "groups": groups[first:last],
            "escape_positions": components["escape_positions"][begin * 2 : end * 2],
            "escapes": components["escapes"][begin:end],
        }
        return Run(streams, counts={"directory": np.diff(starts)})


fields, nibble_fields = Fields(), Fields(NIBBLE_BITS)


class Integer(Fields):
    """Fields, or one of two children.

    A node's parameters are None, a `Centre`, or what a 4-bit value and what the child has for it differ by, as an
    exclusive or.
    """

    HUE = 305
    OFFERS = candidates
    TAKES_INT4 = True

    @property
    def nests(self) -> Mapping[str, tuple[Formulation, ...]]:
        return {DISTANCES: (split,), NIBBLES: (split, nibble_fields)}

    def reason_not_offered(self, dtype: str, objective: str, profile: str) -> str:
        return candidates.reason_not_offered(dtype, objective, profile)

    def parse(self, node: Node, dtype: str, layout: Any) -> Any:
        if len(node.children) > 1:
            raise UnsupportedError(
                f"formulation 'integer' has one child, {' or '.join(self.nests)}, or neither child nor parameters; the "
                "file is damaged or needs a newer tersely"
            )
        if DISTANCES in node.children:
            return Centre.parse(node.parameters, dtype)
        if NIBBLES not in node.children:
            return super().parse(node, dtype, layout)
        signed = _is_fields(node) and set(node.parameters) == {SIGNED} and node.parameters[SIGNED] is True
        if node.parameters and not signed:
            raise UnsupportedError(
                "formulation 'integer' with nibbles has no parameters but 'signed', true, of fields; the file is damaged or needs "
                "a newer tersely"
            )
        if dtype != NIBBLE_DTYPE or seen_as(layout) is None:
            raise CorruptError(
                f"nibbles are of {NIBBLE_DTYPE} tensors seen as rows of bytes, not of {dtype} as {layout.view}",
                component="info",
            )
        return SIGN if signed else 0

    def sizes(self, parameters: Any, dtype: str, layout: Any) -> Mapping[str, int | None]:
        return super().sizes(parameters, dtype, layout) if parameters is None else {}

    def check(self, part: Part) -> None:
        if not part.node.children:
            super().check(part)

    def child(self, part: Part, name: str) -> tuple[str, Any]:
        if name == DISTANCES:
            return part.parameters.bit_layout, part.layout
        return NIBBLE_DTYPE if _is_fields(part.node) else INDEX, seen_as(part.layout)

    def words(self, part: Part) -> np.ndarray:
        child = part.only
        if child is None:
            return super().words(part)
        own = child.row.words(child)
        if DISTANCES in part.children:
            out = np.empty(own.shape, part.word)
            unfold(own, part.parameters.value, out)
        else:
            out = np.empty(part.layout.shape, np.uint8)
            put_together(own, out, part.parameters)
        return out

    def work(self, part: Part) -> Work:
        """Fields of 4-bit values are planned as the product of values that they are for."""
        if not _is_fields(part.node):
            return super().work(part)
        child = part.children[NIBBLES]
        return child.row.work(child) or super().work(part)

    def slower_than_dense(self, part: Part, profile: str) -> bool:
        """Where fields save too little to pay for taking them apart; for one row of x a code of `split` is slower on
        every machine, and fields of 4-bit values on none, by which their products go.
        """
        if part.node.children:
            return not _is_fields(part.node)
        weights = by_name(part.dtype).bits // 8 * math.prod(part.layout.shape)
        return not candidates.fast(part.nbytes, weights, profile)

    def step(self, part: Part) -> int:
        return int((part.only or part).layout.panels_per_unit)

    def slice_panels(self, part: Part, span: Span) -> Run:
        return Run() if part.children else super().slice_panels(part, span)

    def child_span(self, part: Part, name: str, span: Span) -> Span:
        return part.children[name].span(*span.panels) if name == NIBBLES else span


integer = Integer()


class Distances(Integer, ValueCoding):
    """The values of sparse tensors: decoded for every product, so the smallest code is the one to take."""

    VALUE_DTYPES = BYTES

    @property
    def nests(self) -> Mapping[str, tuple[Formulation, ...]]:
        return {DISTANCES: (split,)}

    def parse(self, node: Node, dtype: str, layout: Any) -> Centre:
        if DISTANCES not in node.children:
            raise UnsupportedError("values under 'integer' are distances; the file is damaged or needs a newer tersely")
        return Centre.parse(node.parameters, dtype)

    def value_candidates(self, values: Values, request: Request) -> list[ValueCandidate]:
        return candidates.value_candidates(values, request)

    def value_candidate_for(self, values: Values, options: dict[str, Any], threads: int) -> ValueCandidate:
        return candidates.value_candidate_for(values, options, threads)

    def value_kernel(self, part: Part) -> KernelKey:
        return candidates.VALUE_KERNEL

    def encode_values(self, node: Node, values: Values) -> dict[str, np.ndarray]:
        centre = self.parse(node, values.dtype, Groups(values.groups))
        folded = Values(fold(values.words, centre.value), values.groups, centre.bit_layout)
        return prefixed(DISTANCES, split.encode_values(node.children[DISTANCES], folded))

    def value_ns(self, kernel: KernelKey, dtype: str, machine: str, positions: str) -> float:
        """Nothing of their own: the figures of sparse integers are for whatever codes their values."""
        return 0.0


distances = Distances()


def _groups(part: Part) -> np.ndarray:
    """uint8 [units, 2]: bits and base of each group."""
    units = part.layout.segments // part.layout.segments_per_panel
    return part.components["groups"][: units * 2].reshape(-1, 2)


def _is_fields(node: Node) -> bool:
    """Whether a node holds 4-bit values as fields."""
    return NIBBLES in node.children and node.children[NIBBLES].formulation == NAME
