"""Level `max` of the storage tier: every tensor back bit for bit, the native coder equal to the reference, damage told."""

from __future__ import annotations

import hashlib
import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tersely.backends.cpu import native
from tersely.core.dtypes import BY_NAME, BY_TAG, DType, of_array, raw_bytes
from tersely.core.errors import CorruptError, FormatError
from tersely.storage import codec as blocks
from tersely.storage.mixing import codec, forms, reference, reference_form

Tensors = list[tuple[np.ndarray, DType, tuple[int, ...]]]

SIGNS = (0, 1, 0b100101, 0b111111)
"""Contexts of signs: none, the class alone, three, all."""

GOLDEN = "9f0bf81b9646306ebd3defac588d34d70962c8df6f2c48d1cfaea869cb54b140"

needs_native = pytest.mark.skipif(not native.available(), reason="the native module is not there")


def tensors_of(*arrays: np.ndarray) -> Tensors:
    return [(raw_bytes(array), of_array(array), array.shape) for array in arrays]


def specs_of(tensors: Tensors) -> list[tuple[DType, tuple[int, ...], int]]:
    return [(dtype, shape, raw.size) for raw, dtype, shape in tensors]


def round_trip(tensors: Tensors) -> bytes:
    block = codec.encode(tensors)
    decoded = codec.decode(np.frombuffer(block, np.uint8), specs_of(tensors))
    for (raw, _, _), found in zip(tensors, decoded, strict=True):
        assert found.tobytes() == raw.tobytes()
    return block


def some_weights(seed: int = 0) -> list[np.ndarray]:
    """Small tensors of every kind of words: dense, pruned, few values, shorter floats within longer ones, integers."""
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(16, 12, 3, 3)).astype(np.float32)
    pruned = np.where(np.abs(dense) < 1, np.float32(0), dense)
    pruned[0, 0] = -0.0
    mixed = rng.normal(size=(60, 30)).astype(np.float32)
    mixed[::2] = mixed[::2].astype(np.float16)
    traces = (rng.normal(size=(40, 40)).astype(np.float32).view(np.uint32) & ~np.uint32(5)).view(np.float32)
    return [
        dense,
        pruned,
        mixed,
        traces,
        np.round(dense * 4),
        rng.normal(size=(40, 30)).astype(np.float16),
        rng.normal(size=2000).astype(ml_dtypes.bfloat16),
        rng.normal(size=(5, 4, 60)).astype(ml_dtypes.float8_e4m3fn),
        rng.integers(-20, 20, (64, 30)).astype(np.int8),
        rng.integers(0, 5, (3, 3, 200)).astype(np.uint8),
        rng.integers(0, 9, (40, 40)).astype(np.int32),
        rng.normal(size=(30, 40)),
        np.zeros((50, 50), np.float32),
        np.arange(1200).reshape(40, 30) * 7,
    ]


@pytest.mark.parametrize("number", range(len(some_weights())))
def test_tensors_come_back(number: int) -> None:
    array = some_weights()[number]
    block = round_trip(tensors_of(array))
    if array.dtype != np.float64:
        assert len(block) < array.nbytes


