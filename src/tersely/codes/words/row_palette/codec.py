"""`row_palette`: tables and indices of a tensor, exact sizes, encoding; the NumPy reference where the native module is
missing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tersely.backends.cpu import native
from tersely.codes.words.affine.row_fields import columns_tried, pack
from tersely.codes.words.row_palette import reference
from tersely.codes.words.row_palette.layout import INDICES, TABLES, Tables, field_bits, max_entries
from tersely.core.encoded import index_bytes, stored
from tersely.core.geometry import PANEL_ROWS, Geometry


@dataclass(frozen=True)
class Indexed:
    """A tensor of few distinct words a row or group. words: C-contiguous; tables: of row fields."""

    words: np.ndarray
    dtype: str
    geometry: Geometry
    tables: Tables
    threads: int = 1

    @cached_property
    def _encoded(self) -> tuple[np.ndarray, np.ndarray]:
        columns, entries = self.tables.columns, self.tables.entries
        if not native.available():
            return reference.encode(self.words, self.geometry, self.dtype, columns, entries)
        tables = np.zeros((self.tables.all_groups(self.geometry), PANEL_ROWS, entries), self.words.dtype)
        indices = np.empty(self.words.shape, np.uint8)
        native.module.row_palette_encode(
            self.words, self.dtype, native.shape_of(self.geometry), columns, entries, tables, indices, self.threads
        )
        return tables, indices

    @property
    def indices(self) -> np.ndarray:
        """uint8 in the tensor's shape."""
        return self._encoded[1]

    def fields_bytes(self) -> int:
        """Stored bytes of all components with indices in row fields."""
        return sum(self.tables.component_bytes(self.geometry, self.dtype).values())

    def components(self, tables: Tables, threads: int) -> dict[str, np.ndarray]:
        """All components but coded indices. tables: the tensor's own, or those without bits."""
        found = {TABLES: stored(self._encoded[0], index_bytes)}
        if tables.bits is None:
            return found
        return found | {INDICES: pack(self.indices, self.geometry, tables.bits, threads)}


def columns_of(geometry: Geometry) -> tuple[int, ...]:
    """Columns of a group that are worth a look, 0 for all: none where rows are too short for tables."""
    if geometry.view == "folded" or not geometry.segments:
        return ()
    return columns_tried(geometry)


def indexed(words: np.ndarray, geometry: Geometry, dtype: str, columns: int, threads: int = 1) -> Indexed | None:
    """So many columns a group, 0 for all of a row; None where tables would need too many words, or none."""
    if not words.size:
        return None
    limit = max_entries(geometry, columns)
    if native.available():
        shape = native.shape_of(geometry)
        entries = native.module.row_palette_entries(words, dtype, shape, columns, limit, threads)
    else:
        entries = reference.entries_of(words, geometry, dtype, columns, limit)
    if not entries:
        return None
    return Indexed(words, dtype, geometry, Tables(columns, entries, field_bits(entries)), threads)
