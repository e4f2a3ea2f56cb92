"""`block_sparse`: empty rows, columns and chunks cost a bit, and products skip them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tersely.codes.layouts import Words
from tersely.codes.machine import BYTES_PER_NS
from tersely.codes.node import Part, Run, Span, prefixed
from tersely.codes.protocol import Work
from tersely.codes.selection.block_sparse import candidates, reference
from tersely.codes.selection.block_sparse.layout import (
    BYTES,
    DTYPES,
    NAME,
    SHAPES,
    VALUE_BYTES,
    VALUES,
    component_bytes,
    mask_words,
)
from tersely.codes.selection.blocks.costs import INTEGER_NS, InOrder
from tersely.codes.selection.blocks.formulation import Blocky
from tersely.codes.selection.blocks.layout import panel_blocks, picked, shelve, stored_words
from tersely.codes.slicing import joined
from tersely.codes.words.dense.formulation import BYTES as DENSE_BYTES
from tersely.core.encoded import Node
from tersely.core.errors import CorruptError


class BlockSparse(Blocky):
    """A node's parameters are the shape of its blocks."""

    NAME = NAME
    DTYPES = DTYPES
    HUE = 92
    NEVER_NOISE = True
    OFFERS = candidates
    CHILD, SHAPES = VALUES, SHAPES

    def parse(self, node: Node, dtype: str, layout: Any) -> str:
        return self.shape_of(node, {"block"})

    def sizes(self, parameters: str, dtype: str, layout: Any) -> Mapping[str, int]:
        found = component_bytes(parameters, 0, layout, 0)
        return {name: found[name] for name in ("masks", "directory")}

    def check(self, part: Part) -> None:
        """The directory counts the bits of every panel."""
        shape, geometry = part.parameters, part.layout
        bits = reference.bits_of(part.components["masks"], geometry, shape)
        if stray := np.flatnonzero(bits[:, panel_blocks(shape, geometry) :].any(axis=1)).tolist():
            size = mask_words(shape, geometry) * 8
            raise CorruptError("a bit beyond the last place is set", component="masks", byte=stray[0] * size)
        starts = part.components["directory"][: (geometry.panels + 1) * 8].view("<u8")
        counted = np.cumsum([0, *bits.sum(axis=1, dtype=np.uint64)], dtype="<u8")
        if (wrong := np.flatnonzero(starts != counted)).size:
            raise CorruptError(
                f"{starts[wrong[0]]} blocks where the masks before have {counted[wrong[0]]}",
                component="directory",
                byte=int(wrong[0]) * 8,
            )

    def child(self, part: Part, name: str) -> tuple[str, Words]:
        return part.dtype, Words(stored_words(part.parameters, _kept(part), part.layout))

    def words(self, part: Part) -> np.ndarray:
        return reference.decode(part.components, part.layout, part.parameters, part.word)

    def work(self, part: Part) -> Work:
        entries = max(1, stored_words(part.parameters, _kept(part), part.layout))
        return Work(InOrder(part.parameters), part.layout, part.nbytes, part.padded_weights, entries)

    def slower_than_dense(self, part: Part, profile: str) -> bool:
        """Integers whose blocks are too many, by `costs`; floats never are."""
        if part.dtype not in BYTES:
            return False
        kept = stored_words(part.parameters, _kept(part), part.layout)
        return kept * INTEGER_NS[part.parameters] > math.prod(part.layout.shape) / BYTES_PER_NS

    def samples(self, normal: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
        rows, columns = normal.shape
        for share in (0.3, 0.8):
            kept = np.kron(rng.random((rows // 16, columns // 4)) < share, np.ones((16, 4), bool))
            yield f"{share:.0%} of chunks", np.where(kept, normal, 0)

    def slice_panels(self, part: Part, span: Span) -> Run:
        shape, geometry, components = part.parameters, part.layout, part.components
        first, last = span.panels
        size, starts = mask_words(shape, geometry) * 8, part.directory(geometry.panels)[first : last + 1]
        kept = np.arange(starts[0], starts[-1])
        values = picked(components[VALUE_BYTES].view(part.word), kept, shape, geometry)
        masks = components["masks"][first * size : last * size]
        return Run({"masks": masks, VALUE_BYTES: values}, counts={"directory": np.diff(starts)})

    def pack(self, part: Part, runs: Sequence[Run]) -> tuple[Node, dict[str, np.ndarray]]:
        """Whole rows lie 16 side by side: values are put on shelves anew."""
        starts = np.cumsum(np.concatenate([[0], *(run.counts["directory"] for run in runs)])).astype("<u8")
        values = shelve(np.concatenate([run.streams[VALUE_BYTES] for run in runs]), part.parameters)
        return part.node, {
            "masks": joined([run.streams["masks"] for run in runs]),
            "directory": joined([starts], True),
            **prefixed(VALUES, {DENSE_BYTES: joined([values])}),
        }


def _kept(part: Part) -> int:
    """Blocks of all panels."""
    panels = part.layout.panels
    return int(part.components["directory"][panels * 8 : (panels + 1) * 8].view("<u8")[0])


block_sparse = BlockSparse()
