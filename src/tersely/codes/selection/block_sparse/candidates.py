"""Which shapes of empty blocks are worth considering, and the one that a caller asks for; encoding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tersely.backends.cpu import native
from tersely.codes.protocol import Candidate, Request
from tersely.codes.selection.block_sparse import reference
from tersely.codes.selection.block_sparse.layout import (
    BYTES,
    NAME,
    SHAPES,
    VALUES,
    VERSION,
    component_bytes,
    mask_words,
)
from tersely.codes.selection.blocks.candidates import shape_asked
from tersely.codes.selection.blocks.costs import InOrder
from tersely.codes.selection.blocks.layout import stored_words, to_blocks
from tersely.codes.words.dense.formulation import NODE as DENSE
from tersely.core.encoded import Node
from tersely.core.geometry import Geometry

FEWEST_ZEROS = 0.02
"""Share of zero words below which no shape can win anything worth its bits."""
FEWEST_ZERO_BYTES = 0.1
"""The same of integers, which quantising leaves with a few zeros anywhere."""


@dataclass(frozen=True)
class Found:
    """masks: as the component has them, without slack. counts: uint64 [panels], blocks that are kept."""

    geometry: Geometry
    shape: str
    masks: np.ndarray
    counts: np.ndarray

    @property
    def kept(self) -> int:
        return int(self.counts.sum())


def node(shape: str) -> Node:
    return Node(NAME, VERSION, {"block": shape}, {VALUES: DENSE})


def find(words: np.ndarray, geometry: Geometry, dtype: str, shape: str, threads: int = 1) -> Found:
    """Which blocks of C-contiguous words are kept."""
    masks = np.zeros(geometry.panels * mask_words(shape, geometry) * 8, np.uint8)
    counts = np.zeros(geometry.panels, np.uint64)
    if native.module is not None:
        native.module.block_masks(words, native.shape_of(geometry), dtype, shape, masks, counts, threads)
        return Found(geometry, shape, masks, counts)
    kept = to_blocks(words, geometry, shape).any(axis=2)
    bits = np.zeros((geometry.panels, mask_words(shape, geometry) * 64), np.uint8)
    bits[:, : kept.shape[1]] = kept
    masks[:] = np.packbits(bits, axis=1, bitorder="little").reshape(-1)
    counts[:] = kept.sum(axis=1)
    return Found(geometry, shape, masks, counts)


def encode(words: np.ndarray, dtype: str, found: Found, threads: int = 1) -> dict[str, np.ndarray]:
    """Components of C-contiguous words, whose blocks are `found`."""
    geometry, shape = found.geometry, found.shape
    if not native.available():
        return reference.encode(words, geometry, shape)
    sizes = component_bytes(shape, found.kept, geometry, words.itemsize)
    components = {name: np.zeros(size, np.uint8) for name, size in sizes.items()}
    components["masks"][: found.masks.size] = found.masks
    components["directory"].view("<u8")[1 : geometry.panels + 1] = np.cumsum(found.counts, dtype="<u8")
    native.module.block_values(words, native.shape_of(geometry), dtype, shape, components, threads)
    return components


def candidates(request: Request) -> list[Candidate]:
    words = request.words
    fewest = FEWEST_ZERO_BYTES if request.dtype in BYTES else FEWEST_ZEROS
    if request.zeros <= fewest * words.size:
        return []
    geometry = request.geometry()
    found = [find(words, geometry, request.dtype, shape, request.threads) for shape in SHAPES]
    return [_candidate(request, one) for one in found]


def candidate_for(request: Request) -> Candidate:
    shape = shape_asked(request, SHAPES, NAME)
    return _candidate(request, find(request.words, request.geometry(), request.dtype, shape, request.threads))


def _candidate(request: Request, found: Found) -> Candidate:
    geometry, shape, words = found.geometry, found.shape, request.words
    return Candidate(
        InOrder(shape),
        geometry,
        sum(component_bytes(shape, found.kept, geometry, words.itemsize).values()),
        geometry.padded_weights,
        max(1, stored_words(shape, found.kept, geometry)),
        node=node(shape),
        components=lambda threads: encode(words, request.dtype, found, threads),
        options={"block": shape},
    )
