"""Which shapes of blocks are worth considering, and the one that a caller asks for."""

from __future__ import annotations

from tersely.codes.protocol import Candidate, Request
from tersely.codes.selection.blocks import codec
from tersely.codes.selection.blocks.costs import FAR_NS, Kernel
from tersely.codes.selection.blocks.layout import (
    MAX_BLOCKS,
    NAME,
    NARROWER,
    SHAPES,
    TABLE,
    VERSION,
    block_words,
    panel_blocks,
    width,
)
from tersely.codes.selection.blocks.sample import repeating
from tersely.codes.words.dense.formulation import NODE as DENSE
from tersely.core.encoded import Node
from tersely.core.errors import ArgumentError
from tersely.core.geometry import PANEL_ROWS, Geometry

LARGEST_SHARE = 0.9
"""The share of the dense bytes above which a dictionary cannot win anything worth its indices."""
_TIMES_NARROWER = 4
"""At most so many blocks of the narrower shape make one."""
NEAR_BYTES = 1 << 16
"""A dictionary up to here is mostly in a first cache."""


def node(shape: str, count: int) -> Node:
    return Node(NAME, VERSION, {"block": shape, "count": count}, {TABLE: DENSE})


def candidates(request: Request) -> list[Candidate]:
    """Every shape whose dictionary is small enough; a sample rules trained weights out."""
    if not request.words.size:
        return []
    geometry = request.geometry()
    found: dict[str, Candidate | None] = {}
    for shape in ("row", *repeating(request.words, geometry)):
        limit = int(LARGEST_SHARE * request.words.size / block_words(shape, geometry))
        # Where few of the narrower blocks are alike, no more of those are that are made of them.
        if found.get(NARROWER.get(shape, ""), shape) is None and limit * _TIMES_NARROWER <= MAX_BLOCKS:
            continue
        one = codec.find(request.words, geometry, request.dtype, shape, min(MAX_BLOCKS, limit))
        found[shape] = None if one is None else _candidate(one)
    return [one for one in found.values() if one is not None]


def shape_asked(request: Request, shapes: tuple[str, ...], formulation: str) -> str:
    """The shape of blocks that a caller names. Raises ArgumentError."""
    parameters = dict(request.parameters)
    shape = parameters.pop("block", "chunk")
    if not isinstance(shape, str) or shape not in shapes:
        raise ArgumentError(f"unknown block {shape!r}: use one of {', '.join(shapes)}")
    if parameters:
        raise ArgumentError(f"formulation {formulation!r} takes no parameter {next(iter(parameters))!r}")
    return shape


def candidate_for(request: Request) -> Candidate:
    shape = shape_asked(request, SHAPES, NAME)
    found = codec.find(request.words, request.geometry(), request.dtype, shape)
    if found is None:
        raise ArgumentError(f"the tensor has more than {MAX_BLOCKS} distinct blocks {shape!r}: use another formulation")
    return _candidate(found)


def kernel_of(shape: str, count: int, geometry: Geometry, word_bytes: int) -> Kernel:
    """The row of the cost model: one-row blocks wait for their dictionary once it is large."""
    return Kernel(shape, shape in FAR_NS and count * block_words(shape, geometry) * word_bytes > NEAR_BYTES)


def visited_words(shape: str, count: int, geometry: Geometry) -> int:
    """Weights that a product goes through: rows that are alike are multiplied once."""
    if shape == "row":
        return -(-count // PANEL_ROWS) * PANEL_ROWS * width(shape, geometry)
    return int(geometry.panels * panel_blocks(shape, geometry) * block_words(shape, geometry))


def _candidate(found: codec.Found) -> Candidate:
    geometry, shape, count = found.geometry, found.shape, len(found.table)
    return Candidate(
        kernel_of(shape, count, geometry, found.table.itemsize),
        geometry,
        sum(found.component_bytes().values()),
        geometry.padded_weights,
        visited_words(shape, count, geometry),
        node=node(shape, count),
        components=lambda threads: codec.encode(found),
        options={"block": shape},
    )
