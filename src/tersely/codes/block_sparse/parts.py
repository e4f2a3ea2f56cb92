"""Panels of `block_sparse`, taken out and put together: masks, and blocks as they are; whole rows are shelved anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tersely.codes.block_sparse.layout import VALUE_BYTES, mask_words
from tersely.codes.blocks.layout import picked, shelve
from tersely.core.dtypes import by_name
from tersely.core.encoded import Encoded, index_bytes, stored, stream_bytes
from tersely.core.geometry import Geometry


@dataclass(frozen=True)
class Run:
    """Neighbouring panels. counts: int64 [panels], blocks of each; values: words [blocks, words of one]."""

    masks: np.ndarray
    counts: np.ndarray
    values: np.ndarray


def step(encoded: Encoded, geometry: Geometry) -> int:
    return 1


def cut(encoded: Encoded, geometry: Geometry, panels: tuple[int, int]) -> Run:
    shape, components = str(encoded.node.parameters["block"]), encoded.components
    size = mask_words(shape, geometry) * 8
    starts = components["directory"][: (geometry.panels + 1) * 8].view("<u8").astype(np.int64)
    kept = np.arange(starts[panels[0]], starts[panels[1]])
    values = picked(components[VALUE_BYTES].view(by_name(encoded.dtype).word), kept, shape, geometry)
    masks = components["masks"][panels[0] * size : panels[1] * size]
    return Run(masks, np.diff(starts[panels[0] : panels[1] + 1]), values)


def pack(like: Encoded, runs: Sequence[Run]) -> Encoded:
    """Runs one after another."""
    starts = np.cumsum(np.concatenate([[0], *(run.counts for run in runs)])).astype("<u8")
    values = shelve(np.concatenate([run.values for run in runs]), str(like.node.parameters["block"]))
    return replace(
        like,
        components={
            "masks": stored(np.concatenate([run.masks for run in runs]), stream_bytes),
            "directory": stored(starts, index_bytes),
            VALUE_BYTES: stored(values, stream_bytes),
        },
    )
