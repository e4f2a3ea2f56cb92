"""`split` in plain NumPy: encode, decode, product. Slow, short, and the oracle of every kernel.

A tensor becomes chunks of 64 words in the order of `layout.positions`; each word is split into symbol, odd bits, byte
and tail; symbols are coded segment by segment, the rest lies beside the code words in the tiles.
FORMAT: docs/FORMAT.md, "Exponents".
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tersely.codes.layouts import Groups
from tersely.codes.symbols import reference as codes
from tersely.codes.words.split.layout import FIELDS, TAIL_KINDS, Parameters
from tersely.core.encoded import index_bytes, stream_bytes
from tersely.core.geometry import CHUNK_WEIGHTS, PANEL_ROWS, TILE_CHUNKS, Geometry


def to_chunks(words: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Tensor words to [chunks, 16, 4], padded with zeros, and the mask of real weights."""

    def to_panels(cube: np.ndarray) -> np.ndarray:
        count, rows, columns = cube.shape
        padded = np.zeros(
            (count, geometry.panels_per_matrix * PANEL_ROWS, geometry.chunks_per_panel * 4), dtype=cube.dtype
        )
        padded[:, :rows, :columns] = cube
        panels = padded.reshape(geometry.panels, PANEL_ROWS, geometry.chunks_per_panel, 4)
        return panels.swapaxes(1, 2).reshape(-1, PANEL_ROWS, 4)

    cube, real = geometry.matrices(words)
    return to_panels(cube), to_panels(real)


