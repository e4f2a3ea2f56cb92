"""`blocks`: a dictionary of distinct blocks and an index for every block of the matrix."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tersely.codes.layouts import Words
from tersely.codes.node import INFO, Formulation, Part, Run, Span, expect_child, prefixed
from tersely.codes.protocol import Work
from tersely.codes.selection.blocks import candidates, costs, reference
from tersely.codes.selection.blocks.layout import (
    MAX_BLOCKS,
    NAME,
    SHAPES,
    TABLE,
    TABLE_BYTES,
    index_bits,
    indices,
    picked,
    real_blocks,
    shelve,
    stored_words,
)
from tersely.codes.slicing import joined
from tersely.codes.words.dense.formulation import BYTES, dense
from tersely.core.encoded import Node, stream_bytes
from tersely.core.errors import CorruptError, UnsupportedError

INDICES = "indices"
_STEP = 1 << 16
"""Indices that are unpacked at a time, whose bits take a word each; a multiple of eight, so that they begin with a
byte."""


class Blocky(Formulation):
    """What both formulations of blocks have alike: the parameter `block`, and one child under `dense`."""

    COSTS = costs
    CHILD: str
    SHAPES: tuple[str, ...]

    @property
    def nests(self) -> Mapping[str, tuple[Formulation, ...]]:
        return {self.CHILD: (dense,)}

    def shape_of(self, node: Node, names: set[str]) -> str:
        """The shape of the blocks of a node with these parameters. Raises UnsupportedError."""
        expect_child(node, self.CHILD)
        shape = node.parameters.get("block")
        if set(node.parameters) != names:
            raise UnsupportedError(
                f"{self.NAME} has the parameters {', '.join(sorted(names))}; the file is damaged or needs a newer tersely"
            )
        if not isinstance(shape, str) or shape not in self.SHAPES:
            raise UnsupportedError(
                f"{self.NAME} of blocks {shape!r}: this tersely reads {', '.join(self.SHAPES)}; the file is damaged or "
                "needs a newer tersely"
            )
        return shape

    def label(self, parameters: Mapping[str, Any], children: Collection[str] = ()) -> str:
        block = parameters.get("block")
        return f"{self.NAME} {block}" if isinstance(block, str) else self.NAME

    def step(self, part: Part) -> int:
        return 1

    def child_span(self, part: Part, name: str, span: Span) -> None:
        """Blocks are picked by the node itself."""


class Blocks(Blocky):
    """Parameters are the shape of the blocks and how many distinct ones there are."""

    NAME = NAME
    HUE = 195
    OFFERS = candidates
    CHILD, SHAPES = TABLE, SHAPES

    def parse(self, node: Node, dtype: str, layout: Any) -> tuple[str, int]:
        shape, count = self.shape_of(node, {"block", "count"}), node.parameters["count"]
        if type(count) is not int or not 0 <= count <= MAX_BLOCKS:
            raise UnsupportedError(f"blocks has 0 to {MAX_BLOCKS} blocks; the file is damaged or needs a newer tersely")
        if count == 0 and layout.elements:
            raise CorruptError("a tensor with weights has no block", component=INFO)
        return shape, count

    def sizes(self, parameters: tuple[str, int], dtype: str, layout: Any) -> Mapping[str, int]:
        """Indices are payload and clamped."""
        shape, count = parameters
        return {INDICES: stream_bytes(layout.panels * indices(shape, layout) // 8 * index_bits(count))}

    def child(self, part: Part, name: str) -> tuple[str, Words]:
        shape, count = part.parameters
        return part.dtype, Words(stored_words(shape, count, part.layout))

    def words(self, part: Part) -> np.ndarray:
        shape, count = part.parameters
        return reference.decode(part.components, part.layout, shape, count, part.word)

    def work(self, part: Part) -> Work:
        geometry, (shape, count) = part.layout, part.parameters
        kernel = candidates.kernel_of(shape, count, geometry, part.word.itemsize)
        visited = candidates.visited_words(shape, count, geometry)
        return Work(kernel, geometry, part.nbytes, part.padded_weights, visited)

    def samples(self, normal: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
        rows, columns = normal.shape
        yield "few blocks", normal[:16, :4][np.ix_(np.arange(rows) % 16, np.arange(columns) % 4)]
        yield "few rows", normal[rng.integers(max(2, rows // 4), size=rows)]

    def slice_panels(self, part: Part, span: Span) -> Run:
        """Indices counted anew among the blocks that they use, in the order of their first occurrence: the
        dictionary that encoding the slice would give.
        """
        geometry, (shape, count) = part.layout, part.parameters
        (first, last), bits, across = span.panels, index_bits(count), indices(shape, geometry)
        old = np.empty((last - first) * across, np.uint32)
        packed = part.components[INDICES][first * across * bits // 8 :]
        for begin in range(0, old.size, _STEP):
            some = old[begin : begin + _STEP]
            some[...] = np.minimum(reference.unpack(packed[begin * bits // 8 :], bits, some.size), count - 1)
        ids = np.zeros((last - first, across), np.uint32)
        real = np.zeros(ids.shape, bool)
        own = real_blocks(geometry, shape)[first:last]
        real[:, : own.shape[1]] = own
        used, ids[real], _ = reference.first_occurrences(old.reshape(ids.shape)[real])
        table = picked(part.components[TABLE_BYTES].view(part.word), used, shape, geometry)
        return Run({INDICES: ids, TABLE_BYTES: table})

    def pack(self, part: Part, runs: Sequence[Run]) -> tuple[Node, dict[str, np.ndarray]] | None:
        """One run alone: more would have to compare dictionaries, which is encoding."""
        if len(runs) > 1:
            return None
        shape, table, ids = part.parameters[0], runs[0].streams[TABLE_BYTES], runs[0].streams[INDICES].reshape(-1)
        bits = index_bits(len(table))
        packed = [reference.pack(ids[first : first + _STEP], bits) for first in range(0, ids.size, _STEP)]
        node = replace(part.node, parameters={"block": shape, "count": len(table)})
        return node, {INDICES: joined(packed)} | prefixed(TABLE, {BYTES: joined([shelve(table, shape)])})


blocks = Blocks()
