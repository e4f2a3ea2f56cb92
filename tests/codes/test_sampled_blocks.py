"""The sample that rules repeated blocks out: it never hides a dictionary that would have been worth having."""

from __future__ import annotations

import numpy as np
import pytest

from tersely.codes.protocol import Request
from tersely.codes.selection.blocks import codec
from tersely.codes.selection.blocks.candidates import candidates
from tersely.codes.selection.blocks.layout import MAX_BLOCKS, SHAPES, block_words
from tersely.codes.selection.blocks.sample import may_repeat
from tersely.core.geometry import Geometry, choose, folded

BLOCKS = tuple(shape for shape in SHAPES if shape != "row")


def made_of(rng: np.random.Generator, shape: str, count: int, how: str) -> np.ndarray:
    """A matrix of 2,048 x 1,024 words made of `count` blocks: drawn at random, one after another, or mostly a few."""
    geometry = choose((2048, 1024))
    tall, wide = (16 if shape in ("16x1", "chunk") else 1), {"16x1": 1, "1x8": 8}.get(shape, 4)
    down, across = 2048 // tall, 1024 // wide
    table = rng.integers(1 << 16, size=(count, block_words(shape, geometry)), dtype=np.uint16)
    numbers = {
        "random": rng.integers(count, size=down * across),
        "in turn": np.arange(down * across) % count,
        "halves": np.concatenate([np.arange(down * across // 2)] * 2) % count,
        "few": np.minimum(rng.geometric(0.01, size=down * across) - 1, count - 1),
    }[how]
    return np.ascontiguousarray(
        table[numbers].reshape(down, across, tall, wide).transpose(0, 2, 1, 3).reshape(2048, 1024)
    )


@pytest.mark.parametrize("shape", BLOCKS)
@pytest.mark.parametrize("how", ["random", "in turn", "halves", "few"])
def test_a_dictionary_is_found_however_its_blocks_are_spread(shape: str, how: str, rng: np.random.Generator) -> None:
    for count in (1, 300, MAX_BLOCKS):
        words = made_of(rng, shape, count, how)
        geometry = choose(words.shape)
        places = words.size // block_words(shape, geometry)
        if count <= 0.9 * places:
            assert may_repeat(words, geometry, shape), count
            request = Request(words, "bfloat16", objective="size")
            assert shape in [one.options["block"] for one in candidates(request)]


@pytest.mark.parametrize("shape", BLOCKS)
def test_blocks_that_do_not_repeat_are_ruled_out(shape: str, rng: np.random.Generator) -> None:
    words = rng.integers(1 << 16, size=(4096, 4096), dtype=np.uint16)
    assert not may_repeat(words, choose(words.shape), shape)
    assert shape not in [one.options["block"] for one in candidates(Request(words, "bfloat16"))]


@pytest.mark.parametrize(
    "geometry",
    [
        Geometry((48, 20), "matrix"),
        Geometry((20, 48), "matrix", "in_out"),
        Geometry((3, 32, 18), "stack"),
        Geometry((3, 18, 32), "stack", "in_out"),
        choose((32, 64, 3, 3)),
        choose((32, 5, 3, 3)),
        choose((32, 7, 1, 1)),
        folded((5, 7, 3)),
    ],
    ids=str,
)
def test_elements_are_where_matrices_have_them(geometry: Geometry) -> None:
    elements = np.arange(geometry.elements).reshape(geometry.shape)
    cube, real = geometry.matrices(elements)
    found = geometry.elements_at(*np.ix_(*map(np.arange, cube.shape)))
    assert np.array_equal(found[real], cube[real])
    assert (found[~real] >= geometry.elements).all()


def test_kinds_of_rows_are_counted_by_how_they_begin(rng: np.random.Generator) -> None:
    kinds = rng.integers(1 << 16, size=(5, 24), dtype=np.uint16)
    words = kinds[rng.permutation(np.arange(40) % 5)]
    for orientation, own in (("out_in", words), ("in_out", np.ascontiguousarray(words.T))):
        geometry = Geometry(own.shape, "matrix", orientation)
        assert [codec._kinds_by_prefix(own, geometry, prefix) for prefix in (8, 256)] == [5, 5]