def from_chunks(chunks: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Inverse of `to_chunks`: [chunks, 16, 4] to the tensor's words."""
    panels = chunks.reshape(geometry.panels, geometry.chunks_per_panel, PANEL_ROWS, 4).swapaxes(1, 2)
    padded = panels.reshape(geometry.count, geometry.panels_per_matrix * PANEL_ROWS, geometry.chunks_per_panel * 4)
    return geometry.tensor(padded[:, : geometry.rows, : geometry.columns])


def split_words(words: np.ndarray, dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Words to (symbols u8, odd bits u8 with bit k = plane k, bytes u8, tails u16)."""
    fields = FIELDS[dtype]
    head = words >> np.uint32(16) if dtype == "float32" else words
    tails = (words & np.uint32(0xFFFF)) if dtype == "float32" else np.zeros_like(words)
    symbols = (head >> fields.symbol_shift) & ((1 << fields.symbol_bits) - 1)
    odd = sum((((head & value) != 0) << k for k, value in enumerate(fields.odd_values)), np.zeros(1, int))
    octets = (head << 1 | head >> 15) & 0xFF if fields.rotated else head & 0xFF
    if not fields.has_byte:
        octets = np.zeros_like(head)
    shape = words.shape
    return (
        symbols.astype(np.uint8),
        np.broadcast_to(odd, shape).astype(np.uint8),
        octets.astype(np.uint8),
        tails.astype(np.uint16),
    )


def join_words(
    symbols: np.ndarray, odd: np.ndarray, octets: np.ndarray, tails: np.ndarray, dtype: str, word: np.dtype
) -> np.ndarray:
    """Inverse of `split_words`."""
    fields = FIELDS[dtype]
    head = (symbols.astype(np.uint32) & ((1 << fields.symbol_bits) - 1)) << fields.symbol_shift
    for k, value in enumerate(fields.odd_values):
        head |= ((odd >> k) & 1).astype(np.uint32) * np.uint32(value)
    if fields.rotated:
        head |= octets.astype(np.uint32) >> 1 | (octets.astype(np.uint32) & 1) << 15
    elif fields.has_byte:
        head |= octets
    return (head << 16 | tails).astype(word) if dtype == "float32" else head.astype(word)


def tail_kinds(tails: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Per panel, the index in TAIL_KINDS of the shortest tail that holds every weight: uint8 [panels]."""
    by_panel = tails.reshape(geometry.panels, geometry.chunks_per_panel * CHUNK_WEIGHTS)
    used = np.bitwise_or.reduce(by_panel, axis=1, initial=0)
    return np.where(used == 0, 0, np.where(used & 0x1FFF, 2, 1)).astype(np.uint8)


def matrix_tiles(geometry: Geometry) -> list[tuple[int, int, int]]:
    """(first chunk, last chunk, panel) of every tile."""
    step = geometry.chunks_per_panel
    return [
        (panel * step + chunk, panel * step + min(chunk + TILE_CHUNKS, step), panel)
        for panel in range(geometry.panels)
        for chunk in range(0, step, TILE_CHUNKS)
    ]


def vector_order(dtype: str) -> np.ndarray:
    """int64 [16, 4]: which value of a group of 64 stands at (row, column) of its chunk."""
    row, column = np.mgrid[0:PANEL_ROWS, 0:4]
    return column // 2 * 32 + row * 2 + column % 2 if dtype == "bfloat16" else column * PANEL_ROWS + row


def encode(words: np.ndarray, layout: Geometry | Groups, dtype: str, parameters: Parameters) -> dict[str, np.ndarray]:
    """Components of unsigned words: a tensor's in its own shape, or a sequence of values. uint8 arrays with slack."""
    if isinstance(layout, Groups):
        chunks = words.reshape(-1, CHUNK_WEIGHTS)[:, vector_order(dtype).reshape(-1)].reshape(-1, PANEL_ROWS, 4)
        real, short = np.ones(chunks.shape, bool), np.zeros(1, bool)
        return encode_chunks(chunks, real, dtype, parameters, layout.segment_chunks(), layout.tiles(), short)
    geometry = layout
    chunks, real = to_chunks(words, geometry)
    limit = TAIL_KINDS.index(parameters.short_tail) if parameters.short_tail else -1
    short = tail_kinds(split_words(chunks, dtype)[3], geometry) <= limit
    return encode_chunks(chunks, real, dtype, parameters, geometry.segment_chunks(), matrix_tiles(geometry), short)


def encode_chunks(
    chunks: np.ndarray,
    real: np.ndarray,
    dtype: str,
    parameters: Parameters,
    segments: list[tuple[int, int]],
    tiles: list[tuple[int, int, int]],
    short: np.ndarray,
) -> dict[str, np.ndarray]:
    """Components of chunks [n, 16, 4], in segments of (first, last) chunk. short: which panels have the short tail."""
    fields = FIELDS[dtype]
    symbols, odd, octets, tails = split_words(chunks, dtype)
    # FORMAT: padding has the first symbol of the table and zeros elsewhere, or the constant byte.
    symbols[~real] = parameters.table[0]
    octets[~real] = parameters.byte or 0
    order = np.argsort(fields.positions.reshape(-1))
    symbols, odd, octets = (piece.reshape(-1, 64)[:, order] for piece in (symbols, odd, octets))
    if fields.tail_positions is not None:
        tails = tails.reshape(-1, 64)[:, np.argsort(fields.tail_positions.reshape(-1))]

    streams: dict[str, list[np.ndarray]] = {name: [] for name in parameters.streams}
    code_words = np.zeros((len(symbols), parameters.code_bytes), dtype=np.uint8)
    lengths = []
    for first, last in segments:
        sequence = symbols[first:last].reshape(-1)
        pieces: list[np.ndarray] = []
        if parameters.code == "packed":
            code_words[first:last], escapes = codes.encode_packed(sequence, parameters.table)
            pieces = [escapes]
        elif parameters.code == "layered":
            levels, escapes = codes.encode_layered(sequence, parameters.widths, parameters.table)
            code_words[first:last] = levels[0].astype("<u8").view(np.uint8).reshape(last - first, parameters.code_bytes)
            pieces = [*levels[1:], escapes]
        for name, piece in zip(streams, pieces, strict=True):
            streams[name].append(np.ascontiguousarray(piece).reshape(-1))
        lengths.append([piece.shape[0] for piece in pieces])

    out = []
    for first, last, panel in tiles:
        kind = parameters.short_tail if short[panel] else parameters.tail
        tile = slice(first, last)
        unit = code_words[tile].reshape(last - first, -1, 8 if parameters.code == "layered" else 32)
        out.append(unit.swapaxes(0, 1).reshape(-1))  # plane-major
        out.append(_planes(odd[tile], len(fields.odd_values)))
        if fields.has_byte and parameters.byte is None:
            out.append(octets[tile].reshape(-1))
        if kind == "word":
            out.append(np.ascontiguousarray(tails[tile], "<u2").reshape(-1).view(np.uint8))
        elif kind == "bits3":
            out.append(_planes(tails[tile] >> 13, 3))
    components = {"tiles": _stored(out, stream_bytes)}
    if parameters.short_tail is not None:
        components["short_panels"] = _stored([np.packbits(short, bitorder="little")], index_bytes)
    if parameters.streams:
        starts = np.zeros((len(segments) + 1, len(parameters.streams)), dtype="<u8")
        starts[1:] = np.cumsum(np.array(lengths, dtype="<u8").reshape(starts[1:].shape), axis=0)
        components["directory"] = _stored([starts.view(np.uint8).reshape(-1)], index_bytes)
    for name, pieces in streams.items():
        components[name] = _stored([piece.view(np.uint8) for piece in pieces], stream_bytes)
    return components


def _planes(bits: np.ndarray, width: int) -> np.ndarray:
    """Chunks' bits [c, 64] to plane-major bytes: plane 0 of all chunks, then plane 1."""
    if not width:
        return np.empty(0, np.uint8)
    return np.ascontiguousarray(codes.pack_planes(bits.reshape(-1), width).T.astype("<u8")).view(np.uint8).reshape(-1)


def _stored(pieces: list[np.ndarray], stored_bytes: object) -> np.ndarray:
    used = np.concatenate([np.empty(0, np.uint8), *pieces])
    component = np.zeros(stored_bytes(used.size), dtype=np.uint8)  # type: ignore[operator]
    component[: used.size] = used
    return component


def decode(
    components: Mapping[str, np.ndarray],
    layout: Geometry | Groups,
    dtype: str,
    parameters: Parameters,
    word: np.dtype,
) -> np.ndarray:
    """Inverse of `encode`: the words. Components must be valid."""
    if isinstance(layout, Groups):
        segments, short = layout.segment_chunks(), np.zeros(1, bool)
        chunks = decode_chunks(components, dtype, parameters, word, segments, layout.tiles(), short)
        return chunks.reshape(-1, CHUNK_WEIGHTS)[:, np.argsort(vector_order(dtype).reshape(-1))].reshape(-1)
    geometry = layout
    short = np.zeros(geometry.panels, bool)
    if parameters.short_tail is not None:
        short = np.unpackbits(components["short_panels"], bitorder="little", count=geometry.panels).astype(bool)
    tiles = matrix_tiles(geometry)
    return from_chunks(
        decode_chunks(components, dtype, parameters, word, geometry.segment_chunks(), tiles, short), geometry
    )


def decode_chunks(
    components: Mapping[str, np.ndarray],
    dtype: str,
    parameters: Parameters,
    word: np.dtype,
    segments: list[tuple[int, int]],
    tiles: list[tuple[int, int, int]],
    short: np.ndarray,
) -> np.ndarray:
    """Inverse of `encode_chunks`."""
    fields = FIELDS[dtype]
    chunk_count = segments[-1][1] if segments else 0
    code_words = np.zeros((chunk_count, parameters.code_bytes), np.uint8)
    odd, octets = np.zeros((chunk_count, 64), np.uint8), np.full((chunk_count, 64), parameters.byte or 0, np.uint8)
    tails, symbols = np.zeros((chunk_count, 64), np.uint16), np.zeros((chunk_count, 64), np.uint8)
    stream, at = components["tiles"], 0

    def take(size: int) -> np.ndarray:
        nonlocal at
        at += size
        return stream[at - size : at]

    for first, last, panel in tiles:
        kind = parameters.short_tail if short[panel] else parameters.tail
        tile, c = slice(first, last), last - first
        step = 8 if parameters.code == "layered" else 32
        raw = take(c * parameters.code_bytes).reshape(-1, c, step)
        code_words[tile] = raw.swapaxes(0, 1).reshape(c, -1)
        odd[tile] = _unplanes(take(c * 8 * len(fields.odd_values)), c)
        if fields.has_byte and parameters.byte is None:
            octets[tile] = take(c * 64).reshape(c, 64)
        if kind == "word":
            tails[tile] = take(c * 128).view("<u2").reshape(c, 64)
        elif kind == "bits3":
            tails[tile] = _unplanes(take(c * 24), c).astype(np.uint16) << 13

    directory = components.get("directory", np.empty(0, np.uint8))
    starts = directory[: (len(segments) + 1) * 8 * len(parameters.streams)].view("<u8")
    starts = starts.reshape(-1, len(parameters.streams) or 1)
    for segment, (first, last) in enumerate(segments):
        if parameters.code == "constant":
            symbols[first:last] = parameters.table[0]
            continue
        spans = [(int(a), int(b)) for a, b in zip(starts[segment], starts[segment + 1], strict=True)]
        escapes = components["escapes"][slice(*spans[-1])]
        if parameters.code == "packed":
            decoded = codes.decode_packed(code_words[first:last], escapes, parameters.table)
        else:
            levels = [code_words[first:last].view("<u8").reshape(last - first, parameters.widths[0])]
            for name, width, (start, stop) in zip(parameters.streams[:-1], parameters.widths[1:], spans, strict=False):
                words = components[name][start * 8 * width : stop * 8 * width]
                levels.append(words.view("<u8").reshape(-1, width))
            decoded = codes.decode_layered(levels, escapes, parameters.widths, parameters.table)
        symbols[first:last] = decoded.reshape(-1, 64)

    order = fields.positions.reshape(-1)
    tails = tails if fields.tail_positions is None else tails[:, fields.tail_positions.reshape(-1)]
    words = join_words(symbols[:, order], odd[:, order], octets[:, order], tails, dtype, word)
    return words.reshape(-1, PANEL_ROWS, 4)


def _unplanes(raw: np.ndarray, c: int) -> np.ndarray:
    if not raw.size:
        return np.zeros((c, 64), np.uint8)
    return codes.unpack_planes(raw.view("<u8").reshape(-1, c).T).reshape(c, 64)


def linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """x [batch, columns] @ weight [rows, columns].T + bias in float64: what fused products are compared with."""
    y = x.astype(np.float64) @ weight.astype(np.float64).T
    return y if bias is None else y + bias.astype(np.float64)
