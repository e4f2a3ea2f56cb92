"""Panels of `blocks` taken out: their indices, counted anew among the blocks that they use. The words stay as they are.

A part has the dictionary that encoding it would give: its blocks by first occurrence. Joins would have to compare
dictionaries, which is encoding, so they are kept apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tersely.codes.blocks.layout import TABLE_BYTES, index_bits, indices, picked, real_places, shelve
from tersely.codes.blocks.reference import first_occurrences, unpack
from tersely.codes.blocks.reference import pack as pack_indices
from tersely.core.dtypes import by_name
from tersely.core.encoded import Encoded, Node, stored, stream_bytes
from tersely.core.geometry import Geometry

_STEP = 1 << 16
"""Indices that are unpacked at a time, whose bits take a word each; a multiple of eight, so that they begin with a byte."""


@dataclass(frozen=True)
class Run:
    """Neighbouring panels. table: words [blocks, words of one]; ids: uint32 [panels, indices]."""

    table: np.ndarray
    ids: np.ndarray


def step(encoded: Encoded, geometry: Geometry) -> int:
    return 1


def cut(encoded: Encoded, geometry: Geometry, panels: tuple[int, int]) -> Run:
    shape, count = str(encoded.node.parameters["block"]), int(encoded.node.parameters["count"])
    bits, across = index_bits(count), indices(shape, geometry)
    old = np.empty((panels[1] - panels[0]) * across, np.uint32)
    packed = encoded.components["indices"][panels[0] * across * bits // 8 :]
    for first in range(0, old.size, _STEP):
        part = old[first : first + _STEP]
        part[...] = np.minimum(unpack(packed[first * bits // 8 :], bits, part.size), count - 1)
    ids = np.zeros((panels[1] - panels[0], across), np.uint32)
    real = np.zeros(ids.shape, bool)
    own = real_places(geometry, shape)[panels[0] : panels[1]]
    real[:, : own.shape[1]] = own
    used, ids[real], _ = first_occurrences(old.reshape(ids.shape)[real])
    words = encoded.components[TABLE_BYTES].view(by_name(encoded.dtype).word)
    return Run(picked(words, used, shape, geometry), ids)


def pack(like: Encoded, runs: Sequence[Run]) -> Encoded | None:
    if len(runs) > 1:
        return None
    table, ids, shape = runs[0].table, runs[0].ids, str(like.node.parameters["block"])
    parameters, bits, flat = {"block": shape, "count": len(table)}, index_bits(len(table)), ids.reshape(-1)
    packed = [pack_indices(flat[first : first + _STEP], bits) for first in range(0, flat.size, _STEP)]
    return replace(
        like,
        node=Node(like.node.formulation, like.node.version, parameters, like.node.children),
        components={
            "indices": stored(np.concatenate(packed), stream_bytes),
            TABLE_BYTES: stored(shelve(table, shape), stream_bytes),
        },
    )
