"""What a node codes: a tensor as matrices (`tersely.core.geometry`), or one of the sequences here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tersely.core.geometry import TILE_CHUNKS


class Layout(Protocol):
    """What a node codes, as panels of chunks in segments: a tensor as matrices (`Geometry`), or a sequence."""

    @property
    def panels(self) -> int: ...
    @property
    def chunks_per_panel(self) -> int: ...
    @property
    def segments(self) -> int: ...
    @property
    def segment_lengths(self) -> np.ndarray: ...
    def segment_chunks(self) -> list[tuple[int, int]]: ...


@dataclass(frozen=True)
class Groups:
    """A sequence of values in segments of whole groups of 64: each group is a panel of one chunk.

    groups: int64 [segments].
    """

    groups: np.ndarray
    chunks_per_panel: int = 1

    @property
    def panels(self) -> int:
        return int(self.groups.sum())

    @property
    def segments(self) -> int:
        return int(self.groups.size)

    @property
    def segment_lengths(self) -> np.ndarray:
        """uint64 [segments]: groups of each segment."""
        return self.groups.astype(np.uint64)

    def segment_chunks(self) -> list[tuple[int, int]]:
        ends = np.cumsum(self.groups).tolist()
        return list(zip([0, *ends[:-1]], ends, strict=True)) if ends else []

    def tiles(self) -> list[tuple[int, int, int]]:
        """(first group, last group, 0) of every tile."""
        return [
            (first, min(first + TILE_CHUNKS, stop), 0)
            for start, stop in self.segment_chunks()
            for first in range(start, stop, TILE_CHUNKS)
        ]


@dataclass(frozen=True)
class Words:
    """A plain run of words under `dense`, without segments. Its component has slack, as streams have."""

    count: int
    panels: int = 0
    chunks_per_panel: int = 0
    segments: int = 0

    @property
    def segment_lengths(self) -> np.ndarray:
        return np.zeros(0, np.uint64)

    def segment_chunks(self) -> list[tuple[int, int]]:
        return []
