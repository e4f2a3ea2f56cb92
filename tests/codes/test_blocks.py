"""`blocks` and `block_sparse`: native bytes against the reference, every kernel against bits and float64, bad files."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
from support.arrays import DTYPES, ISAS, needs_native, normal, random_bits, same_bits

import tersely
from tersely.backends.cpu import isa
from tersely.codes import registry
from tersely.codes.protocol import Request
from tersely.codes.selection.block_sparse import reference as sparse_reference
from tersely.codes.selection.block_sparse.layout import SHAPES as SPARSE_SHAPES
from tersely.codes.selection.block_sparse.layout import mask_words
from tersely.codes.selection.blocks import reference
from tersely.codes.selection.blocks.layout import SHAPES as BLOCK_SHAPES
from tersely.core.dtypes import by_name, raw_bytes
from tersely.core.encoded import Encoded, Node
from tersely.core.errors import ArgumentError, CorruptError, UnsupportedError
from tersely.planner import choose
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.kernels

FLOATS = DTYPES[:3]
SHAPES = ((48, 100), (17, 2300), (3, 40, 33), (32, 32, 3, 3), (20, 6, 5, 5), (7,), (), (100, 2051), (300, 40), (16, 4))
FORMS = tuple(("blocks", block) for block in BLOCK_SHAPES) + tuple(("block_sparse", block) for block in SPARSE_SHAPES)
each_form = pytest.mark.parametrize(("formulation", "block"), FORMS, ids=["-".join(form) for form in FORMS])


def blocky(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype, kept: float) -> np.ndarray:
    """Random bits, NaN payloads and -0.0 among them, with empty and repeated rows, and empty blocks of several sizes."""
    array = random_bits(rng, shape, dtype).copy().reshape(shape[0] if shape else 1, -1)
    rows, columns = array.shape
    array[rng.random(rows) < 0.3] = array[0]
    array = array[:, np.minimum(np.arange(columns), rng.integers(1, 1 + columns))]
    mask = np.kron(rng.random((-(-rows // 16), -(-columns // 4))) < kept, np.ones((16, 4), bool))[:rows, :columns]
    array = np.where(mask, array, np.zeros((), dtype))
    array[:, rng.random(columns) > kept] = 0
    array[rng.random(rows) > kept] = 0
    return np.ascontiguousarray(array.reshape(shape))


def words_of(array: np.ndarray) -> np.ndarray:
    return raw_bytes(array).view(f"<u{array.itemsize}").reshape(array.shape)


def reference_of(encoded: Encoded, words: np.ndarray) -> dict[str, np.ndarray]:
    geometry, block = registry.check(encoded).geometry, encoded.node.parameters["block"]
    encode = reference.encode if encoded.node.formulation == "blocks" else sparse_reference.encode
    return encode(words, geometry, block)


def decoded_by_reference(encoded: Encoded) -> np.ndarray:
    geometry, parameters = registry.check(encoded).geometry, encoded.node.parameters
    word = by_name(encoded.dtype).word
    if encoded.node.formulation == "blocks":
        return reference.decode(encoded.components, geometry, parameters["block"], parameters["count"], word)
    return sparse_reference.decode(encoded.components, geometry, parameters["block"], word)


def check(array: np.ndarray, formulation: str, block: str, orientation: str = "out_in") -> None:
    """Native bytes equal reference bytes, the size is the promised one, every ISA and the reference decode them."""
    encoded = choose.encode(array, formulation=formulation, block=block, orientation=orientation)
    words = words_of(array)
    expected = reference_of(encoded, words)
    assert {name: data.tobytes() for name, data in expected.items()} == {
        name: data.tobytes() for name, data in encoded.components.items()
    }
    request = Request(words, encoded.dtype, orientation)
    promised = registry.BY_NAME[formulation].candidate_for(replace(request, parameters={"block": block})).nbytes
    assert promised == encoded.nbytes_stored
    assert same_bits(decoded_by_reference(encoded), words)
    for name in ISAS:
        with isa.using(name):
            assert same_bits(Tensor(encoded).decode(), array), name


def test_every_number_of_index_bits(rng: np.random.Generator) -> None:
    """1 to 65,536 distinct blocks: 0 to 16 bits, whose groups of eight end at every bit of a byte."""
    for bits in range(17):
        pool = np.arange(1 << bits, dtype=np.uint32)
        count = max(64, 1 << bits)
        drawn = np.concatenate([pool, rng.choice(pool, count - pool.size)])
        array = np.ascontiguousarray(np.repeat(drawn, 4).reshape(-1, 64)).view(np.float32)
        assert choose.encode(array, formulation="blocks", block="1x4").node.parameters["count"] == 1 << bits
        check(array, "blocks", "1x4")
    array = np.arange(4 * 65552, dtype=np.uint32).view(np.float32).reshape(-1, 64)
    with pytest.raises(ArgumentError, match="more than 65536 distinct blocks"):
        choose.encode(array, formulation="blocks", block="1x4")


def weights(rng: np.random.Generator, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """Finite weights, with empty and repeated blocks."""
    array = normal(rng, shape, dtype)
    array[rng.random(shape[0]) < 0.4] = array[0]
    mask = np.kron(rng.random((-(-shape[0] // 16), -(-shape[1] // 4))) < 0.5, np.ones((16, 4), bool))
    array[~mask[: shape[0], : shape[1]]] = 0
    array[rng.random(shape[0]) < 0.2] = 0
    return array


@each_form
def test_padding_and_empty_blocks_never_enter_a_product(
    formulation: str, block: str, each_isa: str, rng: np.random.Generator
) -> None:
    """x of infinities: only blocks that are there may count."""
    weight = (np.abs(normal(rng, (63, 39), FLOATS[0])) + 0.01).astype(np.float32)
    tensor = tersely.encode(weight, formulation=formulation, block=block)
    for batch in (1, 3, 4, 7, 20):
        assert np.isposinf(tersely.linear(np.full((batch, 39), np.inf, np.float32), tensor)).all()
        assert np.isposinf(tersely.linear_transposed(np.full((batch, 63), np.inf, np.float32), tensor)).all()
    if formulation == "block_sparse":
        weight[:] = 0
        tensor = tersely.encode(weight, formulation=formulation, block=block)
        for batch in (1, 20):
            assert not tersely.linear(np.full((batch, 39), np.inf, np.float32), tensor).any()
            assert not tersely.linear_transposed(np.full((batch, 63), np.inf, np.float32), tensor).any()


@needs_native
@pytest.mark.parametrize("block", BLOCK_SHAPES)
def test_indices_beyond_the_dictionary_are_its_last_block(block: str, each_isa: str, rng: np.random.Generator) -> None:
    encoded = tersely.encode(blocky(rng, (48, 100), FLOATS[0], 0.6), formulation="blocks", block=block).encoded
    indices = encoded.components["indices"].copy()
    indices[:-64] = rng.integers(256, size=indices.size - 64)
    damaged = dataclasses.replace(encoded, components={**encoded.components, "indices": indices})
    assert same_bits(words_of(Tensor(damaged).decode()), decoded_by_reference(damaged))
    rows, tensor = decoded_by_reference(damaged), Tensor(damaged)
    assert all(tensor[r, c].view(np.uint32) == rows[r, c] for r, c in rng.integers((48, 100), size=(30, 2)))


@pytest.mark.parametrize("block", SPARSE_SHAPES)
def test_masks_and_directories_that_do_not_agree_are_refused(block: str, rng: np.random.Generator) -> None:
    encoded = tersely.encode(blocky(rng, (76, 300), FLOATS[0], 0.5), formulation="block_sparse", block=block).encoded
    geometry = registry.check(encoded).geometry
    used = {"masks": geometry.panels * mask_words(block, geometry) * 8, "directory": (geometry.panels + 1) * 8}
    for name, size in used.items():
        for byte in range(size):
            component = encoded.components[name].copy()
            component[byte] ^= 1 << byte % 8
            with pytest.raises(CorruptError, match="component"):
                Tensor(dataclasses.replace(encoded, components={**encoded.components, name: component}))


@each_form
def test_bad_nodes_are_refused(formulation: str, block: str, rng: np.random.Generator) -> None:
    encoded = tersely.encode(blocky(rng, (32, 64), FLOATS[0], 0.5), formulation=formulation, block=block).encoded
    good, (child,) = encoded.node, encoded.node.children
    for change in (
        {"version": 2},
        {"parameters": {**good.parameters, "block": "2x2"}},
        {"parameters": {**good.parameters, "block": [block]}},
        {"parameters": {**good.parameters, "colour": 1}},
        {"parameters": {}},
        {"children": {}},
        {"children": {**good.children, "more": Node("dense", 1)}},
        {"children": {child: Node("split", 1)}},
        {"children": {child: Node("dense", 2)}},
        {"children": {child: Node("dense", 1, {}, {"x": Node("dense", 1)})}},
    ):
        with pytest.raises(UnsupportedError):
            Tensor(dataclasses.replace(encoded, node=dataclasses.replace(good, **change)))
    if formulation == "blocks":
        for count in (-1, 1 << 17, True, 1.0, "1"):
            node = dataclasses.replace(good, parameters={"block": block, "count": count})
            with pytest.raises(UnsupportedError):
                Tensor(dataclasses.replace(encoded, node=node))
        node = dataclasses.replace(good, parameters={"block": block, "count": 0})
        with pytest.raises(CorruptError, match="no block"):
            Tensor(dataclasses.replace(encoded, node=node))
    for name in encoded.components:
        shorter = {**encoded.components, name: encoded.components[name][:-64]}
        with pytest.raises(CorruptError, match="bytes where"):
            Tensor(dataclasses.replace(encoded, components=shorter))
        missing = {key: data for key, data in encoded.components.items() if key != name}
        with pytest.raises(CorruptError, match="missing"):
            Tensor(dataclasses.replace(encoded, components=missing))
    with pytest.raises(CorruptError, match="does not have"):
        Tensor(dataclasses.replace(encoded, components={**encoded.components, "extra": np.zeros(64, np.uint8)}))


@pytest.mark.parametrize("formulation", ["blocks", "block_sparse"])
def test_wrong_arguments_are_refused_with_a_sentence(formulation: str) -> None:
    for dtype, options, sentence in (
        (np.float32, {"block": "2x2"}, "unknown block '2x2'"),
        (np.float32, {"block": []}, "unknown block"),
        (np.float32, {"colour": 1}, "no parameter 'colour'"),
        (np.float64, {}, "codes float32, bfloat16, float16(, int8, uint8)?, not float64"),
    ):
        with pytest.raises(ArgumentError, match=sentence):
            choose.encode(np.zeros((16, 16), dtype), formulation=formulation, **options)


def chosen(array: np.ndarray, objective: str = "size") -> str:
    encoded = choose.encode(array, objective=objective)
    return f"{encoded.node.formulation} {encoded.node.parameters.get('block', '')}".strip()


def test_the_planner_finds_what_repeats_and_what_is_empty(rng: np.random.Generator) -> None:
    """One hand-made matrix per shape."""
    shape = (512, 1024)
    dense = normal(rng, shape, FLOATS[0])
    assert chosen(dense) == "split"
    duplicates = dense[rng.integers(64, size=512)]
    assert chosen(duplicates) == chosen(duplicates, "speed") == "blocks row"
    ternary = (rng.integers(3, size=shape) - 1).astype(np.float32) * np.float32(0.05)
    pool = ternary.reshape(-1, 8)[:200]
    assert chosen(np.ascontiguousarray(pool[rng.integers(200, size=65536)].reshape(shape))) == "blocks 1x8"
    columns = normal(rng, (100, 16), FLOATS[0])[rng.integers(100, size=(32, 1024))]
    assert chosen(np.ascontiguousarray(columns.transpose(0, 2, 1).reshape(shape))) == "blocks 16x1"
    channels = normal(rng, (2048, 256), FLOATS[0])
    channels[rng.random(2048) < 0.5] = 0
    assert chosen(channels, "speed") == "submatrix"
    assert chosen(channels.reshape(4, 512, 256), "speed") == "block_sparse row"  # several matrices, each with its own
    chunks = np.where(np.kron(rng.random((32, 256)) < 0.3, np.ones((16, 4))), dense, 0).astype(np.float32)
    assert chosen(chunks, "speed") == "block_sparse chunk"
    constants = np.repeat(normal(rng, (16, 1), FLOATS[0])[rng.integers(16, size=512)], 1024, axis=1)
    assert chosen(constants) == "affine"  # a scale for each row and a number for all
    for array in (duplicates, channels, chunks, ternary, constants):
        for objective in choose.OBJECTIVES:
            assert same_bits(tersely.encode(array, objective=objective).decode(), array)
