"""Blocks of the fast coder: exact for every tensor, the same bytes from C++ as from NumPy, on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_samples import fast_block, item, tensors
from support.arrays import needs_native

from tersely.backends.cpu import isa
from tersely.core import dtypes
from tersely.core.errors import ArgumentError, UnsupportedError
from tersely.storage import codec
from tersely.storage.ans import coder, plan, reference
from tersely.storage.ans.description import Description
from tersely.storage.codec import Item, Spec, decode, encode

TENSORS = tensors()


def words_of(array: np.ndarray) -> tuple[np.ndarray, str]:
    one = item(array)
    words, tag, _ = coder.words_of(one.raw, [(one.dtype, one.shape)])
    return words, tag


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_comes_back_bit_for_bit(name: str) -> None:
    one = item(TENSORS[name])
    for block in (encode([one]), fast_block(one)):
        (back,) = decode(block, [one.spec])
        assert back.dtype == np.uint8
        assert np.array_equal(back, one.raw)
    assert len(encode([one])) <= one.raw.size + 1


@needs_native
@pytest.mark.parametrize("name", TENSORS)
def test_native_blocks_are_those_of_the_reference(name: str) -> None:
    words, tag = words_of(TENSORS[name])
    rotated = tag in plan.MANTISSAS
    for lanes in (4, 32, 64):
        chosen = plan.choose(words, tag, TENSORS[name].shape)
        description = chosen.description
        description.lanes = lanes
        expected = reference.encode(words, description, rotated)
        assert np.array_equal(reference.decode(expected, len(words), rotated, words.dtype), words)
        for threads in (1, 3):
            assert coder.encode_words(words, chosen, rotated, threads) == expected
        for name_of_isa in isa.available():
            with isa.using(name_of_isa):
                for threads in (1, 3):
                    assert coder.encode_words(words, chosen, rotated, threads) == expected, name_of_isa
                    back = coder.decode_words(memoryview(expected), len(words), words.dtype, rotated, threads)
                    assert np.array_equal(back.view(words.dtype), words), name_of_isa


@needs_native
def test_large_tensors_have_several_streams() -> None:
    rng = np.random.default_rng(3)
    array = (rng.standard_normal((700, 1000)) * np.exp(rng.standard_normal(1000))).astype(np.float32)
    array[np.abs(array) < 0.5] = 0
    one = item(array)
    blocks = {encode([one], threads=threads) for threads in (1, 2, 5)}
    assert len(blocks) == 1
    for name in isa.available():
        with isa.using(name):
            for threads in (1, 4):
                assert np.array_equal(decode(next(iter(blocks)), [one.spec], threads)[0], one.raw)


@settings(max_examples=150, deadline=None)
@given(
    dtype=st.sampled_from(sorted(dtypes.BY_NAME)),
    shape=st.lists(st.integers(0, 9), max_size=4).map(tuple),
    data=st.data(),
)
def test_every_dtype_and_shape(dtype: str, shape: tuple[int, ...], data: st.DataObject) -> None:
    spec = Spec(dtypes.by_name(dtype), shape)
    pieces = data.draw(st.lists(st.binary(min_size=1, max_size=16), min_size=1, max_size=4))
    raw = np.frombuffer((b"".join(pieces) * (spec.size + 1))[: spec.size], np.uint8)
    one = Item(raw, spec.dtype, spec.shape)
    for block in (encode([one]), fast_block(one)):
        assert np.array_equal(decode(block, [spec])[0], raw)


EDGES = [0, 1, 1 << 62, (1 << 63) - 2, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]


@settings(max_examples=400, deadline=None)
@given(
    words=st.lists(st.integers(0, (1 << 64) - 1) | st.sampled_from(EDGES), min_size=1, max_size=80),
    repeats=st.integers(1, 40),
    tag=st.sampled_from(["F64", "U64", "F32", "U32", "BF16", "I16", "U8"]),
)
def test_any_words_are_coded_as_words(words: list[int], repeats: int, tag: str) -> None:
    """Words far apart among them: what a description can say of a gap has an end."""
    bits = 8 if tag == "U8" else int(tag[-2:])
    array = np.array(words * repeats, np.uint64).astype(f"<u{bits // 8}")
    rotated = tag in plan.MANTISSAS
    chosen = plan.choose(array, tag, array.shape)
    block = coder.encode_words(array, chosen, rotated, 1)
    assert block == reference.encode(array, chosen.description, rotated)
    assert np.array_equal(reference.decode(block, len(array), rotated, array.dtype), array)
    back = coder.decode_words(memoryview(block), len(array), array.dtype, rotated, 1)
    assert np.array_equal(back.view(array.dtype), array)


def test_items_that_are_pooled() -> None:
    items = [item(TENSORS[name]) for name in ("three", "one value", "int8", "one")] + [item(np.zeros((0, 3), np.int16))]
    for block in (encode(items), fast_block(*items)):
        assert len(block) < sum(one.raw.size for one in items)
        for back, one in zip(decode(block, [one.spec for one in items]), items, strict=True):
            assert np.array_equal(back, one.raw)
    assert decode(encode([]), []) == []


def test_real_structure_is_found() -> None:
    """Rows and columns of different sizes cost less than one table for all."""
    rng = np.random.default_rng(5)
    sizes = np.exp(rng.standard_normal((128, 1))) * np.exp(rng.standard_normal((1, 256)))
    even = (rng.standard_normal((128, 256))).astype(np.float32)
    scaled = (even * sizes).astype(np.float32)
    words = scaled.view(np.uint32).reshape(-1)
    description = plan.choose(words, "F32", scaled.shape).description
    assert len(description.logs) > 4
    assert all(one is not None for one in description.classes)
    description.classes, description.base, description.logs = [None, None], 0, _one_table(words, description)
    grouped = len(fast_block(item(scaled)))
    assert grouped < 0.98 * len(reference.encode(words, description, True))


@pytest.mark.parametrize("name", ["lowest bits that are no noise", "lowest bits of pruned", "lowest bits of integers"])
def test_lowest_bits_that_are_no_noise_are_coded(name: str) -> None:
    words, tag = words_of(TENSORS[name])
    chosen = plan.choose(words, tag, TENSORS[name].shape)
    assert chosen.description.low > 0
    coded = len(coder.encode_words(words, chosen, tag in plan.MANTISSAS, 1))
    chosen.description.low, chosen.description.low_logs = 0, np.zeros((0, 0), np.uint8)
    assert coded < 0.995 * len(coder.encode_words(words, chosen, tag in plan.MANTISSAS, 1))


def test_lowest_bits_that_are_noise_are_kept() -> None:
    words, tag = words_of(TENSORS["float32"])
    assert plan.choose(words, tag, TENSORS["float32"].shape).description.low == 0


def _one_table(words: np.ndarray, description: Description) -> np.ndarray:
    symbols, _ = reference.symbols_of(reference.values_of(words, description, True), description)
    shares = np.bincount(symbols, minlength=len(description.starts)) / len(symbols)
    with np.errstate(divide="ignore"):
        logs = np.clip(np.round((np.log2(shares) + 13) * description.steps), 0, None)
    return np.where(shares > 0, 1 + logs, 0).astype(np.uint8)[None]


def test_what_cannot_be_encoded_or_decoded_is_refused() -> None:
    one = item(TENSORS["float32"])
    with pytest.raises(ArgumentError, match=r"has 76800 bytes"):
        encode([Item(one.raw[:-1], one.dtype, one.shape)])
    with pytest.raises(ArgumentError, match="threads"):
        encode([one], threads=0)
    with pytest.raises(UnsupportedError, match="coder 9"):
        decode(bytes([9, 1, 2]), [one.spec])
    assert codec.STORED == 0
    assert encode([item(np.array(1.5, np.float64))])[0] == codec.STORED
