"""Differences from a reference: the native loops are the NumPy ones, blocks come back bit for bit, damage is refused."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tersely.backends.cpu import native
from tersely.core.dtypes import BY_TAG, DType, of_array, raw_bytes
from tersely.core.errors import ArgumentError, CorruptError, FormatError, UnsupportedError
from tersely.storage import codec
from tersely.storage.differences import coder, reference
from tersely.storage.mixing import codec as mixing
from tersely.storage.numbers import varints

TAGS = sorted(coder.FLOATS)


def item(array: np.ndarray) -> codec.Item:
    return codec.Item(raw_bytes(array), of_array(array), array.shape)


def of_words(rng: np.random.Generator, dtype: DType, count: int, odd: bool) -> np.ndarray:
    """Words of floats: any bits at all - NaN payloads, subnormals, -0.0 - or those of weights."""
    if odd:
        return rng.integers(0, 1 << dtype.bits, count, np.uint64).astype(dtype.word)
    return (rng.standard_normal(count) * 0.05).astype(dtype.numpy).view(dtype.word)


def near(rng: np.random.Generator, words: np.ndarray, dtype: DType) -> np.ndarray:
    """Words a little beside others, some of them the same, the opposite or anything."""
    found = words + rng.integers(0, 40, words.size).astype(words.dtype)
    found[rng.random(words.size) < 0.1] ^= words.dtype.type(1 << dtype.bits - 1)
    some = rng.random(words.size) < 0.05
    found[some] = of_words(rng, dtype, int(some.sum()), odd=True)
    return found


@pytest.mark.parametrize("tag", TAGS)
def test_what_is_near_is_a_small_number(tag: str) -> None:
    dtype = BY_TAG[tag]
    bits = dtype.bits
    words = np.array([0, 1 << bits - 1, 1, (1 << bits - 1) + 1, (1 << bits) - 1, (1 << bits - 1) - 1], np.uint64)
    words = words.astype(dtype.word)
    for word in words:
        for other in words:
            one, two = np.array([word]), np.array([other])
            coded = reference.difference(one, two)
            assert reference.undone(coded, two) == one
            assert (coded == 0) == (word == other)
    zero, least = words[:1], words[2:3]
    assert reference.difference(least, zero) == 2
    assert reference.difference(words[1:2], zero) == 1, "-0.0 lies just below 0.0"
    assert reference.difference(zero, words[1:2]) == 2


@pytest.mark.kernels
@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("count", [1, 2, 63, 257, 5000])
@pytest.mark.parametrize("odd", [False, True])
def test_native_loops_are_those_of_the_reference(
    tag: str, count: int, odd: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, each_isa: str
) -> None:
    dtype = BY_TAG[tag]
    other = of_words(rng, dtype, count, odd)
    words = near(rng, other, dtype)
    given = codec.Item(words.view(np.uint8), dtype, (count,))
    block = codec.encode_near(given, 1, other.view(np.uint8))
    found = codec.decode(block, [given.spec], 1, other.view(np.uint8))[0]
    assert np.array_equal(found, given.raw)
    monkeypatch.setattr(native, "module", None)
    bits = coder.FLOATS[tag]
    assert (
        coder._counts(other.view(np.uint8), dtype).tolist()
        == np.bincount(reference.exponents(other, *bits), minlength=1 << bits[0]).tolist()
    )
    assert np.array_equal(codec.decode(block, [given.spec], 1, other.view(np.uint8))[0], given.raw)
    if count < 1000:
        assert codec.encode_near(given, 1, other.view(np.uint8)) == block


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_words_come_back(data: st.DataObject) -> None:
    dtype = BY_TAG[data.draw(st.sampled_from(TAGS))]
    count = data.draw(st.integers(1, 700))
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 32)))
    other = of_words(rng, dtype, count, data.draw(st.booleans()))
    words = near(rng, other, dtype) if data.draw(st.booleans()) else of_words(rng, dtype, count, odd=True)
    given = codec.Item(words.view(np.uint8), dtype, (count,))
    block = codec.encode_near(
        given, data.draw(st.integers(1, 1000)), other.view(np.uint8), data.draw(st.sampled_from(["fast", "max"]))
    )
    assert np.array_equal(codec.decode(block, [given.spec], 1, other.view(np.uint8))[0], given.raw)


def sample(rng: np.random.Generator, count: int = 900) -> tuple[codec.Item, np.ndarray, bytes]:
    """Averages of weights, the weights, and the block; its classes are several."""
    weights = (rng.standard_normal(count) * 0.05).astype(ml_dtypes.bfloat16)
    average = (weights.astype(np.float32) + rng.standard_normal(count).astype(np.float32) * 1e-3).astype(
        ml_dtypes.bfloat16
    )
    given = item(average)
    return given, raw_bytes(weights), codec.encode_near(given, 3, raw_bytes(weights))


def test_a_block_says_what_it_refers_to(rng: np.random.Generator) -> None:
    given, _, block = sample(rng)
    assert block[0] == codec.DIFFERENCES
    assert block[2] > 0, "several classes"
    assert codec.back_of(memoryview(block)) == 3
    assert codec.back_of(memoryview(codec.encode([given]))) == 0
    assert len(block) < 0.7 * len(codec.encode([given]))


def test_every_byte_and_every_prefix_of_a_block(rng: np.random.Generator) -> None:
    """The block alone has no checksum: what is changed is refused, or gives as many bytes, without more memory."""
    given, other, block = sample(rng)
    for at in range(len(block)):
        for bit in (1, 0x10, 0x80):
            damaged = block[:at] + bytes([block[at] ^ bit]) + block[at + 1 :]
            try:
                (found,) = codec.decode(damaged, [given.spec], 1, other)
            except FormatError:
                continue
            assert found.size == given.raw.size
    for length in range(len(block)):
        with pytest.raises(FormatError):
            codec.decode(block[:length], [given.spec], 1, other)
    with pytest.raises(FormatError):
        codec.decode(block + b"\0", [given.spec], 1, other)


def test_blocks_that_cannot_be_are_refused(rng: np.random.Generator) -> None:
    given, other, block = sample(rng)
    for reference_bytes, specs in (
        (None, [given.spec]),
        (other[:-2], [given.spec]),
        (other, [given.spec, given.spec]),
        (other, [codec.Spec(BY_TAG["U8"], (other.size,))]),
    ):
        with pytest.raises(CorruptError, match="nothing to differ from"):
            codec.decode(block, specs, 1, reference_bytes)
    head, one = bytes([codec.DIFFERENCES, 1]), b"\0" + bytes(1800)
    for rest in (
        bytes([16]),  # more classes than there may be
        bytes([1, 0, 1, 1]),  # a class that begins where the one before does
        bytes([1, 200, 2, 1, 1]),  # beyond the last exponent
        bytes([0, 0]),  # no block for its elements
        bytes([1, 1, 5, 3]) + bytes(8),  # a block for no elements
        bytes([0]) + bytes([137, 14]) + one[:-1],
        bytes([0, 9, 3, 1, 0, 1, 1]) + bytes(5),  # differences of differences
    ):
        with pytest.raises((CorruptError, UnsupportedError)):
            codec.decode(head + rest, [given.spec], 1, other)
    joined = bytes([codec.JOINED]) + mixing.encode([(np.zeros(1800, np.uint8), BY_TAG["U16"], (900,))])
    with pytest.raises(CorruptError, match="coder 4"):
        codec.decode(head + bytes([0]) + varints([len(joined)]) + joined, [given.spec], 1, other)
    assert np.array_equal(codec.decode(head + bytes([0, 137, 14]) + one, [given.spec], 1, other)[0], other), (
        "all differences are 0"
    )
    with pytest.raises(CorruptError, match="refers to itself"):
        codec.back_of(memoryview(bytes([codec.DIFFERENCES, 0, 0])))


@pytest.mark.skipif(not native.available(), reason="the native module is not there")
def test_native_loops_check_what_they_are_given() -> None:
    words, classes = np.zeros(8, np.uint8), np.zeros(256, np.uint8)
    split = native.module.difference_split
    split(words, words.copy(), 4, 8, 23, classes, words.copy())
    for wrong in (
        (words, words[:4].copy(), 4, 8, 23, classes, words.copy()),
        (words, words.copy(), 4, 8, 23, classes[:255].copy(), words.copy()),
        (words, words.copy(), 4, 8, 22, classes, words.copy()),
        (words, words.copy(), 3, 8, 15, classes, words.copy()),
        (words[:6].copy(), words[:6].copy(), 4, 8, 23, classes, words[:6].copy()),
        (words, words.copy(), 4, 8, 23, classes, words[:4].copy()),
    ):
        with pytest.raises((ValueError, ArgumentError)):
            split(*wrong)
