"""`affine`: what words are recognised, the encoder against the references, every kernel against the original bits and
float64, bad files."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.affine_weights import BFLOAT16, DTYPES, FLOAT32, coded, quantised
from support.arrays import ISAS, needs_native, normal, same_bits
from support.references import reference_words

import tersely
from tersely.backends.cpu import isa
from tersely.codes.words.affine import codec, reference
from tersely.codes.words.affine.formulation import affine
from tersely.codes.words.affine.layout import NUMBERS, Scaling, side_by_side
from tersely.codes.words.affine.row_fields import reference_pack, reference_unpack
from tersely.core.dtypes import raw_bytes
from tersely.core.errors import ArgumentError
from tersely.planner import choose
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.kernels


def words_of(array: np.ndarray) -> np.ndarray:
    return raw_bytes(array).view(f"<u{array.itemsize}").reshape(array.shape)


def check(array: np.ndarray, orientation: str = "out_in", **options: Any) -> Tensor:
    """Native scales, lines and signs are those of the references; every ISA and the references decode them."""
    tensor = coded(array, orientation=orientation, **options)
    encoded, geometry, words = tensor.encoded, tensor.geometry, words_of(array)
    scaling = Scaling.parse(encoded.node)
    found = reference.fit(words, geometry, encoded.dtype, scaling.columns)
    assert found is not None
    scales = side_by_side(found[0][scaling.dtype], geometry, 1.0)
    raw = reference.words_of(scales, scaling.dtype).tobytes()
    assert encoded.components["scales"][: len(raw)].tobytes() == raw
    low = side_by_side(found[1], geometry, 0)
    zeros = -low if scaling.zero is None else np.full_like(low, scaling.zero)
    assert found[3] == scaling.signed_zeros
    most = int((found[2].max() if scaling.zero is not None else (found[2] - found[1]).max()) + (scaling.zero or 0))
    numbers, negative = reference.numbers_of(words, geometry, encoded.dtype, scaling.columns, scales, zeros, most)
    if scaling.bits is not None:
        lines = reference_pack(numbers, geometry, scaling.bits)
        assert encoded.components[NUMBERS][: lines.size].tobytes() == lines.tobytes()
        assert np.array_equal(reference_unpack(lines, geometry, scaling.bits), numbers)
    if scaling.signed_zeros:
        starts, signs = reference.signs_of(numbers, negative, geometry, scaling.columns, zeros)
        assert encoded.components["directory"][: starts.nbytes].tobytes() == starts.tobytes()
        assert encoded.components["signs"][: signs.size].tobytes() == signs.tobytes()
    assert same_bits(reference_words(encoded), words)
    for name in ISAS:
        with isa.using(name):
            assert same_bits(Tensor(encoded).decode(), array), name
    return tensor


@given(
    st.sampled_from(DTYPES),
    st.integers(1, 5).map(lambda panels: 16 * panels),
    st.one_of(st.integers(16, 300), st.sampled_from((2048, 2052, 4096))),
    st.integers(1, 8),
    st.sampled_from((0, 0, 16, 64)),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_whatever_the_shape_and_scales(
    dtype: np.dtype, rows: int, columns: int, bits: int, group: int, zeros: bool, negative: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    array = quantised(rng, (rows, columns), dtype, bits, group, zeros=zeros, negative=negative)
    geometry = coded_geometry(array)
    if geometry.view == "folded":
        return
    # Too few weights of too many levels say too little of their scale.
    found = codec.scales_of_groups(words_of(array), geometry, dtype.name, group)
    assert found is not None or bits > 4 or columns < 32
    if found is not None:
        check(array, columns=group)


def test_what_quantisers_leave_is_recognised(rng: np.random.Generator) -> None:
    """Products in float32, rounded to the dtype, by scales of 32 and 16 bits; and their scales come back."""
    for dtype, scale_dtype in itertools.product(DTYPES, DTYPES):
        scales = (rng.random(64) * 0.01 + 1e-3).astype(scale_dtype).astype(np.float32)
        steps = np.clip(np.rint(rng.standard_normal((64, 512)) * 2.5), -8, 7)
        steps[:, :2] = 1, -8
        tensor = check((steps * scales[:, None]).astype(np.float32).astype(dtype) + dtype.type(0))
        assert tensor.parameters["columns"] == 0
        assert tensor.parameters["bits"] == 4
        assert tensor.parameters["zero"] == 8
        if dtype == FLOAT32:
            assert tensor.parameters["scale_dtype"] == scale_dtype.name
            own = reference.values_of(
                tensor.encoded.components["scales"].view(f"<u{scale_dtype.itemsize}")[:64], scale_dtype.name
            )
            assert np.abs(own / scales - 1).max() <= 2.0**-23


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("zeros", [False, True])
def test_groups_of_eight_bits_are_recognised(dtype: np.dtype[Any], zeros: bool, rng: np.random.Generator) -> None:
    """As GGUF's Q8_0 leaves them: 32 columns, the largest one 127 times a float16. In bfloat16 a weight is rounded by
    up to half a step, and the nearest multiple of the scales that the weights before allow is often the wrong one."""
    weights = (rng.standard_normal((256, 8, 32)) * 0.02).astype(np.float32)
    scales = (np.abs(weights).max(2, keepdims=True) / 127).astype(np.float16).astype(np.float32)
    numbers = np.rint(weights / scales).clip(-127, 127)
    if zeros:
        numbers -= rng.integers(-60, 60, (256, 8, 1))
    array = (numbers.astype(np.float32) * scales).reshape(256, 256).astype(dtype) + dtype.type(0)
    tensor = tersely.encode(array, formulation="affine", columns=32)
    assert same_bits(tensor.decode(), array)
    assert tensor.parameters["columns"] == 32


@pytest.mark.parametrize("dtype", [dtype.name for dtype in DTYPES])
def test_few_numbers_whose_small_multiples_no_float_scale_gives(dtype: str, rng: np.random.Generator) -> None:
    """A scale may exist in reals and not among floats for one multiple, and among floats for a larger one."""
    numbers = rng.integers(-127, 128, (400, 4))
    scales = rng.uniform(0.001, 0.02, (400, 1)).astype(np.float32)
    words = reference.words_of((numbers * scales).astype(np.float32), dtype)
    assert all(reference.fit_group(row, dtype) is not None for row in words)


def test_rows_of_one_value_are_scales(rng: np.random.Generator) -> None:
    array = np.repeat(rng.standard_normal((64, 1)).astype(np.float32) ** 2 + np.float32(0.1), 512, axis=1)
    tensor = check(array, code="constant")
    assert tensor.encoded.node.children[NUMBERS].parameters["code"] == "constant"
    assert choose.encode(array, objective="size").nbytes_stored <= tensor.encoded.nbytes_stored < 1024


def test_the_longest_groups_that_have_a_scale(rng: np.random.Generator) -> None:
    for columns in (16, 64, 1024):
        assert coded(quantised(rng, (32, 2048), bits=4, columns=columns)).parameters["columns"] == columns


@pytest.mark.parametrize(
    "values",
    [
        lambda rng: rng.standard_normal((64, 64)).astype(np.float32),
        lambda rng: np.where(rng.random((64, 64)) < 0.5, np.float32(np.inf), np.float32(1)),
        lambda rng: np.where(rng.random((64, 64)) < 0.5, np.float32(np.nan), np.float32(1)),
        lambda rng: rng.integers(-3, 4, (64, 64)).astype(np.float32) * np.float32(2.0**-130),  # subnormal
        lambda rng: rng.integers(-3, 4, (64, 64)).astype(np.float32) * np.float32(2.0**126),
        lambda rng: rng.integers(-200, 201, (64, 512)).astype(np.float32) * np.float32(0.01),  # 401 numbers
        lambda rng: rng.integers(-3, 4, (64, 64)).astype(np.float32) * np.float32(0.01) + np.float32(0.004),
    ],
)
def test_other_words_are_refused_with_a_sentence(values: Any, rng: np.random.Generator) -> None:
    array = values(rng)
    with pytest.raises(ArgumentError, match="integers times a scale"):
        coded(array)
    assert not affine.candidates(choose.Request(words_of(array), "float32", objective="size"))


def test_one_word_off_by_a_little_is_off(rng: np.random.Generator) -> None:
    """In bfloat16 a word off by one may be another multiple of a finer scale: then every bit is kept."""
    for dtype in DTYPES:
        words = words_of(quantised(rng, (32, 256), dtype)).copy()
        words[17, 200] = words[17].max() ^ 1
        array = words.view(dtype)
        try:
            tensor = coded(array, columns=0)
        except ArgumentError as error:
            assert "integers times a scale" in str(error)
        else:
            assert dtype == BFLOAT16
            assert same_bits(tensor.decode(), array)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"colour": 1}, "no parameter 'colour'"),
        ({"code": "grid"}, "unknown code 'grid'"),
        ({"code": "constant"}, "of one number"),
        ({"columns": 48}, "power of two from 16"),
        ({"columns": 16.0}, "power of two from 16"),
        ({"widths": (2,)}, "and no other, needs widths"),
        ({"code": "layered"}, "needs widths"),
        ({"code": "layered", "widths": (9,)}, "a few integers"),
        ({"code": "layered", "widths": "x"}, "a few integers"),
        ({"view": "folded"}, "seen as matrices"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], sentence: str, rng: np.random.Generator) -> None:
    with pytest.raises(ArgumentError, match=sentence):
        coded(quantised(rng, (32, 64)), **options)


def coded_geometry(array: np.ndarray) -> Any:
    return choose.Request(words_of(array), array.dtype.name).geometry()


@needs_native
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_infinities_of_x_are_those_of_the_words(value: float, each_isa: str, rng: np.random.Generator) -> None:
    for bits in (4, 8):
        weight = quantised(rng, (48, 64), FLOAT32, bits)
        tensor = coded(weight)
        for batch in (1, 3, 20):
            x = normal(rng, (batch, 64), FLOAT32)
            x[batch // 2, 5] = value
            with np.errstate(all="ignore"):
                expected = x.astype(np.float64) @ weight.astype(np.float64).T
            y = tersely.linear(x, tensor)
            assert np.array_equal(np.isnan(y), np.isnan(expected))
            assert np.array_equal(np.sign(y[np.isinf(y)]), np.sign(expected[np.isinf(expected)]))
