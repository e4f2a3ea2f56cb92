"""`sparse` in plain NumPy: encode and decode. Slow, short, and the oracle of every kernel.

FORMAT: docs/FORMAT.md, "The formulation sparse".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from laconic.encoded import index_bytes, stream_bytes
from laconic.formulations.sparse.layout import BLOCK_STEPS, LARGEST_GAP, VALUE_BYTES, WINDOW_ROWS, places
from laconic.formulations.split.reference import from_chunks, to_chunks
from laconic.geometry import CHUNK_WEIGHTS, PANEL_ROWS, Geometry


def encode(words: np.ndarray, geometry: Geometry, dtype: str, positions: str) -> dict[str, np.ndarray]:
    """Components of the tensor's words, slack included."""
    return encode_bitmap(words, geometry, dtype) if positions == "bitmap" else encode_deltas(words, geometry)


def decode(
    components: Mapping[str, np.ndarray], geometry: Geometry, dtype: str, positions: str, word: np.dtype
) -> np.ndarray:
    """Inverse of `encode`: the tensor's words. Components must have passed `validate`."""
    if positions == "bitmap":
        return decode_bitmap(components, geometry, dtype, word)
    return decode_deltas(components, geometry, word)


def encode_bitmap(words: np.ndarray, geometry: Geometry, dtype: str) -> dict[str, np.ndarray]:
    chunks, _ = to_chunks(words, geometry)
    ordered = chunks.reshape(-1, CHUNK_WEIGHTS)[:, np.argsort(places(dtype).reshape(-1))]
    bits = ordered != 0
    counts = [int(np.count_nonzero(bits[first:last])) for first, last in geometry.segment_chunks()]
    return {
        "masks": stored(np.packbits(bits, axis=1, bitorder="little"), stream_bytes),
        "directory": stored(np.cumsum([0, *counts], dtype="<u8"), index_bytes),
        VALUE_BYTES: stored(ordered[bits], stream_bytes),
    }


