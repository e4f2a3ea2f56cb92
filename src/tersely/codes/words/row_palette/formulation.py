"""`row_palette`: a table of words for each row, or for each group of its columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tersely.codes.node import Part, Run, Span
from tersely.codes.protocol import Work
from tersely.codes.words.affine.row_fields import RowFields, sparse_work
from tersely.codes.words.row_palette import candidates, costs, reference
from tersely.codes.words.row_palette.layout import INDICES, NAME, TABLES, Tables
from tersely.core.encoded import Node
from tersely.core.geometry import PANEL_ROWS


class RowPalette(RowFields):
    NAME = NAME
    HUE = 172
    NEVER_NOISE = True
    OFFERS = candidates
    COSTS = costs
    CHILD, SPARSE_DTYPE = INDICES, "uint8"
    INDEXES = frozenset({TABLES})

    def walks(self, node: Node) -> bool:
        return True

    def parse(self, node: Node, dtype: str, layout: Any) -> Tables:
        tables = Tables.parse(node)
        self.check_node(node, layout)
        return tables

    def sizes(self, parameters: Tables, dtype: str, layout: Any) -> Mapping[str, int | None]:
        return parameters.component_bytes(layout, dtype)

    def words(self, part: Part) -> np.ndarray:
        return reference.decode(part.components, part.layout, part.word, part.parameters, self.numbers(part))

    def work(self, part: Part) -> Work:
        tables, geometry = part.parameters, part.layout
        numbers, entries = sparse_work(part)
        kernel = costs.Kernel(tables.bits, tables.columns, numbers)
        return Work(kernel, geometry, part.nbytes, tables.padded_weights(geometry), entries)

    def slower_than_dense(self, part: Part, profile: str) -> bool:
        """All but fields whose words kernels look up in registers: others are looked up weight by weight."""
        bits = part.parameters.bits
        return bits is None or bits > costs.FAST_BITS

    def samples(self, normal: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
        """So many distinct words for each row or so many of its columns, at no regular distances, as of k-means."""
        rows, width = normal.shape
        for columns, words in ((width, 15), (min(128, width), 14)):
            groups = width // columns
            tables = np.sort(rng.standard_normal((rows, groups, words), dtype=np.float32)) * np.float32(0.02)
            chosen = rng.integers(words, size=(rows, groups, columns))
            yield f"{words} words by {columns}", np.take_along_axis(tables, chosen, axis=2).reshape(normal.shape)

    def slice_panels(self, part: Part, span: Span) -> Run:
        tables = part.parameters
        table = tables.groups(part.layout) * PANEL_ROWS * tables.entries * part.word.itemsize
        own = {TABLES: part.components[TABLES][span.panels[0] * table : span.panels[1] * table]}
        return Run(own | dict(super().slice_panels(part, span).streams))


row_palette = RowPalette()
