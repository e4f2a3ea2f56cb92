"""`split`: exponents under a symbol code, all other bits beside them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from tersely.codes.checks import expect_bytes
from tersely.codes.layouts import Groups
from tersely.codes.node import Part, Run, Span, ValueCoding
from tersely.codes.protocol import KernelKey, Request, ValueCandidate, Values, Work
from tersely.codes.words.split import candidates, codec, costs, reference
from tersely.codes.words.split.layout import FIELDS, Parameters
from tersely.core.encoded import Node, index_bytes, stream_bytes
from tersely.core.errors import ArgumentError, CorruptError, UnsupportedError


class Split(ValueCoding):
    NAME = codec.NAME
    DTYPES = tuple(name for name in FIELDS if name != "index")
    VALUE_DTYPES = ("float32", "bfloat16", "float16")
    HUE = 252
    OFFERS = candidates
    COSTS = costs
    PATTERNED = False
    EITHER_ORIENTATION = True
    INDEXES = frozenset({"directory", "short_panels"})

    def reason_not_offered(self, dtype: str, objective: str, profile: str) -> str:
        return candidates.reason_not_offered(dtype, objective, profile)

    def value_candidates(self, values: Values, request: Request) -> list[ValueCandidate]:
        return candidates.value_candidates(values, request)

    def value_candidate_for(self, values: Values, options: dict[str, Any], threads: int) -> ValueCandidate:
        return candidates.value_candidate_for(values, options, threads)

    def walks(self, node: Node) -> bool:
        return True

    def parse(self, node: Node, dtype: str, layout: Any) -> Parameters:
        try:
            parameters = Parameters.from_json(dict(node.parameters))
            parameters.check(dtype)
        except ArgumentError as error:
            raise UnsupportedError(f"{error}; the file is damaged or needs a newer tersely") from error
        if isinstance(layout, Groups) and parameters.short_tail is not None:
            raise UnsupportedError("values under 'split' have one tail; the file is damaged or needs a newer tersely")
        return parameters

    def sizes(self, parameters: Parameters, dtype: str, layout: Any) -> Mapping[str, int | None]:
        names = ["tiles", *parameters.streams]
        names += ["directory"] if parameters.streams else []
        found: dict[str, int | None] = dict.fromkeys(names)
        if parameters.short_tail is not None:
            found["short_panels"] = index_bytes(-(-layout.panels // 8))
        return found

    def check(self, part: Part) -> None:
        """Looks at sizes, the directory and the panel bitmap's length, never at planes or bytes."""
        parameters, layout = part.parameters, part.layout
        short_count = 0
        if parameters.short_tail is not None:
            bits = np.unpackbits(part.components["short_panels"], bitorder="little")
            if stray := np.flatnonzero(bits[layout.panels :]).tolist():
                raise CorruptError(
                    "a bit beyond the last panel is set", component="short_panels", byte=(layout.panels + stray[0]) // 8
                )
            short_count = int(bits.sum())
        chunks = layout.chunks_per_panel
        used = (layout.panels - short_count) * chunks * parameters.chunk_bytes(part.dtype, parameters.tail)
        used += short_count * chunks * parameters.chunk_bytes(part.dtype, parameters.short_tail or "none")
        expect_bytes(part.components, "tiles", stream_bytes(used))
        if parameters.streams:
            _check_directory(part)

    def words(self, part: Part) -> np.ndarray:
        return reference.decode(part.components, part.layout, part.dtype, part.parameters, part.word)

    def encode_values(self, node: Node, values: Values) -> dict[str, np.ndarray]:
        layout = Groups(values.groups)
        return reference.encode(values.words, layout, values.dtype, self.parse(node, values.dtype, layout))

    def work(self, part: Part) -> Work:
        return Work(costs.kernel_of(part.parameters), part.layout, part.nbytes, part.padded_weights)

    def value_kernel(self, part: Part) -> KernelKey:
        return costs.kernel_of(part.parameters)

    def value_ns(self, kernel: KernelKey, dtype: str, machine: str, positions: str) -> float:
        return costs.value_ns(kernel, dtype, machine)

    def slower_than_dense(self, part: Part, profile: str) -> bool:
        return candidates.slower_than_dense(part.dtype, part.parameters.code, part.parameters.widths, profile)

    def samples(self, normal: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
        yield "normal", normal

    def label(self, parameters: Mapping[str, Any], children: Collection[str] = ()) -> str:
        """'split layered(2,2)', 'split packed(4)'."""
        code, widths = parameters.get("code"), parameters.get("widths")
        if not isinstance(code, str):
            return self.NAME
        if isinstance(widths, (list, tuple)) and widths:
            return f"{self.NAME} {code}({','.join(map(str, widths))})"
        return f"{self.NAME} {code}" + (f"({parameters.get('bits', 4)})" if code == "packed" else "")

    def slice_panels(self, part: Part, span: Span) -> Run:
        """Segments are coded alone and under one table; only the directory counts from the first one."""
        parameters, layout, components = part.parameters, part.layout, part.components
        short = np.zeros(layout.panels, np.uint8)
        if parameters.short_tail is not None:
            short = np.unpackbits(components["short_panels"], bitorder="little")[: layout.panels]
        own, shorter = (
            layout.chunks_per_panel * parameters.chunk_bytes(part.dtype, tail)
            for tail in (parameters.tail, parameters.short_tail or "none")
        )
        first, last = (panel * own - int(short[:panel].sum()) * (own - shorter) for panel in span.panels)
        streams, counts = {"tiles": components["tiles"][first:last]}, {}
        if parameters.streams:
            columns = len(parameters.streams)
            starts = components["directory"][: (span.segments[1] + 1) * columns * 8].view("<u8").reshape(-1, columns)
            counts["directory"] = np.diff(starts[span.segments[0] :], axis=0)
            for column, name in enumerate(parameters.streams):
                unit = 1 if name == "escapes" else 8 * parameters.widths[column + 1]
                first, last = (int(starts[segment, column]) * unit for segment in span.segments)
                streams[name] = components[name][first:last]
        marks = slice(*span.panels)
        return Run(streams, {} if parameters.short_tail is None else {"short_panels": short[marks]}, counts)


def _check_directory(part: Part) -> None:
    parameters, layout, components = part.parameters, part.layout, part.components
    columns = len(parameters.streams)
    entries = (layout.segments + 1) * columns
    expect_bytes(components, "directory", index_bytes(entries * 8))
    starts = components["directory"][: entries * 8].view("<u8").reshape(-1, columns)
    if starts[0].any():
        raise CorruptError("the first entry is not zero", component="directory", byte=0)
    # Groups of the level above: a level never has more groups, nor escapes more bytes, than it.
    limit = layout.segment_lengths
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


split = Split()
