"""`split`: the native encoder against the reference, and every kernel against the original bits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from support.arrays import ISAS, normal, same_bits

import tersely
from tersely.backends.cpu import isa, native
from tersely.codes import registry
from tersely.codes.words.split.codec import size_model
from tersely.codes.words.split.layout import FIELDS
from tersely.core.dtypes import by_name
from tersely.core.errors import ArgumentError
from tersely.core.geometry import choose, folded
from tersely.planner import choose as plan
from tersely.tensors.tensor import Tensor

pytestmark = [pytest.mark.kernels, pytest.mark.bfloat16_kernels]

SHAPES = ((48, 100), (17, 2300), (3, 40, 33), (32, 32, 3, 3), (20, 6, 5, 5), (7,), (), (100, 2051), (33, 7), (16, 4))


@pytest.mark.parametrize("shape", [*SHAPES, (0,), (32, 0), (70, 2048), (3, 33, 5000), (5, 600, 40)], ids=str)
def test_lengths_of_segments_are_those_of_their_ranges(shape: tuple[int, ...]) -> None:
    for geometry in (choose(shape), folded(shape)):
        expected = [last - first for first, last in geometry.segment_chunks()] if geometry.segments else []
        assert geometry.segment_lengths.tolist() == expected


def test_outputs_past_the_cache_are_exact_at_any_address(rng: np.random.Generator, each_isa: str) -> None:
    array = rng.integers(0, 1 << 16, (2050, 2051), np.uint16).view("bfloat16")  # 8.4 MB, odd rows: lines in two blocks
    tensor = Tensor(plan.encode((array.view(np.uint16) & 0x3FFF).view("bfloat16"), formulation="split", code="packed"))
    expected = registry.decode(tensor.encoded)
    room = np.zeros(array.size + 64, np.uint16)
    for shift in (0, 1, 7, 31):
        out = room[shift : shift + array.size].reshape(array.shape).view("bfloat16")
        room[:] = 0
        assert tensor.decode(out=out, threads=2) is out
        assert out.tobytes() == expected.tobytes() == (array.view(np.uint16) & 0x3FFF).tobytes()
        assert not room[:shift].any()
        assert not room[shift + array.size :].any()


def test_hidden_precision_is_not_stored(rng: np.random.Generator) -> None:
    plain = normal(rng, (256, 512), np.dtype(np.float32))
    as_bfloat16 = (plain.view(np.uint32) & 0xFFFF0000).view(np.float32)
    as_float16 = plain.astype(np.float16).astype(np.float32)
    sizes = [plan.encode(a, objective="size").nbytes_stored * 8 / a.size for a in (plain, as_float16, as_bfloat16)]
    assert 26 < sizes[0] < 27
    assert 13 < sizes[1] < 14
    assert 10 < sizes[2] < 11


def test_constant_tensors_take_almost_nothing() -> None:
    array = np.ones((64, 4096), np.float32)
    encoded = plan.encode(array, objective="size")
    assert encoded.node.parameters["code"] == "constant"
    assert encoded.nbytes_stored <= 128
    assert same_bits(Tensor(encoded).decode(), array)
    assert plan.encode(array).nbytes_stored < array.nbytes / 1000


def test_tensors_of_nan_are_not_split_and_exact() -> None:
    array = np.full((64, 64), np.nan, np.float32)
    for objective in plan.OBJECTIVES:
        encoded = plan.encode(array, objective=objective)
        assert encoded.node.formulation != "split"
        assert same_bits(Tensor(encoded).decode(), array)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"objective": "fast"}, "unknown objective 'fast'"),
        ({"profile": "mmx"}, "unknown profile 'mmx'"),
        ({"orientation": "up"}, "unknown orientation 'up'"),
        ({"formulation": "zip"}, "unknown formulation 'zip'"),
        ({"formulation": "split", "code": "huffman"}, "unknown code 'huffman'"),
        ({"formulation": "split", "code": "packed", "bits": 5}, "bits=4"),
        ({"formulation": "split", "code": "layered"}, "widths"),
        ({"formulation": "split", "code": "layered", "widths": (9,)}, "widths must be a few"),
        ({"formulation": "split", "code": "layered", "widths": 3}, "widths must be"),
        ({"formulation": "split", "code": "packed", "colour": 1}, "no parameter 'colour'"),
        ({"formulation": "dense", "bits": 4}, "no parameter 'bits'"),
        ({"code": "packed"}, "needs formulation='split'"),
    ],
)
def test_wrong_arguments_are_refused_with_a_sentence(options: dict, sentence: str) -> None:
    with pytest.raises(ArgumentError, match=sentence.replace("(", r"\(")):
        plan.encode(np.zeros((16, 16), np.float32), **options)


@pytest.mark.parametrize(
    "array",
    [np.zeros(3, object), np.zeros(3, np.complex128), np.zeros(3, "U4"), np.zeros(3, [("a", "f4")])],
    ids=["object", "complex128", "string", "structure"],
)
def test_arrays_that_safetensors_cannot_hold_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ArgumentError, match="cannot be stored"):
        plan.encode(array)


def test_big_endian_arrays_are_refused_and_odd_strides_are_not(rng: np.random.Generator) -> None:
    array = normal(rng, (64, 96), np.dtype(np.float32))
    with pytest.raises(ArgumentError, match="big-endian"):
        plan.encode(array.astype(">f4"))
    for view in (array.T, array[::2, ::-1], array[5:40]):
        assert same_bits(Tensor(plan.encode(view)).decode(), np.ascontiguousarray(view))
    array.flags.writeable = False
    assert same_bits(Tensor(plan.encode(array)).decode(), array)


def test_decode_into_given_memory(rng: np.random.Generator) -> None:
    array = normal(rng, (64, 96), np.dtype(np.float32))
    tensor = Tensor(plan.encode(array))
    out = np.empty_like(array)
    assert tensor.decode(out=out) is out
    assert same_bits(out, array)
    for wrong in (np.empty((64, 95), np.float32), np.empty((64, 96), np.float64), np.empty((96, 64), np.float32).T):
        with pytest.raises(ArgumentError, match="out"):
            tensor.decode(out=wrong)


@pytest.mark.skipif(not native.available(), reason="needs the native module")
@pytest.mark.slow
def test_more_than_two_to_the_31_elements() -> None:
    rows, columns = 1 << 16, (1 << 15) + 4
    array = np.zeros((rows, columns), np.uint8)
    array[::7] = np.arange(columns, dtype=np.uint32).astype(np.uint8) & 0x3F
    array = array.view("float8_e4m3fn")
    tensor = Tensor(plan.encode(array, objective="size"))
    assert tensor.formulation == "split"
    assert same_bits(tensor.rows(rows - 100, rows), array[rows - 100 :])
    assert same_bits(tensor.decode(), array)


def test_levels_under_bytes_that_are_all_alike(rng: np.random.Generator) -> None:
    """Powers of two in float16: symbols lie above the odd bits, and the low byte is stored once."""
    array = rng.choice(np.array((-1, -0.5, 0.5, 1), np.float16), (64, 150))
    for widths in ((1, 1), (1, 2), (1, 1, 1)):
        tensor = tersely.encode(array, formulation="split", code="layered", widths=widths)
        assert tensor.parameters["byte"] == 0
        for name in ISAS:
            with isa.using(name):
                assert same_bits(tensor.decode(), array), name


@pytest.mark.parametrize("dtype", ["float32", "float16", "float8_e5m2"])
def test_the_smallest_code_of_each_number_of_levels_is_found(rng: np.random.Generator, dtype: str) -> None:
    values = rng.standard_normal((64, 100)).astype(np.float32) * rng.choice([1, 30], size=(64, 1))
    array = values.astype(by_name(dtype).numpy)
    words = array.view(by_name(dtype).word)
    model = size_model(words, choose(words.shape), dtype)
    found = model.smallest(3)
    assert found == sorted(found, key=lambda code: model.total(model.parameters(*code)))
    for levels in (1, 2, 3):
        (best,) = [widths for code, widths in found if code == "layered" and len(widths) == levels]
        fitting = [
            widths
            for widths in itertools.product(range(1, 5), repeat=levels)
            if sum((1 << width) - 1 for width in widths) <= 1 << FIELDS[dtype].symbol_bits
        ]
        least = min(model.total(model.parameters("layered", widths)) for widths in fitting)
        assert model.total(model.parameters("layered", best)) < least + 64  # to which streams are filled up
