"""`sparse` in plain NumPy: encode and decode. Slow, short, and the oracle of every kernel.

elias_fano: P. Elias, "Efficient Storage and Retrieval by Content and Address of Static Files", 1974,
doi:10.1145/321812.321820; R. M. Fano, "On the number of bits required to implement an associative memory", 1971.
gaps: the order of rows is that of SELL-C-sigma; gaps.hpp cites it.
FORMAT: docs/FORMAT.md, "Selection".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from tersely.codes.node import prefixed
from tersely.codes.protocol import Values
from tersely.codes.selection.sparse.layout import (
    BLOCK_CODES,
    BLOCK_STEPS,
    CHILD,
    LARGEST_GAP,
    VALUE_BYTES,
    WINDOW_ROWS,
    Positions,
    bit_order,
    positions_of,
    slots,
)
from tersely.codes.selection.sparse.values import BY_NAME
from tersely.codes.words.split.reference import from_chunks, to_chunks
from tersely.core.encoded import Node, index_bytes, stored, stream_bytes
from tersely.core.errors import ArgumentError
from tersely.core.geometry import CHUNK_WEIGHTS, PANEL_ROWS, SEGMENT_COLUMNS, Geometry

NOT_N_OF_M = "some {m} neighbouring columns of a row have more than {n} values, so it is not {n}:{m}: use 'bitmap'"


def encode(words: np.ndarray, geometry: Geometry, dtype: str, node: Node) -> dict[str, np.ndarray]:
    """Components of the tensor's words under a node, slack included. Raises ArgumentError where n_of_m does not fit."""
    positions, child = positions_of(node, dtype), node.children[CHILD]
    coding = BY_NAME.get(child.formulation)
    if positions.kind == "gaps":
        found, entries, blocks = encode_gaps(words, geometry)
        if coding is None:
            return found | {VALUE_BYTES: stored(entries, stream_bytes)}
        return found | prefixed(CHILD, coding.encode_values(child, Values(entries, blocks, dtype)))
    if positions.kind == "n_of_m":
        codes, pieces = encode_codes(words, geometry, dtype, positions)
        found = {"codes": stored(codes, stream_bytes)}
    else:
        masks, pieces = encode_masks(words, geometry, dtype)
        found = {"masks": stored(masks, stream_bytes)} if positions.kind == "bitmap" else {}
    filled = pieces if coding is None else [fill(piece) for piece in pieces]
    starts = np.cumsum([0, *(piece.size for piece in filled)], dtype="<u8")
    if positions.kind == "elias_fano":
        upper, lower = encode_elias_fano(masks, geometry, positions, starts)
        found |= {"upper": stored(upper, stream_bytes), "lower": stored(lower, stream_bytes)}
    if positions.kind != "n_of_m":
        found["directory"] = stored(starts, index_bytes)
    sequence = np.concatenate([np.zeros(0, words.dtype), *filled])
    if coding is None:
        return found | {VALUE_BYTES: stored(sequence, stream_bytes)}
    groups = np.array([piece.size // CHUNK_WEIGHTS for piece in filled], np.int64)
    return found | prefixed(CHILD, coding.encode_values(child, Values(sequence, groups, dtype)))


def decode(
    components: Mapping[str, np.ndarray],
    geometry: Geometry,
    dtype: str,
    positions: Positions,
    starts: np.ndarray,
    values: np.ndarray,
) -> np.ndarray:
    """Inverse of `encode`: the tensor's words. Components must be valid.

    starts: int64, values before each segment, or before each group of lanes. values: all of them, as words.
    """
    if positions.kind == "gaps":
        return decode_gaps(components, geometry, values)
    if positions.kind == "bitmap":
        return decode_masks(components["masks"], geometry, dtype, values, starts)
    if positions.kind == "elias_fano":
        masks = decode_elias_fano(components, geometry, positions, starts)
        return decode_masks(masks.reshape(-1), geometry, dtype, values, starts)
    return decode_codes(components["codes"], geometry, dtype, positions, values, starts)


def fill(part: np.ndarray) -> np.ndarray:
    """A segment's values as whole groups: the last one is repeated."""
    return np.concatenate([part, np.repeat(part[-1:], -part.size % CHUNK_WEIGHTS)])


def encode_masks(words: np.ndarray, geometry: Geometry, dtype: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """The masks of all chunks, and the values of each segment."""
    chunks, _ = to_chunks(words, geometry)
    ordered = chunks.reshape(-1, CHUNK_WEIGHTS)[:, np.argsort(bit_order(dtype).reshape(-1))]
    bits = ordered != 0
    values = [ordered[first:last][bits[first:last]] for first, last in geometry.segment_chunks()]
    return np.packbits(bits, axis=1, bitorder="little"), values


def decode_masks(
    masks: np.ndarray, geometry: Geometry, dtype: str, values: np.ndarray, starts: np.ndarray
) -> np.ndarray:
    """A chunk whose values are not all there (a damaged file) is zeros and takes none."""
    chunk_count = geometry.panels * geometry.chunks_per_panel
    bits = np.unpackbits(masks[: chunk_count * 8].reshape(chunk_count, 8), axis=1, bitorder="little").astype(bool)
    ordered = np.zeros((chunk_count, CHUNK_WEIGHTS), values.dtype)
    for segment, (first, last) in enumerate(geometry.segment_chunks()):
        at, stop = int(starts[segment]), int(starts[segment + 1])
        for chunk in range(first, last):
            count = int(np.count_nonzero(bits[chunk]))
            if at + count <= stop:
                ordered[chunk, bits[chunk]] = values[at : at + count]
                at += count
    return from_chunks(ordered[:, bit_order(dtype).reshape(-1)].reshape(-1, PANEL_ROWS, 4), geometry)


def encode_elias_fano(
    masks: np.ndarray, geometry: Geometry, positions: Positions, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`upper` and `lower` for the set bits of all masks (bytes [chunks, 8]); starts: values before each segment."""
    bits = positions.low_bits
    words = positions.upper_starts(geometry, starts).astype(np.int64)
    ones = np.zeros(int(words[-1]) * 64, bool)
    low = np.zeros((int(starts[-1]), bits), np.uint8)
    for segment, (first, last) in enumerate(geometry.segment_chunks()):
        at = np.flatnonzero(np.unpackbits(masks[first:last], bitorder="little"))
        ones[words[segment] * 64 + (at >> bits) + np.arange(at.size)] = True
        own = low[int(starts[segment]) : int(starts[segment]) + at.size]
        own[...] = at[:, None] >> np.arange(bits) & 1
    return np.packbits(ones, bitorder="little"), np.packbits(low.reshape(-1), bitorder="little")


def decode_elias_fano(
    components: Mapping[str, np.ndarray], geometry: Geometry, positions: Positions, starts: np.ndarray
) -> np.ndarray:
    """Masks, bytes [chunks, 8]. Positions beyond a segment and values that it has not (a damaged file) are left out."""
    bits = positions.low_bits
    words = positions.upper_starts(geometry, starts).astype(np.int64)
    low = np.unpackbits(components["lower"], count=int(starts[-1]) * bits, bitorder="little").reshape(
        int(starts[-1]), bits
    )
    low = (low.astype(np.int64) << np.arange(bits)).sum(axis=1, dtype=np.int64)
    masks = np.zeros((geometry.panels * geometry.chunks_per_panel, 8), np.uint8)
    for segment, (first, last) in enumerate(geometry.segment_chunks()):
        own = components["upper"][words[segment] * 8 : words[segment + 1] * 8]
        ones = np.flatnonzero(np.unpackbits(own, bitorder="little"))[: int(starts[segment + 1] - starts[segment])]
        at = (ones - np.arange(ones.size)) << bits | low[int(starts[segment]) :][: ones.size]
        set_bits = np.zeros((last - first) * CHUNK_WEIGHTS, bool)
        set_bits[at[at < set_bits.size]] = True
        masks[first:last] = np.packbits(set_bits, bitorder="little").reshape(-1, 8)
    return masks


def segment_blocks(geometry: Geometry, positions: Positions) -> list[tuple[slice, slice]]:
    """(panels, blocks of a panel) of each segment."""
    blocks = positions.blocks(geometry.chunks_per_panel)
    if geometry.segments_per_panel > 1:
        step = SEGMENT_COLUMNS // positions.m
        across = [slice(first, min(first + step, blocks)) for first in range(0, blocks, step)]
        return [(slice(panel, panel + 1), own) for panel in range(geometry.panels) for own in across]
    found = []
    for matrix in range(geometry.count if geometry.columns else 0):
        for first in range(0, geometry.panels_per_matrix, geometry.panels_per_unit):
            last = min(first + geometry.panels_per_unit, geometry.panels_per_matrix)
            base = matrix * geometry.panels_per_matrix
            found.append((slice(base + first, base + last), slice(0, blocks)))
    return found


def encode_codes(
    words: np.ndarray, geometry: Geometry, dtype: str, positions: Positions
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The codes of all panels, and the values of each segment. Raises ArgumentError where a block has over n values."""
    n, m, bits = positions.n, positions.m, positions.code_bits
    blocks = positions.blocks(geometry.chunks_per_panel)
    rows = np.zeros((geometry.panels * PANEL_ROWS, blocks * m), words.dtype)
    rows[:, : geometry.columns] = rows_of(words, geometry)
    blocked = rows.reshape(geometry.panels, PANEL_ROWS, blocks, m)
    if (np.count_nonzero(blocked, axis=-1) > n).any():
        raise ArgumentError(NOT_N_OF_M.format(n=n, m=m))
    # What has values first, then the leftmost zeros; in the order of the columns.
    columns = np.sort(np.argsort(blocked == 0, axis=-1, kind="stable")[..., :n], axis=-1)
    number = np.zeros(1 << m, np.uint64)
    for code, selection in enumerate(positions.selections()):
        number[sum(1 << column for column in selection)] = code
    across = -(-blocks // BLOCK_CODES)  # named in shapes: there may be no panel to infer it from
    codes = np.zeros((geometry.panels, PANEL_ROWS, across * BLOCK_CODES), np.uint64)
    codes[:, :, :blocks] = number[(1 << columns).sum(axis=-1)]
    tiles = codes.reshape(geometry.panels, PANEL_ROWS, across, BLOCK_CODES).swapaxes(1, 2)
    shifted = tiles << (np.arange(BLOCK_CODES, dtype=np.uint64) * np.uint64(bits))
    lanes = np.bitwise_or.reduce(shifted, axis=-1).astype("<u8")
    packed = np.ascontiguousarray(lanes).view(np.uint8).reshape(*lanes.shape, 8)[..., :bits]
    values = (
        np.take_along_axis(blocked, columns, axis=-1).swapaxes(1, 2).reshape(geometry.panels, blocks, PANEL_ROWS * n)
    )
    values = values[:, :, np.argsort(slots(dtype, n).reshape(-1))]
    return packed, [values[panels, own].reshape(-1) for panels, own in segment_blocks(geometry, positions)]


def decode_codes(
    codes: np.ndarray, geometry: Geometry, dtype: str, positions: Positions, values: np.ndarray, starts: np.ndarray
) -> np.ndarray:
    n, m, bits = positions.n, positions.m, positions.code_bits
    blocks = positions.blocks(geometry.chunks_per_panel)
    across = -(-blocks // BLOCK_CODES)
    used = codes[: geometry.panels * positions.panel_bytes(geometry)]
    used = used.reshape(geometry.panels, across, PANEL_ROWS, bits)
    lanes = np.zeros((*used.shape[:3], 8), np.uint8)
    lanes[..., :bits] = used
    fields = lanes.view("<u8") >> (np.arange(BLOCK_CODES, dtype=np.uint64) * np.uint64(bits))
    fields = (fields & np.uint64((1 << bits) - 1)).astype(np.int64).swapaxes(1, 2)
    fields = fields.reshape(geometry.panels, PANEL_ROWS, across * BLOCK_CODES)[:, :, :blocks]
    selections = np.array(positions.selections())
    columns = selections[np.minimum(fields, len(selections) - 1)]
    ordered = np.zeros((geometry.panels, blocks, PANEL_ROWS * n), values.dtype)
    for segment, (panels, own_blocks) in enumerate(segment_blocks(geometry, positions)):
        part = ordered[panels, own_blocks]
        part[...] = values[starts[segment] : starts[segment] + part.size].reshape(part.shape)
    chosen = ordered[:, :, slots(dtype, n).reshape(-1)].reshape(geometry.panels, blocks, PANEL_ROWS, n).swapaxes(1, 2)
    rows = np.zeros((geometry.panels, PANEL_ROWS, blocks, m), values.dtype)
    np.put_along_axis(rows, columns, chosen, axis=-1)
    cube = rows.reshape(geometry.count, geometry.panels_per_matrix * PANEL_ROWS, blocks * m)
    return geometry.tensor(np.ascontiguousarray(cube[:, : geometry.rows, : geometry.columns]))


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


def encode_gaps(words: np.ndarray, geometry: Geometry) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Components without the values; the values; blocks of each group of lanes."""
    rows = rows_of(words, geometry)
    entries = [entries_of(row) for row in rows]
    lanes, blocks = sort_lanes(np.array([gaps.size for gaps, _ in entries]), geometry)
    starts = np.cumsum([0, *blocks], dtype="<u8")
    gaps = np.zeros((int(starts[-1]) * BLOCK_STEPS, PANEL_ROWS), np.uint8)
    values = np.zeros(gaps.shape, words.dtype)
    for window in windows(geometry):
        for lane_row in range(window.start, window.stop):
            row_gaps, row_words = entries[window.start + int(lanes[lane_row])]
            group, lane = divmod(lane_row, PANEL_ROWS)
            first = int(starts[group]) * BLOCK_STEPS
            gaps[first : first + row_gaps.size, lane] = row_gaps
            values[first : first + row_gaps.size, lane] = row_words
    components = {
        "gaps": stored(gaps, stream_bytes),
        "rows": stored(lanes, index_bytes),
        "directory": stored(starts, index_bytes),
    }
    return components, values.reshape(-1), blocks


def decode_gaps(components: Mapping[str, np.ndarray], geometry: Geometry, words: np.ndarray) -> np.ndarray:
    """Columns beyond the last one (a damaged file) are the last one."""
    padded_rows = geometry.panels * PANEL_ROWS
    lanes = components["rows"][:padded_rows]
    starts = components["directory"][: (geometry.panels + 1) * 8].view("<u8").astype(np.int64) * BLOCK_STEPS
    gaps = components["gaps"][: starts[-1] * PANEL_ROWS].reshape(-1, PANEL_ROWS)
    values = words[: gaps.size].reshape(-1, PANEL_ROWS)
    rows = np.zeros((padded_rows, geometry.columns), words.dtype)
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
