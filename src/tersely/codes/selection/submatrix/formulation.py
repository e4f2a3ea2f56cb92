"""`submatrix`: empty rows and columns cost a bit each, the others are coded without them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tersely.codes.layouts import Words
from tersely.codes.node import INFO, Formulation, Part, Run, Span, expect_child
from tersely.codes.protocol import Candidate, Request, Work
from tersely.codes.selection.block_sparse.formulation import block_sparse
from tersely.codes.selection.blocks.formulation import blocks
from tersely.codes.selection.sparse.formulation import sparse
from tersely.codes.selection.submatrix import candidates, costs, reference
from tersely.codes.selection.submatrix.layout import COLUMNS, DTYPES, FLOATS, KEPT, NAME, ROWS, component_bytes
from tersely.codes.words.affine.formulation import affine
from tersely.codes.words.dense.formulation import dense
from tersely.codes.words.integer.formulation import integer
from tersely.codes.words.integer.layout import NIBBLES
from tersely.codes.words.palette.formulation import palette
from tersely.codes.words.row_palette.formulation import row_palette
from tersely.codes.words.split.formulation import split
from tersely.core.encoded import Node
from tersely.core.errors import CorruptError, UnsupportedError
from tersely.core.geometry import Geometry

KEPT_ROWS: tuple[Formulation, ...] = (split, sparse, palette, row_palette, affine, blocks, block_sparse)
"""The formulations that floats which are kept may be under: those with products of their own."""
KEPT_INTEGERS: tuple[Formulation, ...] = (integer, dense, sparse, block_sparse)
"""Those of integers. Dense ones have products, too."""


def kept_rows(dtype: str) -> tuple[Formulation, ...]:
    """What may be kept under, by dtype."""
    return KEPT_ROWS if dtype in FLOATS else tuple(row for row in KEPT_INTEGERS if dtype in row.DTYPES)


class Submatrix(Formulation):
    """A node's parameters are how many rows and columns are kept."""

    NAME = NAME
    DTYPES = DTYPES
    HUE = 332

    @property
    def nests(self) -> Mapping[str, tuple[Formulation, ...]]:
        return {KEPT: tuple(dict.fromkeys((*KEPT_ROWS, *KEPT_INTEGERS)))}

    def candidates(self, request: Request) -> list[Candidate]:
        return candidates.candidates(request, kept_rows(request.dtype))

    def candidate_for(self, request: Request) -> Candidate:
        return candidates.candidate_for(request, kept_rows(request.dtype))

    def parse(self, node: Node, dtype: str, layout: Geometry) -> tuple[int, int]:
        expect_child(node, KEPT)
        allowed = [row.NAME for row in kept_rows(dtype)]
        if NIBBLES in node.children[KEPT].children:
            raise UnsupportedError(
                f"{KEPT} of {NAME} holds no pairs of 4-bit values; the file is damaged or needs a newer tersely"
            )
        if node.children[KEPT].formulation not in allowed:
            raise UnsupportedError(
                f"{KEPT} of {NAME} of {dtype} under formulation {node.children[KEPT].formulation!r}: this tersely reads "
                f"{', '.join(map(repr, allowed))}; the file is damaged or needs a newer tersely"
            )
        counts = [node.parameters.get(name) for name in (ROWS, COLUMNS)]
        if set(node.parameters) != {ROWS, COLUMNS}:
            raise UnsupportedError(
                f"formulation {NAME!r} has the parameters {COLUMNS} and {ROWS}; the file is damaged or needs a newer tersely"
            )
        if not all(type(count) is int and count > 0 for count in counts):
            raise UnsupportedError(f"a submatrix of {counts[0]!r} rows and {counts[1]!r} columns; get the file again")
        if layout.view not in ("matrix", "convolution"):
            raise CorruptError(
                f"submatrix codes one matrix, and this tensor is seen as {layout.view!r}", component=INFO
            )
        if layout.column_order != "as_is":
            raise CorruptError(
                f"submatrix has columns as they are, not in order {layout.column_order!r}", component=INFO
            )
        return node.parameters[ROWS], node.parameters[COLUMNS]

    def sizes(self, parameters: Any, dtype: str, layout: Any) -> Mapping[str, int]:
        return component_bytes(layout)

    def check(self, part: Part) -> None:
        """Checks that as many bits are set as are kept, none beyond the last row or column."""
        lengths = (part.layout.rows, part.layout.columns)
        for name, length, expected in zip((ROWS, COLUMNS), lengths, part.parameters, strict=True):
            bits = np.unpackbits(part.components[name], bitorder="little")
            if (stray := np.flatnonzero(bits[length:])).size:
                byte = int(length + stray[0]) // 8
                raise CorruptError("a bit beyond the last place is set", component=name, byte=byte)
            found = int(bits.sum(dtype=np.int64))
            if found != expected:
                message = f"{found} {name} are kept where the description has {expected}"
                raise CorruptError(message, component=name, byte=0)

    def child(self, part: Part, name: str) -> tuple[str, Geometry | Words]:
        if part.node.children[KEPT].formulation == dense.NAME:
            return part.dtype, Words(math.prod(part.parameters))
        return part.dtype, Geometry(part.parameters, "matrix")

    def words(self, part: Part) -> np.ndarray:
        kept, geometry = part.children[KEPT], part.layout
        rows = reference.kept_numbers(part.components[ROWS], geometry.rows)
        columns = reference.kept_numbers(part.components[COLUMNS], geometry.columns)
        return reference.put(kept.row.words(kept).reshape(part.parameters), rows, columns, geometry)

    def work(self, part: Part) -> Work | None:
        kept = part.children[KEPT]
        own = kept.row.work(kept)
        if own is None:
            return None
        if kept.row is dense:
            own = replace(own, geometry=Geometry(part.parameters, "matrix"))
        return Work(costs.Kernel(own.kernel), part.layout, part.nbytes, own.padded_weights, own.entries, own)

    def predict_ns(self, work: Work, dtype: str, machine: str, batch: int) -> float:
        """What picking and filling adds; the cost model adds the time of the product of what is kept."""
        return batch * (work.geometry.rows + work.geometry.columns) * costs.MOVED_NS

    def slower_than_dense(self, part: Part, profile: str) -> bool:
        """Only where codes are slow and more than half of the weights are kept."""
        kept = part.children[KEPT]
        full = math.prod(part.parameters) * 2 > math.prod(part.layout.shape)
        return full and kept.row.slower_than_dense(kept, profile)

    def step(self, part: Part) -> int:
        return int(part.layout.panels)

    def slice_panels(self, part: Part, span: Span) -> Run:
        """What is kept of a slice begins anywhere in what is kept of the whole, so only the whole is a slice of itself."""
        return Run(dict(part.components))

    def child_span(self, part: Part, name: str, span: Span) -> None:
        """The whole node is one run."""

    def pack(self, part: Part, runs: Sequence[Run]) -> tuple[Node, dict[str, np.ndarray]] | None:
        return (part.node, dict(runs[0].streams)) if len(runs) == 1 else None


submatrix = Submatrix()
