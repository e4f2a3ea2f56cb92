"""`row_palette`: the encoder against the references, every kernel against the original bits and float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.arrays import ISAS, needs_native, normal, same_bits
from support.references import reference_words
from support.row_palette_weights import BFLOAT16, DTYPES, FLOAT16, FLOAT32, coded, shared

import tersely
from tersely.backends.cpu import isa
from tersely.codes.words.affine.row_fields import reference_pack, reference_unpack
from tersely.codes.words.row_palette import codec, reference
from tersely.codes.words.row_palette.formulation import row_palette
from tersely.codes.words.row_palette.layout import INDICES, TABLES, Tables
from tersely.core.dtypes import raw_bytes
from tersely.core.errors import ArgumentError
from tersely.planner import choose
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.kernels


def words_of(array: np.ndarray) -> np.ndarray:
    return raw_bytes(array).view(f"<u{array.itemsize}").reshape(array.shape)


def check(array: np.ndarray, orientation: str = "out_in", **options: Any) -> Tensor:
    """Native tables and lines are those of the references; every ISA and the references decode them."""
    tensor = coded(array, orientation=orientation, **options)
    encoded, geometry, words = tensor.encoded, tensor.geometry, words_of(array)
    shape = Tables.parse(encoded.node)
    most = codec.max_entries(geometry, shape.columns)
    assert reference.entries_of(words, geometry, encoded.dtype, shape.columns, most) == shape.entries
    tables, indices = reference.encode(words, geometry, encoded.dtype, shape.columns, shape.entries)
    assert encoded.components[TABLES][: tables.nbytes].tobytes() == tables.tobytes()
    if shape.bits is not None:
        lines = reference_pack(indices, geometry, shape.bits)
        assert encoded.components[INDICES][: lines.size].tobytes() == lines.tobytes()
        assert np.array_equal(reference_unpack(lines, geometry, shape.bits), indices)
    assert same_bits(reference_words(encoded), words)
    for name in ISAS:
        with isa.using(name):
            assert same_bits(Tensor(encoded).decode(), array), name
    return tensor


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_words_that_are_no_numbers(dtype: np.dtype, rng: np.random.Generator) -> None:
    """NaN with payloads, infinities and -0.0 are words as others are; rows of nothing else too."""
    kind = np.dtype(f"<u{dtype.itemsize}")
    exponent = {FLOAT32: 0x7F800000, BFLOAT16: 0x7F80, FLOAT16: 0x7C00}[dtype]
    sign = 1 << (8 * dtype.itemsize - 1)
    words = np.array([0, sign, exponent, exponent | sign, exponent + 1, exponent + 5, sign + exponent + 3, 1], kind)
    array = words[rng.integers(8, size=(48, 96))]
    array[3] = words[2:7][rng.integers(5, size=96)]
    array[4] = exponent
    tensor = check(array.view(dtype))
    assert tensor.parameters["entries"] == 8
    first = tensor.encoded.components[TABLES].view(kind)[: 48 * 8].reshape(-1, 8)[:, 0]
    assert np.isfinite(first.view(dtype).astype(np.float32)).all()


def test_groups_are_taken_where_they_are_smaller(rng: np.random.Generator) -> None:
    by_rows, by_groups = shared(rng, (64, 1024), entries=16), shared(rng, (64, 2048), entries=15, columns=128)
    assert coded(by_rows).parameters == {"columns": 0, "entries": 16, "bits": 4}
    assert coded(by_groups).parameters == {"columns": 128, "entries": 15, "bits": 4}


@pytest.mark.parametrize(
    "values",
    [
        lambda rng: rng.standard_normal((64, 64)).astype(np.float32),
        lambda rng: np.tile(np.arange(300, dtype=np.float32), (16, 8)),
        lambda rng: np.zeros((0, 64), np.float32),
        lambda rng: np.zeros((64, 0), np.float32),
    ],
)
def test_other_words_are_refused_with_a_sentence(values: Any, rng: np.random.Generator) -> None:
    array = values(rng)
    with pytest.raises(ArgumentError, match=r"few distinct words|seen as matrices"):
        coded(array)
    assert not row_palette.candidates(choose.Request(words_of(array), "float32", objective="size"))


def test_one_word_too_many_in_the_last_group(rng: np.random.Generator) -> None:
    array = shared(rng, (48, 128), entries=4, columns=16)
    coded(array, columns=16)
    array[47, 112:117] = np.arange(5) + 100
    for isa_name in ISAS:
        with (
            isa.using(isa_name),
            pytest.raises(ArgumentError, match="some group of 16 columns of this tensor has more than 4"),
        ):
            coded(array, columns=16)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"colour": 1}, "no parameter 'colour'"),
        ({"code": "grid"}, "unknown code 'grid'"),
        ({"code": "constant"}, "of one word each"),
        ({"columns": 48}, "power of two from 16"),
        ({"columns": 16.0}, "power of two from 16"),
        ({"columns": True}, "power of two from 16"),
        ({"widths": (2,)}, "and no other, needs widths"),
        ({"code": "layered"}, "needs widths"),
        ({"code": "layered", "widths": (9,)}, "a few integers"),
        ({"code": "layered", "widths": "x"}, "a few integers"),
        ({"view": "folded"}, "seen as matrices"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], sentence: str, rng: np.random.Generator) -> None:
    with pytest.raises(ArgumentError, match=sentence):
        coded(shared(rng, (32, 64)), **options)


@needs_native
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_infinities_of_x_and_of_words_are_those_of_the_words(
    value: float, each_isa: str, rng: np.random.Generator
) -> None:
    """Rows without infinities are finite: what pads a line, a row or a panel is no word of another."""
    weight = shared(rng, (48, 70), FLOAT32, 7)
    weight[17] = value
    weight[18, ::2] = value
    tensor = coded(weight)
    for batch in (1, 3, 20):
        x = normal(rng, (batch, 70), FLOAT32)
        y = tersely.linear(x, tensor)
        with np.errstate(all="ignore"):
            expected = x.astype(np.float64) @ weight.astype(np.float64).T
        assert np.array_equal(np.isfinite(y), np.isfinite(expected))
        x[batch // 2, 5] = value
        with np.errstate(all="ignore"):
            expected = x.astype(np.float64) @ weight.astype(np.float64).T
        assert np.array_equal(np.isnan(tersely.linear(x, tensor)), np.isnan(expected))


def test_what_is_slow_is_not_taken_for_speed(rng: np.random.Generator) -> None:
    """More words than registers hold are looked up one by one."""
    array = shared(rng, (512, 1024), FLOAT32, 100)
    for objective in ("balanced", "speed"):
        assert choose.encode(array, objective=objective).node.formulation != "row_palette"
