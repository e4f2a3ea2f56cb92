"""`row_palette`: the encoder against the references, every kernel against the original bits and float64."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arrays import ISAS, needs_native, normal, same_bits
from support.products import assert_close
from support.references import reference_words
from support.row_palette_weights import BFLOAT16, CODES, DTYPES, FLOAT16, FLOAT32, coded, shared

import tersely
from tersely.backends.cpu import isa, threads
from tersely.codes.affine.row_fields import reference_pack, reference_unpack
from tersely.codes.row_palette import codec, reference
from tersely.codes.row_palette.formulation import row_palette
from tersely.codes.row_palette.layout import INDICES, TABLES, Tables
from tersely.core.dtypes import raw_bytes
from tersely.core.errors import ArgumentError
from tersely.planner import choose
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.kernels

SHAPES = ((48, 101), (32, 2304), (304, 48), (16, 4100), (3, 48, 64), (32, 32, 3, 3), (64, 20, 1, 1))


def words_of(array: np.ndarray) -> np.ndarray:
    return raw_bytes(array).view(f"<u{array.itemsize}").reshape(array.shape)


def geometry_of(array: np.ndarray) -> Any:
    return choose.Request(words_of(array), array.dtype.name).geometry()


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
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_isa_decodes_what_references_and_native_encode_alike(
    shape: tuple[int, ...], dtype: np.dtype, rng: np.random.Generator
) -> None:
    length = int(np.prod(shape[1:])) if len(shape) == 4 else shape[-1]
    for entries, code in itertools.product((1, 2, 3, 5, 16, 100), CODES):
        if entries <= length // 4:
            check(shared(rng, shape, dtype, entries), **code)
    if len(shape) < 4:
        for columns, entries in ((16, 4), (32, 7), (64, 16)):
            if columns < shape[-1]:
                tensor = check(shared(rng, shape, dtype, entries, columns), columns=columns)
                assert tensor.parameters["columns"] == columns
    if shape[-1] % 16 == 0 and len(shape) in (2, 3):
        check(shared(rng, shape, dtype, 4, orientation="in_out"), "in_out")


@given(
    st.sampled_from(DTYPES),
    st.integers(1, 5).map(lambda panels: 16 * panels),
    st.one_of(st.integers(16, 300), st.sampled_from((2048, 2052, 4096))),
    st.integers(1, 256),
    st.sampled_from((0, 0, 16, 64)),
    st.integers(0, 2**32 - 1),
)
def test_whatever_the_shape_and_tables(
    dtype: np.dtype, rows: int, columns: int, entries: int, group: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    array = shared(rng, (rows, columns), dtype, min(entries, (group or columns) // 4), group)
    if geometry_of(array).view != "folded" and group <= columns:
        check(array, columns=group)


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
        ({"code": "layered", "widths": (9,)}, "a few whole numbers"),
        ({"code": "layered", "widths": "x"}, "a few whole numbers"),
        ({"view": "folded"}, "seen as matrices"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], sentence: str, rng: np.random.Generator) -> None:
    with pytest.raises(ArgumentError, match=sentence):
        coded(shared(rng, (32, 64)), **options)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sizes_are_known_before_writing_and_options_make_the_same(dtype: np.dtype, rng: np.random.Generator) -> None:
    for shape, entries in itertools.product(((48, 100), (32, 2304), (32, 32, 3, 3)), (3, 25)):
        array = shared(rng, shape, dtype, entries)
        for objective in choose.OBJECTIVES:
            found = row_palette.candidates(choose.Request(words_of(array), dtype.name, objective=objective))
            assert found
            for candidate in found:
                stored = candidate.components(1)
                assert sum(data.nbytes for data in stored.values()) == candidate.nbytes
                again = choose.encode(array, formulation="row_palette", **candidate.options)
                assert again.node == candidate.node
                assert {name: data.tobytes() for name, data in again.components.items()} == {
                    name: data.tobytes() for name, data in stored.items()
                }


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rows_and_single_weights_are_exact(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    for dtype, code in itertools.product(DTYPES, CODES):
        array = shared(rng, shape, dtype, 5)
        tensor = coded(array, **code)
        for first, last in ((0, 1), (1, shape[0]), (shape[0] // 2, shape[0] // 2), (-2, shape[0])):
            assert same_bits(tensor.rows(first, last), np.ascontiguousarray(array[first:last]))
        for _ in range(20):
            index = tuple(int(rng.integers(-length, length)) for length in shape)
            assert np.asarray(tensor[index]).tobytes() == array[index].tobytes()


@needs_native
@pytest.mark.parametrize("shape", [(48, 101), (32, 2304), (304, 64), (16, 4100)], ids=str)
def test_products_are_those_of_the_words(shape: tuple[int, int], each_isa: str, rng: np.random.Generator) -> None:
    bias = rng.standard_normal(shape[0]).astype(np.float32)
    batches = (1, 3, 9) if each_isa == "scalar" else (1, 2, 3, 4, 5, 8, 9, 16, 17, 33)
    forms = [(2, 0), (3, 0), (7, 32), (16, 0), (4, 16), (15, 64), (min(100, shape[1] // 4), 0)]
    for dtype, (entries, columns) in itertools.product(DTYPES, forms):
        if columns >= shape[1] or entries > (columns or shape[1]) // 4:
            continue
        weight = shared(rng, shape, dtype, entries, columns)
        for code in CODES[: 3 if entries == 7 else 1]:
            tensor = coded(weight, columns=columns, **code)
            for x_dtype, batch in itertools.product({FLOAT32, dtype}, batches):
                x = normal(rng, (batch, shape[1]), x_dtype)
                assert_close(tersely.linear(x, tensor, bias), x, weight, bias)
            x = normal(rng, (3, shape[0]), FLOAT32)
            assert_close(tersely.linear_transposed(x, tensor), x, np.ascontiguousarray(weight.T), None)


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


@needs_native
def test_bits_do_not_depend_on_threads(each_isa: str, rng: np.random.Generator) -> None:
    before = threads.get_num_threads()
    for entries, columns, batch in itertools.product((5, 16, 60), (0, 64), (1, 4, 12)):
        if entries > (columns or 2560) // 4:
            continue
        weight = shared(rng, (608, 2560), FLOAT32, entries, columns)
        x, results = normal(rng, (batch, 2560), FLOAT32), set()
        for count in (1, 2, 7):
            tersely.set_num_threads(count)
            tensor = coded(weight)
            results.add(
                (tersely.linear(x, tensor).tobytes(), *(d.tobytes() for d in tensor.encoded.components.values()))
            )
        assert len(results) == 1
    tersely.set_num_threads(before)
