"""`palette`: the native encoder against the reference, every kernel against the original bits and float64, bad files."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.arrays import DTYPES, needs_native, normal, same_bits
from support.products import assert_close
from support.references import reference_words

import tersely
from tersely.codes.words.palette import codec
from tersely.codes.words.palette.formulation import palette
from tersely.core.dtypes import raw_bytes
from tersely.core.encoded import Node
from tersely.core.errors import ArgumentError, CorruptError, UnsupportedError
from tersely.planner import choose
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.kernels

PALETTE = DTYPES[:3]
FORMS: tuple[dict, ...] = (
    {},
    {"code": "packed"},
    {"code": "layered", "widths": (2, 2)},
    {"code": "layered", "widths": (1, 3, 1)},
)


def shared(rng: np.random.Generator, shape: tuple[int, ...], words: np.ndarray, skew: float = 0.0) -> np.ndarray:
    """Weights drawn from a few words; with a skew, the first of them far more often."""
    share = np.exp(-skew * np.arange(words.size))
    return rng.choice(words, size=shape, p=share / share.sum())


def words_of(array: np.ndarray) -> np.ndarray:
    return raw_bytes(array).view(f"<u{array.itemsize}").reshape(array.shape)


def test_the_table_is_in_order(rng: np.random.Generator) -> None:
    array = np.array([np.inf] * 5 + [2.0] * 2 + [0.5] * 2 + [-0.0] * 3 + [np.nan], np.float32)
    table = codec.table_of(words_of(array), "float32")
    assert table is not None
    assert table.view(np.float32)[:4].tolist() == [-0.0, 0.5, 2.0, np.inf]
    endless = codec.table_of(words_of(np.full(3, np.inf, np.float32)), "float32")
    assert endless is not None
    assert endless.tolist() == [0, 0x7F800000]


def test_more_than_256_words_are_refused_and_no_candidate(rng: np.random.Generator) -> None:
    array = np.arange(1, 258, dtype=np.float32).repeat(100)
    assert palette.candidates(choose.Request(words_of(array), "float32")) == []
    assert codec.table_of(words_of(array), "float32") is None
    with pytest.raises(ArgumentError, match="at most 256 distinct words"):
        choose.encode(array, formulation="palette")
    endless = array.copy()
    endless[:] = rng.choice(np.arange(0x7F800000, 0x7F800100, dtype=np.uint32), endless.size).view(np.float32)
    with pytest.raises(ArgumentError, match="at most 256 distinct words"):  # one more for the padding
        choose.encode(endless, formulation="palette")


@pytest.mark.parametrize("size", [3, 16, 30, 60])
def test_words_whose_low_halves_are_zero(size: int, each_isa: str, rng: np.random.Generator) -> None:
    """float32 that holds bfloat16 has kernels that look up two bytes only."""
    weight = shared(rng, (50, 900), normal(rng, (size,), PALETTE[1]).astype(np.float32))
    for form in FORMS:
        tensor = tersely.encode(weight, formulation="palette", **form)
        for batch in (1, 2, 4):
            x = normal(rng, (batch, 900), PALETTE[0])
            assert_close(tersely.linear(x, tensor), x, weight, None)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_padding_never_enters_a_product(form: dict, each_isa: str, rng: np.random.Generator) -> None:
    """x of infinities, weights that are mostly infinite: what fills up a chunk must not make a NaN."""
    weight = shared(rng, (50, 37), np.abs(normal(rng, (16,), PALETTE[0])) + np.float32(0.01))
    endless = shared(rng, (50, 37), np.array([np.inf, 1.0], np.float32), 3.0)
    endless[:, 0] = np.inf
    tensor, other = (tersely.encode(array, formulation="palette", **form) for array in (weight, endless))
    for batch in (1, 3, 4, 7, 13, 20):
        assert np.isposinf(tersely.linear(np.full((batch, 37), np.inf, np.float32), tensor)).all()
        assert np.isposinf(tersely.linear(np.ones((batch, 37), np.float32), other)).all()


@needs_native
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_indices_beyond_the_table_read_as_the_reference_says(
    form: dict, each_isa: str, rng: np.random.Generator
) -> None:
    for shape, size in ((48, 100), 5), ((33, 4100), 17), ((48, 100), 11), ((48, 100), 40), ((48, 100), 130):
        array = shared(rng, shape, normal(rng, (size,), PALETTE[0]))
        encoded = tersely.encode(array, formulation="palette", **form).encoded
        components = dict(encoded.components)
        for name in components:
            if name != "table" and not name.endswith("directory"):
                components[name] = components[name].copy()
                components[name][:-128] = rng.integers(256, size=max(0, components[name].size - 128))
        damaged = dataclasses.replace(encoded, components=components)
        expected = reference_words(damaged)
        tensor = Tensor(damaged)
        if not encoded.node.children:  # what survivors that are missing read as is the code's own matter
            assert same_bits(tensor.decode().view("<u4"), expected)
        x = np.zeros((1, shape[1]), np.float32)
        for column in (0, 1, 5, shape[1] - 1):
            x[:] = 0
            x[0, column] = 1
            assert np.array_equal(tersely.linear(x, tensor)[0], tensor.decode()[:, column])


def test_bad_nodes_are_refused(rng: np.random.Generator) -> None:
    array = shared(rng, (32, 64), normal(rng, (16,), PALETTE[0]), 0.5)
    packed = tersely.encode(array, formulation="palette").encoded
    coded = tersely.encode(array, formulation="palette", code="layered", widths=(2, 2)).encoded
    child = coded.node.children["indices"]
    table = dict(child.parameters)
    for encoded, node in (
        (packed, Node("palette", 2, {"entries": 16})),
        (packed, Node("palette", 1, {"entries": 0})),
        (packed, Node("palette", 1, {"entries": 257})),
        (packed, Node("palette", 1, {"entries": True})),
        (packed, Node("palette", 1, {"entries": "16"})),
        (packed, Node("palette", 1, {"entries": 16, "colour": 1})),
        (packed, Node("palette", 1, {})),
        (packed, Node("palette", 1, {"entries": 16}, {"values": child})),
        (packed, Node("palette", 1, {"entries": 16}, {"indices": Node("dense", 1)})),
        (coded, Node("palette", 1, {"entries": 16}, {"indices": Node("split", 2, table)})),
        (coded, Node("palette", 1, {"entries": 16}, {"indices": Node("split", 1, table | {"tail": "word"})})),
        (coded, Node("palette", 1, {"entries": 16}, {"indices": Node("split", 1, table | {"byte": 0})})),
        (coded, Node("palette", 1, {"entries": 16}, {"indices": Node("split", 1, table, {"x": child})})),
    ):
        with pytest.raises(UnsupportedError):
            Tensor(dataclasses.replace(encoded, node=node))
    with pytest.raises(CorruptError, match="does not code dtype float64"):
        Tensor(dataclasses.replace(packed, dtype="float64"))


@pytest.mark.parametrize(
    ("dtype", "options", "sentence"),
    [
        (np.float32, {"code": "zip"}, "unknown code 'zip'"),
        (np.float32, {"code": []}, "unknown code"),
        (np.float32, {"code": "layered"}, "widths must be a few integers"),
        (np.float32, {"code": "layered", "widths": (9,)}, "widths must be a few integers"),
        (np.float32, {"code": "layered", "widths": "x"}, "widths must be a few integers"),
        (np.float32, {"code": "constant"}, "needs a tensor of one word"),
        (np.float32, {"code": "packed", "widths": (2,)}, "has no widths"),
        (np.float32, {"widths": (2,)}, "fixed indices have no widths"),
        (np.float32, {"colour": 1}, "no parameter 'colour'"),
        (np.float64, {}, "codes float32, bfloat16, float16, not float64"),
    ],
)
def test_wrong_arguments_are_refused_with_a_sentence(dtype: type, options: dict, sentence: str) -> None:
    with pytest.raises(ArgumentError, match=sentence):
        choose.encode(np.arange(256, dtype=dtype).reshape(16, 16) % 7, formulation="palette", **options)


@pytest.mark.parametrize(
    ("size", "dtype", "objective", "profile", "expected"),
    [
        (2, PALETTE[0], "balanced", "portable", "palette"),
        (3, PALETTE[0], "speed", "portable", "palette"),
        (16, PALETTE[0], "balanced", "portable", "palette"),
        (32, PALETTE[0], "balanced", "portable", "palette"),
        (256, PALETTE[0], "balanced", "avx512", "palette"),
        (16, PALETTE[1], "speed", "portable", "palette"),
        (16, PALETTE[1], "balanced", "amx", "palette"),
        (60, PALETTE[2], "balanced", "avx512", "palette"),
        (256, PALETTE[0], "size", "portable", "palette"),
        (256, PALETTE[1], "balanced", "portable", "split"),  # looked up more slowly than read
    ],
    ids=str,
)
def test_the_planner_takes_it_for_shared_weights(
    size: int, dtype: np.dtype, objective: str, profile: str, expected: str, rng: np.random.Generator
) -> None:
    array = shared(rng, (512, 1024), normal(rng, (size,), dtype))
    encoded = choose.encode(array, objective=objective, profile=profile)
    assert encoded.node.formulation == expected
    assert same_bits(Tensor(encoded).decode(), array)


def test_skewed_indices_are_coded_under_size_only(rng: np.random.Generator) -> None:
    array = shared(rng, (512, 1024), normal(rng, (32,), PALETTE[0]), 0.5)
    assert "indices" in choose.encode(array, objective="size").node.children
    assert not choose.encode(array, objective="speed").node.children
    entropy = -(
        share := np.bincount(codec.Indexed(words_of(array), np.unique(words_of(array)), "float32").indices.ravel())
        / array.size
    ) @ np.log2(share)
    assert choose.encode(array, objective="size").nbytes_stored * 8 / array.size < 1.12 * entropy