def decode_bitmap(components: Mapping[str, np.ndarray], geometry: Geometry, dtype: str, word: np.dtype) -> np.ndarray:
    """A chunk whose values are not all there (a damaged file) is zeros and takes none."""
    chunk_count = geometry.panels * geometry.chunks_per_panel
    masks = components["masks"][: chunk_count * 8].reshape(chunk_count, 8)
    bits = np.unpackbits(masks, axis=1, bitorder="little").astype(bool)
    starts = components["directory"][: (geometry.segments + 1) * 8].view("<u8").astype(np.int64)
    stored_values = components[VALUE_BYTES]
    values = stored_values[: stored_values.size // word.itemsize * word.itemsize].view(word)
    ordered = np.zeros((chunk_count, CHUNK_WEIGHTS), word)
    for segment, (first, last) in enumerate(geometry.segment_chunks()):
        at, stop = starts[segment], starts[segment + 1]
        for chunk in range(first, last):
            count = np.count_nonzero(bits[chunk])
            if at + count <= stop:
                ordered[chunk, bits[chunk]] = values[at : at + count]
                at += count
    return from_chunks(ordered[:, places(dtype).reshape(-1)].reshape(-1, PANEL_ROWS, 4), geometry)


def rows_of(words: np.ndarray, geometry: Geometry) -> np.ndarray:
    """The matrices one below the other, each with its rows padded to panels: [panels * 16, columns]."""
    cube, real = geometry.matrices(words)
    padded = np.zeros((geometry.count, geometry.panels_per_matrix * PANEL_ROWS, geometry.columns), words.dtype)
    padded[:, : geometry.rows] = np.where(real, cube, 0)
    return padded.reshape(geometry.panels * PANEL_ROWS, geometry.columns)


def windows(geometry: Geometry) -> Iterator[slice]:
    """Rows of `rows_of` in each window, matrix by matrix."""
    rows = geometry.panels_per_matrix * PANEL_ROWS
    for matrix in range(geometry.count):
        for first in range(0, rows, WINDOW_ROWS):
            yield slice(matrix * rows + first, matrix * rows + min(first + WINDOW_ROWS, rows))


def sort_lanes(entries: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Entries of each row to: rows of all lanes (uint8, inside their window), blocks of each group of 16 lanes."""
    lanes, longest = np.zeros(entries.size, np.uint8), np.zeros(geometry.panels, np.int64)
    for window in windows(geometry):
        order = np.argsort(-entries[window].astype(np.int64), kind="stable")
        lanes[window] = order
        longest[window.start // PANEL_ROWS : window.stop // PANEL_ROWS] = entries[window][order[::PANEL_ROWS]]
    return lanes, -(-longest // BLOCK_STEPS)


def entries_of(row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The gaps and words of one row, fillers among them."""
    columns = np.flatnonzero(row)
    gaps = np.diff(columns, prepend=0)
    fillers = np.maximum(gaps - 1, 0) // LARGEST_GAP
    ends = np.cumsum(fillers + 1) - 1
    found, words = np.full(columns.size + fillers.sum(), LARGEST_GAP), np.zeros(columns.size + fillers.sum(), row.dtype)
    found[ends], words[ends] = gaps - fillers * LARGEST_GAP, row[columns]
    return found, words


def encode_deltas(words: np.ndarray, geometry: Geometry) -> dict[str, np.ndarray]:
    rows = rows_of(words, geometry)
    entries = [entries_of(row) for row in rows]
    lanes, blocks = sort_lanes(np.array([gaps.size for gaps, _ in entries]), geometry)
    starts = np.cumsum([0, *blocks], dtype="<u8")
    gaps = np.zeros((int(starts[-1]) * BLOCK_STEPS, PANEL_ROWS), np.uint8)
    values = np.zeros(gaps.shape, words.dtype)
    for window in windows(geometry):
        for place in range(window.start, window.stop):
            row_gaps, row_words = entries[window.start + int(lanes[place])]
            group, lane = divmod(place, PANEL_ROWS)
            first = int(starts[group]) * BLOCK_STEPS
            gaps[first : first + row_gaps.size, lane] = row_gaps
            values[first : first + row_gaps.size, lane] = row_words
    return {
        "gaps": stored(gaps, stream_bytes),
        "rows": stored(lanes, index_bytes),
        "directory": stored(starts, index_bytes),
        VALUE_BYTES: stored(values, stream_bytes),
    }


def decode_deltas(components: Mapping[str, np.ndarray], geometry: Geometry, word: np.dtype) -> np.ndarray:
    """Columns beyond the last one (a damaged file) are the last one."""
    places = geometry.panels * PANEL_ROWS
    lanes = components["rows"][:places]
    starts = components["directory"][: (geometry.panels + 1) * 8].view("<u8").astype(np.int64) * BLOCK_STEPS
    gaps = components["gaps"][: starts[-1] * PANEL_ROWS].reshape(-1, PANEL_ROWS)
    values = components[VALUE_BYTES][: gaps.size * word.itemsize].view(word).reshape(-1, PANEL_ROWS)
    rows = np.zeros((places, geometry.columns), word)
    for window in windows(geometry):
        for group in range(window.start // PANEL_ROWS, window.stop // PANEL_ROWS):
            own = window.start + lanes[group * PANEL_ROWS : (group + 1) * PANEL_ROWS].astype(np.int64)
            columns = np.cumsum(gaps[starts[group] : starts[group + 1]], axis=0, dtype=np.int64)
            columns = np.minimum(columns, geometry.columns - 1)
            for step, found in enumerate(values[starts[group] : starts[group + 1]]):
                real = found != 0
                rows[own[real], columns[step][real]] = found[real]
    cube = rows.reshape(geometry.count, geometry.panels_per_matrix * PANEL_ROWS, geometry.columns)[:, : geometry.rows]
    return geometry.tensor(cube)


def stored(used: np.ndarray, stored_bytes: object) -> np.ndarray:
    raw = np.ascontiguousarray(used).reshape(-1).view(np.uint8)
    component = np.zeros(stored_bytes(raw.size), dtype=np.uint8)  # type: ignore[operator]
    component[: raw.size] = raw
    return component
