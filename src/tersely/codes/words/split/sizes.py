"""Exact size of `split` under every code, from one pass of statistics: nothing is encoded to be measured.

For each segment we know how often every symbol occurs. With a table sorted by frequency, the survivors of a level are
the symbols beyond its part of the table, so the stored words of all levels follow by sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tersely.codes.layouts import Layout
from tersely.codes.symbols.reference import level_symbols
from tersely.codes.words.split.layout import FIELDS, MAXIMUM_WIDTH, TAIL_BYTES, TAIL_KINDS, Parameters
from tersely.core.encoded import SLACK_BYTES, index_bytes, stream_bytes

Code = tuple[str, tuple[int, ...]]
"""A code of symbols and its widths."""
PLANNED_LEVELS = 4
"""More levels than this never won on real networks: the share of the fifth is below 0.4 %."""


@dataclass(frozen=True)
class Statistics:
    """What one pass over a tensor finds.

    histograms: uint32 [segments, 256], counts of each symbol among real weights.
    tail_kinds: uint8 [panels], index in TAIL_KINDS of the shortest tail that holds the panel.
    byte: value of the byte plane where it is the same for all real weights, else None.
    """

    histograms: np.ndarray
    tail_kinds: np.ndarray
    byte: int | None

    @property
    def symbols(self) -> np.ndarray:
        """All 256 symbols by falling count, ties by value: the order of every table (uint8 [256])."""
        totals = self.histograms.sum(axis=0, dtype=np.int64)
        return np.lexsort((np.arange(256), -totals)).astype(np.uint8)


class SizeModel:
    """Sizes in bytes of the components of a tensor, or of a sequence, under any `Parameters`, exact to the byte."""

    def __init__(self, statistics: Statistics, layout: Layout, dtype: str) -> None:
        self.statistics, self.layout, self.dtype = statistics, layout, dtype
        self.order = statistics.symbols
        sorted_counts = statistics.histograms[:, self.order].astype(np.int64)
        beyond = np.zeros((sorted_counts.shape[0], 257), dtype=np.int64)
        beyond[:, :256] = np.cumsum(sorted_counts[:, ::-1], axis=1)[:, ::-1]
        # [r]: symbols of rank r or more, in all segments, as single bytes and as groups of 64 per segment
        self._beyond = beyond
        self._beyond_bytes = beyond.sum(axis=0)
        self._beyond_groups = (-(-beyond // 64)).sum(axis=0)
        self.tail, self.short_tail, self._short_count = self._choose_tails()

    @property
    def short_panels(self) -> np.ndarray:
        """bool [panels]: the panels that the short tail holds."""
        limit = -1 if self.short_tail is None else TAIL_KINDS.index(self.short_tail)
        return self.statistics.tail_kinds.astype(np.int64) <= limit

    def directory(self, parameters: Parameters) -> np.ndarray:
        """uint64 [segments + 1, streams]: where each segment starts in every deeper level (groups) and the escapes."""
        starts = np.zeros((self.layout.segments + 1, len(parameters.streams)), dtype="<u8")
        beyond, start = self._beyond, 0
        for level, width in enumerate(parameters.widths):
            if level:
                starts[1:, level - 1] = -(-beyond[:, start] // 64)
            start += level_symbols(width)
        starts[1:, -1] = beyond[:, len(parameters.table)]
        return np.cumsum(starts, axis=0, dtype="<u8")

    def _choose_tails(self) -> tuple[str, str | None, int]:
        counts = np.bincount(self.statistics.tail_kinds, minlength=len(TAIL_KINDS))
        longest = int(np.flatnonzero(counts).max(initial=0))
        best_gain, best = index_bytes(self.layout.panels // 8 + 1), -1
        for kind in range(longest):
            saved = TAIL_BYTES[TAIL_KINDS[longest]] - TAIL_BYTES[TAIL_KINDS[kind]]
            gain = int(counts[: kind + 1].sum()) * self.layout.chunks_per_panel * saved
            if gain > best_gain:
                best_gain, best = gain, kind
        short = None if best < 0 else TAIL_KINDS[best]
        return TAIL_KINDS[longest], short, int(counts[: best + 1].sum())

    def parameters(self, code: str, widths: tuple[int, ...] = ()) -> Parameters:
        """Parameters with this tensor's table, tails and constant byte filled in."""
        length = {"constant": 1, "packed": 15, "layered": sum(map(level_symbols, widths))}[code]
        table = bytes(self.order[:length])
        return Parameters(code, widths, table, self.statistics.byte, self.tail, self.short_tail)

    def component_bytes(self, parameters: Parameters) -> dict[str, int]:
        """Stored bytes of each component, as `encode` will make them."""
        chunks = self.layout.chunks_per_panel
        short = self._short_count if parameters.short_tail is not None else 0
        used = (self.layout.panels - short) * chunks * parameters.chunk_bytes(self.dtype, parameters.tail)
        used += short * chunks * parameters.chunk_bytes(self.dtype, parameters.short_tail or "none")
        sizes = {"tiles": stream_bytes(used)}
        if parameters.short_tail is not None:
            sizes["short_panels"] = index_bytes(-(-self.layout.panels // 8))
        if parameters.streams:
            sizes["directory"] = index_bytes((self.layout.segments + 1) * 8 * len(parameters.streams))
        start = 0
        for level, width in enumerate(parameters.widths):
            if level:
                sizes[f"level{level + 1}"] = stream_bytes(int(self._beyond_groups[start]) * 8 * width)
            start += level_symbols(width)
        if parameters.streams:
            sizes["escapes"] = stream_bytes(int(self._beyond_bytes[len(parameters.table)]))
        return sizes

    def total(self, parameters: Parameters) -> int:
        return sum(self.component_bytes(parameters).values())

    def smallest(self, levels: int) -> list[Code]:
        """The smallest codes that fit the dtype's alphabet, `layered` with at most `levels` levels: one for each number of
        levels, 'packed' and, where it fits, 'constant'; smallest first."""
        alphabet = 1 << FIELDS[self.dtype].symbol_bits
        chunks = self.layout.panels * self.layout.chunks_per_panel
        layers = _layers(alphabet, levels)
        escapes = _stream_bytes(self._beyond_bytes)
        streams = _stream_bytes(self._beyond_groups[:, None] * (8 * np.arange(MAXIMUM_WIDTH + 1)))
        depths = np.arange(levels + 1)
        directories = (((self.layout.segments + 1) * 8 * depths) + 63) // 64 * 64
        # Bytes that depend on the code.
        layered = chunks * 8 * layers.first + np.append(streams.reshape(-1), 0)[layers.deeper].sum(axis=1)
        layered += directories[layers.depth] + escapes[layers.end]
        found: list[tuple[int, int, Code]] = []
        if self._beyond_bytes[1] == 0:
            found.append((0, 0, ("constant", ())))
        if alphabet > 15:
            directory = index_bytes((self.layout.segments + 1) * 8)
            found.append((chunks * 32 + directory + int(escapes[15]), 0, ("packed", ())))
        for depth, (first, last) in enumerate(layers.runs, 1):
            best = first + int(layered[first:last].argmin())
            found.append((int(layered[best]), depth, ("layered", layers.widths[best])))
        # Of codes of one size that of fewer levels comes first, 'constant' and 'packed' before them all.
        return [code for _, _, code in sorted(found, key=lambda one: one[:2])]


def _stream_bytes(used: np.ndarray) -> np.ndarray:
    """`stream_bytes` of many."""
    return (used + SLACK_BYTES + 63) // 64 * 64


@dataclass(frozen=True)
class _Layers:
    """All widths of `layered` for an alphabet, level by level. widths: the codes. runs: the first and the end of those of one
    level, of two and so on. depth, first, end: levels, the first width and the length of the table of each. deeper:
    indices of the further levels among the streams of every beginning and width, the last one where there is none.
    """

    widths: list[tuple[int, ...]]
    runs: list[tuple[int, int]]
    depth: np.ndarray
    first: np.ndarray
    end: np.ndarray
    deeper: np.ndarray


@lru_cache(maxsize=64)
def _layers(alphabet: int, levels: int) -> _Layers:
    none = 257 * (MAXIMUM_WIDTH + 1)
    widths: list[tuple[int, ...]] = []
    runs: list[tuple[int, int]] = []
    ends: list[int] = []
    deeper: list[list[int]] = []
    begun: list[tuple[tuple[int, ...], int, list[int]]] = [((), 0, [])]
    for _ in range(levels):
        grown = []
        for before, start, streams in begun:
            for width in range(1, MAXIMUM_WIDTH + 1):
                end = start + level_symbols(width)
                if end <= alphabet:
                    own = [start * (MAXIMUM_WIDTH + 1) + width] if before else []
                    grown.append(((*before, width), end, [*streams, *own]))
        begun = grown
        if grown:
            runs.append((len(widths), len(widths) + len(grown)))
        widths += [one[0] for one in grown]
        ends += [one[1] for one in grown]
        deeper += [one[2] + [none] * (max(1, levels - 1) - len(one[2])) for one in grown]
    return _Layers(
        widths,
        runs,
        np.array([len(one) for one in widths], np.int64),
        np.array([one[0] for one in widths], np.int64),
        np.array(ends, np.int64),
        np.array(deeper, np.int64).reshape(len(widths), max(1, levels - 1)),
    )