@needs_native
@pytest.mark.parametrize("number", range(len(some_weights())))
@pytest.mark.parametrize(
    ("contexts", "depth"), [(1, 4), (1 | 1 << 1 | 1 << 7 | 1 << 9, 2), (0b110110111001, 64), (0b10010, 0)]
)
def test_the_native_coder_equals_the_reference(number: int, contexts: int, depth: int) -> None:
    array = some_weights()[number].reshape(-1)[:1200].reshape(4, 5, 3, 20)
    raw, dtype, shape = tensors_of(array)[0]
    layout = forms.layout_of(dtype, shape, raw.size)
    words = raw.view(f"<u{layout.word_bytes}")
    side = forms.choose(words, layout, dtype, None)
    if len(side) > 1:
        side = side[:1] + bytes([SIGNS[number % 4]]) + contexts.to_bytes(2, "little") + bytes([depth]) + side[5:]
    text = np.frombuffer(b'{"weight":{"dtype":"F32","shape":[4,5]}}' * 3, np.uint8)
    of_text = forms.layout_of(BY_NAME["uint8"], (text.size,), text.size)
    ours = codec._encode([raw, text], [layout, of_text], [side, forms.BYTES_SIDE])
    items = [
        reference_form.Item(bytearray(one.tobytes()), a.word_bytes, a.exponent, a.mantissa, a.axes)
        for one, a in ((raw, layout), (text, of_text))
    ]
    assert reference.encode(items, [side, forms.BYTES_SIDE]) == ours
    blank = [
        reference_form.Item(bytearray(len(one.data)), one.word_bytes, one.exponent, one.mantissa, one.axes)
        for one in items
    ]
    reference.decode(ours, blank)
    assert [one.data for one in blank] == [one.data for one in items]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_bytes_of_any_dtype_come_back(data: st.DataObject) -> None:
    dtype = BY_NAME[data.draw(st.sampled_from(sorted(BY_NAME)))]
    shape = tuple(data.draw(st.lists(st.integers(0, 7), max_size=6)))
    if dtype.packed:
        shape = (*shape, 8)
    nbytes = math.prod(shape) * dtype.bits // 8
    raw = np.frombuffer(data.draw(st.binary(min_size=nbytes, max_size=nbytes)), np.uint8)
    text = np.frombuffer(data.draw(st.binary(max_size=40)), np.uint8)
    round_trip([(text, BY_NAME["uint8"], (text.size,)), (raw, dtype, shape)])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64", "float8_e4m3fn", "float8_e5m2"])
def test_every_exponent_sign_and_payload_comes_back(dtype: str) -> None:
    one = BY_NAME[dtype]
    rng = np.random.default_rng(3)
    words = rng.integers(0, 1 << min(one.bits, 63), 1500, np.uint64)
    exponent, mantissa = forms.FLOATS[dtype]
    top = np.arange(1500, dtype=np.uint64) % (2 << exponent) << np.uint64(mantissa)
    words = np.where(np.arange(1500) % 3 > 0, top, words)  # zeros, infinities, first subnormals, NaNs
    round_trip([(words.astype(one.word).view(np.uint8), one, (1500,))])


def test_nothing_and_single_numbers_come_back() -> None:
    nothing = np.zeros((0, 3), np.float32)
    assert round_trip(tensors_of(nothing, np.float32(3.5).reshape(()), np.ones((1, 1, 1), np.int8)))
    assert round_trip([])


def test_a_wide_range_of_floats_is_coded_without_a_symbol_for_each() -> None:
    rng = np.random.default_rng(5)
    wide = np.exp(rng.normal(size=(40, 50)) * 200)  # float64: more exponents and first bits than a form has symbols
    round_trip(tensors_of(wide))


@pytest.mark.parametrize("number", [0, 1, 4, 8])
def test_damage_is_told_or_gives_bytes_of_the_claimed_size(number: int) -> None:
    tensors = tensors_of(some_weights()[number].reshape(-1)[:1100], np.frombuffer(b"some text, twice " * 2, np.uint8))
    block = codec.encode(tensors)
    rng = np.random.default_rng(number)
    damaged = [block[:cut] for cut in (*range(12), *rng.integers(0, len(block), 10))]
    for at in (*range(min(60, len(block))), *rng.integers(0, len(block), 30)):
        flipped = bytearray(block)
        flipped[at] ^= 1 << int(rng.integers(8))
        damaged.append(bytes(flipped))
    damaged += [b"\xff" * size for size in (8, 16, 300)] + [b"\0" * 8 + b"\xff" * 12]
    damaged += [rng.integers(0, 256, int(size), np.uint8).tobytes() for size in rng.integers(0, 300, 40)]
    for one in damaged:
        told = len(one) < len(block) and one == block[: len(one)]
        try:
            found = codec.decode(np.frombuffer(one, np.uint8), specs_of(tensors))
        except CorruptError as error:
            assert str(error)
        else:
            assert not told
            assert [raw.size for raw in found] == [raw.size for raw, _, _ in tensors]


def test_an_infinite_claim_of_coded_bytes_is_refused() -> None:
    block = np.frombuffer((1 << 63).to_bytes(8, "little") + b"\0" * 20, np.uint8)
    with pytest.raises(CorruptError, match="cut short"):
        codec.decode(block, [(BY_NAME["float32"], (4,), 16)])


