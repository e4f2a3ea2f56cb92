"""`palette`: a table of distinct words and an index for each weight."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from tersely.codes.layouts import Groups
from tersely.codes.node import INDEX, Formulation, Part, Run, Span, ValueCoding, prefixed
from tersely.codes.protocol import KernelKey, Request, ValueCandidate, Values, Work, is_wide
from tersely.codes.words.integer.formulation import fields
from tersely.codes.words.palette import candidates, costs, reference
from tersely.codes.words.palette.layout import DTYPES, INDICES, NAME, NUMBER_DTYPE, TABLE, Indices
from tersely.codes.words.split.formulation import split
from tersely.core.dtypes import by_name
from tersely.core.encoded import Node, index_bytes, stored, stream_bytes
from tersely.core.errors import CorruptError


class Palette(ValueCoding):
    NAME = NAME
    DTYPES = DTYPES
    VALUE_DTYPES = DTYPES
    HUE = 152
    NEVER_NOISE = True
    OFFERS = candidates
    COSTS = costs

    @property
    def nests(self) -> Mapping[str, tuple[Formulation, ...]]:
        return {INDICES: (split, fields)}

    def value_candidates(self, values: Values, request: Request) -> list[ValueCandidate]:
        return candidates.value_candidates(values, request)

    def value_candidate_for(self, values: Values, options: dict[str, Any], threads: int) -> ValueCandidate:
        return candidates.value_candidate_for(values, options, threads)

    def walks(self, node: Node) -> bool:
        return True

    def parse(self, node: Node, dtype: str, layout: Any) -> Indices:
        return Indices.parse(node, layout)

    def sizes(self, parameters: Indices, dtype: str, layout: Any) -> Mapping[str, int | None]:
        return parameters.sizes(dtype, layout.panels * layout.chunks_per_panel)

    def check(self, part: Part) -> None:
        """Sizes alone, never indices; and the table where it must be what scale and zero say."""
        parameters = part.parameters
        if parameters.grid is None:
            return
        off = parameters.grid.first_off(parameters.table(part.components, part.word), part.dtype)
        if off is not None:
            raise CorruptError(
                f"word {off} of the table is off the grid that scale and zero say; get the file again",
                component=TABLE,
                byte=off * part.word.itemsize,
            )

    def child(self, part: Part, name: str) -> tuple[str, Any]:
        return INDEX if part.parameters.grid is None else NUMBER_DTYPE, part.layout

    def words(self, part: Part) -> np.ndarray:
        """The bits of an index that the table needs count; where they lead beyond it (a damaged file), to zero bits."""
        parameters, layout, child = part.parameters, part.layout, part.only
        indices: Any = np.uint8(0)
        if child is not None:
            indices = child.row.words(child)
            if isinstance(layout, Groups):
                indices = reference.from_columns(indices, part.dtype) << np.uint8(parameters.low_bits)
        if parameters.packed_bits:
            packed = part.components[parameters.packed]
            indices = indices | reference.unpack(packed, layout, parameters.packed_bits, part.dtype)
        return reference.look_up(parameters.table(part.components, part.word), parameters.bits, indices)

    def encode_values(self, node: Node, values: Values) -> dict[str, np.ndarray]:
        layout, words = Groups(values.groups), values.words
        parameters = self.parse(node, values.dtype, layout)
        table = reference.table_of(words, values.dtype) if words.size else np.zeros(1, words.dtype)
        indices = reference.indices_of(words, table)
        components = {TABLE: stored(table, index_bytes)}
        if parameters.packed_bits:
            packed = reference.pack(indices, layout, parameters.packed_bits, values.dtype)
            components[parameters.packed] = stored(packed, stream_bytes)
        if not parameters.coded:
            return components
        high = reference.by_columns(indices, values.dtype).reshape(-1) >> np.uint8(parameters.low_bits)
        coded = split.encode_values(node.children[INDICES], Values(high, values.groups, INDEX))
        return components | prefixed(INDICES, coded)

    def work(self, part: Part) -> Work:
        child = part.only
        if part.parameters.grid is None or child is None:
            return Work(self.value_kernel(part), part.layout, part.nbytes, part.padded_weights)
        own = child.row.work(child)
        groups = child.components["groups"]
        units = part.layout.segments // part.layout.segments_per_panel
        kernel = candidates.grid_kernel(groups[: units * 2].reshape(-1, 2), part.layout)
        return Work(kernel, part.layout, part.nbytes, 0 if own is None else own.padded_weights)

    def value_kernel(self, part: Part) -> KernelKey:
        child = part.only
        return costs.Kernel(part.parameters.bits, "" if child is None else child.parameters.code)

    def value_ns(self, kernel: KernelKey, dtype: str, machine: str, positions: str) -> float:
        return costs.value_ns(kernel, dtype, machine, positions)

    def slower_than_dense(self, part: Part, profile: str) -> bool:
        """Without AVX-512: coded indices, and tables of more words than a few shuffles look up (`costs`)."""
        if part.parameters.grid is not None or is_wide(profile):
            return False
        fast_bits = 6 if by_name(part.dtype).bits == 32 else 5
        return part.only is not None or part.parameters.bits > fast_bits

    def samples(self, normal: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
        for values in (3, 16, 200):
            yield f"{values} values", (rng.integers(values, size=normal.shape) * 0.01 - 0.02).astype(np.float32)

    def label(self, parameters: Mapping[str, Any], children: Collection[str] = ()) -> str:
        """'palette 16', 'palette grid 16'."""
        words = [self.NAME] + ["grid"] * ("scale" in parameters)
        return " ".join([*words, *(str(parameters[key]) for key in ("entries",) if type(parameters.get(key)) is int)])

    def slice_panels(self, part: Part, span: Span) -> Run:
        """One table for all; packed bits are taken by chunks."""
        parameters, streams = part.parameters, {}
        if parameters.packed_bits:
            size = part.layout.chunks_per_panel * 8 * parameters.packed_bits
            streams[parameters.packed] = part.components[parameters.packed][
                span.panels[0] * size : span.panels[1] * size
            ]
        return Run(streams, shared={TABLE: part.components[TABLE]})


palette = Palette()
