"""`row_palette`: tables and indices of a tensor, exact sizes, encoding; the NumPy reference where the native module is
missing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tersely.backends.cpu import native
from tersely.codes.affine.layout import GROUP_COLUMNS
from tersely.codes.affine.reference import lines_of
from tersely.codes.row_palette import reference
from tersely.codes.row_palette.layout import INDICES, TABLES, Tables, field_bits, most_entries
from tersely.core.encoded import index_bytes, stored, stream_bytes
from tersely.core.geometry import PANEL_ROWS, Geometry


@dataclass(frozen=True)
class Indexed:
    """A tensor of few distinct words a row or group. words: C-contiguous; tables: of lines."""

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
        tables = np.zeros((self.tables.places(self.geometry), PANEL_ROWS, entries), self.words.dtype)
        indices = np.empty(self.words.shape, np.uint8)
        native.module.row_palette_encode(
            self.words, self.dtype, native.shape_of(self.geometry), columns, entries, tables, indices, self.threads
        )
        return tables, indices

    @property
    def indices(self) -> np.ndarray:
        """uint8 in the tensor's shape."""
        return self._encoded[1]

    def lines_bytes(self) -> int:
        """Stored bytes of all components with indices in lines."""
        return sum(self.tables.component_bytes(self.geometry, self.dtype).values())

    def table_components(self) -> dict[str, np.ndarray]:
        return {TABLES: stored(self._encoded[0], index_bytes)}

    def line_components(self, threads: int) -> dict[str, np.ndarray]:
        bits = self.tables.bits
        assert bits is not None
        if not native.available():
            lines = stored(lines_of(self.indices, self.geometry, bits), stream_bytes)
        else:
            size = self.tables.component_bytes(self.geometry, self.dtype)[INDICES]
            lines = np.zeros(size, np.uint8)
            native.module.affine_lines(self.indices, native.shape_of(self.geometry), bits, lines, threads)
        return self.table_components() | {INDICES: lines}


def columns_of(geometry: Geometry) -> tuple[int, ...]:
    """Columns of a group that are worth a look, 0 for all: none where rows are too short for tables."""
    if geometry.view == "folded" or not geometry.segments:
        return ()
    # Columns of a convolution are taps of channels, in an order of their own: nobody groups them.
    grouped = GROUP_COLUMNS if geometry.view in ("matrix", "stack") else ()
    return (0, *(some for some in grouped if some < geometry.columns))


def indexed(words: np.ndarray, geometry: Geometry, dtype: str, columns: int, threads: int = 1) -> Indexed | None:
    """With so many columns a group, 0 for all of a row; None where tables would need too many words, or none."""
    if not words.size:
        return None
    most = most_entries(geometry, columns)
    if native.available():
        shape = native.shape_of(geometry)
        entries = native.module.row_palette_entries(words, dtype, shape, columns, most, threads)
    else:
        entries = reference.entries_of(words, geometry, dtype, columns, most)
    if not entries:
        return None
    return Indexed(words, dtype, geometry, Tables(columns, entries, field_bits(entries)), threads)