def test_contexts_pay_where_rows_differ() -> None:
    rng = np.random.default_rng(7)
    rows = (rng.normal(size=(64, 256)) * np.exp(rng.normal(size=(64, 1)) * 2)).astype(np.float32)
    shuffled = rng.permutation(rows.reshape(-1)).reshape(rows.shape)
    assert len(codec.encode(tensors_of(rows))) < 0.985 * len(codec.encode(tensors_of(shuffled)))


@needs_native
def test_what_tells_nothing_is_not_mixed() -> None:
    rng = np.random.default_rng(9)
    noise = np.round(rng.normal(size=(128, 256)) * 30).clip(-127, 127).astype(np.int8)
    signed = np.where(np.arange(256) % 2 == 0, np.abs(noise), -np.abs(noise)).astype(np.int8)
    rows = np.round(noise * np.exp(rng.normal(size=(128, 1)))).clip(-127, 127).astype(np.int8)
    sides = []
    for array in (noise, signed, rows):
        raw, dtype, shape = tensors_of(array)[0]
        sides.append(forms.choose(*codec._asked(raw, forms.layout_of(dtype, shape, raw.size), dtype)))
    signs = [side[1].bit_count() for side in sides]
    contexts = [int.from_bytes(side[2:4], "little").bit_count() for side in sides]
    assert signs[0] <= 1 < signs[1]
    assert contexts[0] == 1 < contexts[2]
    assert sides[0][4] == min(forms._DEPTHS)


def test_lowest_bits_that_arithmetic_left_are_found() -> None:
    rng = np.random.default_rng(8)
    noise = rng.normal(size=(100, 100)).astype(np.float32)
    rounded = (noise.view(np.uint32) & ~np.uint32(rng.integers(0, 2, noise.shape) * 3)).view(np.float32)
    assert len(codec.encode(tensors_of(noise))) - len(codec.encode(tensors_of(rounded))) > 1e4 * 0.3 / 8


def test_the_format_stays() -> None:
    """What was coded by an earlier release must decode with this one: change the version of the file, not this."""
    arrays = [np.arange(1200, dtype=np.float32).reshape(30, 40) * np.float32(0.37), np.arange(90, dtype=np.int16)]
    layouts = [forms.layout_of(of_array(one), one.shape, one.nbytes) for one in arrays]
    sides = [
        forms.choose(raw_bytes(one).view(f"<u{one.itemsize}"), layout, of_array(one), None)
        for one, layout in zip(arrays, layouts, strict=True)
    ]
    block = codec._encode([raw_bytes(one) for one in arrays], layouts, sides)
    assert hashlib.sha256(block).hexdigest() == GOLDEN


@pytest.mark.parametrize("tag", ["F32", "BF16", "I8"])
def test_small_tensors_of_one_dtype_are_coded_as_one_where_that_is_smaller(tag: str, rng: np.random.Generator) -> None:
    """What is learnt of one serves the next; items come back as they were, and other items are refused."""
    dtype = BY_TAG[tag]
    scale = 1 if dtype.floating else 20
    arrays = [
        ((rng.standard_normal(shape) * 0.1 + 1) * scale).astype(dtype.numpy) for shape in ((600,), (5, 130), (), (700,))
    ]
    items = [blocks.Item(raw_bytes(array), dtype, array.shape) for array in arrays]
    specs = [item.spec for item in items]
    sizes = dict(blocks.ways(items))
    assert sizes["mixing as one"] < sizes["mixing 4 forms"]
    block = blocks.encode(items)
    assert block[0] == blocks.JOINED
    for found, item in zip(blocks.decode(block, specs), items, strict=True):
        assert np.array_equal(found, item.raw)
    for length in (*range(12), len(block) // 2, len(block) - 1):
        with pytest.raises(FormatError):
            blocks.decode(block[:length], specs)
    with pytest.raises(CorruptError, match="several dtypes"):
        blocks.decode(block, [*specs[:3], blocks.Spec(BY_TAG["U64"], (3,))])
    with pytest.raises(CorruptError):
        blocks.decode(block, [])
