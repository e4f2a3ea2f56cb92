"""Which shapes of blocks are worth considering, and the one that a caller asks for."""

from __future__ import annotations

from typing import Any

from tersely.codes.blocks import codec
from tersely.codes.blocks.layout import (
    MOST_BLOCKS,
    NAME,
    SHAPES,
    TABLE,
    VERSION,
    block_words,
    places,
    stored_words,
    width,
)
from tersely.codes.protocol import Candidate, Request
from tersely.core.encoded import Node
from tersely.core.errors import ArgumentError
from tersely.core.geometry import CHUNK_WEIGHTS, PANEL_ROWS, Geometry

LARGEST_SHARE = 0.9
"""Of the dense bytes: a dictionary that takes more cannot win anything worth its indices."""
NEAR_BYTES = 1 << 16
"""A dictionary up to here is mostly in a first cache."""


def why_not(dtype: str, objective: str, profile: str) -> str:
    return ""


def node(shape: str, count: int) -> Node:
    return Node(NAME, VERSION, {"block": shape, "count": count}, {TABLE: Node("dense", 1)})


def candidates(request: Request) -> list[Candidate]:
    """Every shape whose dictionary is small enough; trained weights are given up after at most 65,536 blocks."""
    if not request.words.size:
        return []
    geometry = request.geometry()
    found = []
    for shape in SHAPES:
        most = int(LARGEST_SHARE * request.words.size / block_words(shape, geometry))
        one = codec.find(request.words, geometry, request.dtype, shape, min(most, MOST_BLOCKS))
        if one is not None:
            found.append(_candidate(one))
    return found


def forced(request: Request, parameters: dict[str, Any]) -> Candidate:
    shape = parameters.pop("block", "chunk")
    if shape not in SHAPES:
        raise ArgumentError(f"unknown block {shape!r}: use one of {', '.join(SHAPES)}")
    if parameters:
        raise ArgumentError(f"formulation 'blocks' takes no parameter {next(iter(parameters))!r}")
    found = codec.find(request.words, request.geometry(), request.dtype, shape)
    if found is None:
        raise ArgumentError(
            f"the tensor has more than {MOST_BLOCKS} distinct blocks {shape!r}: use another formulation"
        )
    return _candidate(found)


def kernel(shape: str, count: int, geometry: Geometry, word_bytes: int) -> str:
    """What costs and calibration know a product by: one-row blocks wait for their dictionary once it is large."""
    far = shape in ("1x4", "1x8") and count * block_words(shape, geometry) * word_bytes > NEAR_BYTES
    return f"blocks {shape}" + (" far" if far else "")


def visited_words(shape: str, count: int, geometry: Geometry) -> int:
    """Weights that a product goes through: rows that are alike are multiplied once."""
    if shape == "row":
        return -(-count // PANEL_ROWS) * PANEL_ROWS * width(shape, geometry)
    return int(geometry.panels * places(shape, geometry) * block_words(shape, geometry))


def _candidate(found: codec.Found) -> Candidate:
    geometry, shape, count = found.geometry, found.shape, len(found.table)
    visited = visited_words(shape, count, geometry)
    assert visited <= stored_words(shape, max(count, geometry.panels * places(shape, geometry)), geometry)
    return Candidate(
        node(shape, count),
        geometry,
        sum(found.component_bytes().values()),
        lambda threads: codec.encode(found),
        kernel(shape, count, geometry, found.table.itemsize),
        {"block": shape},
        geometry.panels * geometry.chunks_per_panel * CHUNK_WEIGHTS,
        visited,
    )
