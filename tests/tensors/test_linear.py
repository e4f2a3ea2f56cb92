"""Operands of products: what is refused, what has no kernels, padding, numbers that are no usual ones; bounds are the contract's."""

from __future__ import annotations

import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from support.arrays import CODES, DTYPES, normal, same_bits
from support.products import assert_close

import tersely
from tersely.backends.cpu import isa
from tersely.core.errors import ArgumentError

pytestmark = [pytest.mark.kernels, pytest.mark.bfloat16_kernels]


@pytest.mark.parametrize("dtype", DTYPES[3:], ids=str)
@pytest.mark.parametrize("code", CODES[:2], ids=str)
def test_every_float8_is_multiplied_as_what_it_is(dtype: np.dtype, code: dict, each_isa: str) -> None:
    """Subnormal numbers, infinities and NaN among them; each in every one of the 16 rows of a panel."""
    words = (np.arange(256)[:, None] + np.arange(16)).astype(np.uint8).reshape(-1, 1).view(dtype)
    weight = np.zeros((words.size, 8), dtype)
    weight[:, 3:4] = words
    tensor = tersely.encode(weight, formulation="split", **code)
    x = np.zeros((17, 8), np.float32)
    x[:, 3] = 1
    expected = words.astype(np.float32).reshape(-1)
    for batch in (1, 4, 8, 17):
        for row in tersely.linear(x[:batch], tensor):
            assert np.array_equal(row, expected, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
def test_padding_never_enters_a_product(each_isa: str, dtype: np.dtype, rng: np.random.Generator) -> None:
    """Columns and rows that are no multiples of 4 and 16, x of infinities: only real places may give NaN."""
    weight = (np.abs(normal(rng, (154, 397), np.dtype(np.float32))) + 0.01).astype(dtype)
    for code in CODES[:2]:
        tensor = tersely.encode(weight, formulation="split", **code)
        assert tensor.geometry.view == "matrix"  # a folded tensor would go through BLAS, past the kernels
        for batch in (1, 3, 4, 7, 13, 20):
            x = np.full((batch, 397), np.inf, dtype)
            assert np.isposinf(tersely.linear(x, tensor).astype(np.float32)).all()


@pytest.mark.parametrize("view", ["folded", "dense"])
def test_weights_without_kernels_multiply_too(view: str, rng: np.random.Generator) -> None:
    shape = (10, 300) if view == "folded" else (40, 300)
    weight = normal(rng, shape, np.dtype(ml_dtypes.bfloat16))
    tensor = tersely.encode(weight, formulation="dense" if view == "dense" else "split")
    assert (tensor.geometry.view == "folded") == (view == "folded" or view == "dense")
    x = normal(rng, (3, 300), np.dtype(np.float32))
    assert_close(tersely.linear(x, tensor), x, weight, None)
    x = normal(rng, (3, shape[0]), np.dtype(np.float32))
    assert_close(tersely.linear_transposed(x, tensor), x, np.ascontiguousarray(weight.T), None)


def test_large_batches_go_through_blas(rng: np.random.Generator) -> None:
    weight = normal(rng, (48, 100), np.dtype(np.float32))
    tensor = tersely.encode(weight, formulation="split")
    x = normal(rng, (tersely.tensors.handoff.NUMPY_FLOAT_ROWS + 1, 100), np.dtype(np.float32))
    assert_close(tersely.linear(x, tensor), x, weight, None)


def test_leading_dimensions_and_out(rng: np.random.Generator) -> None:
    weight = normal(rng, (48, 100), np.dtype(np.float32))
    tensor = tersely.encode(weight, formulation="split")
    x = normal(rng, (2, 3, 100), np.dtype(np.float32))
    out = np.empty((2, 3, 48), np.float32)
    assert tersely.linear(x, tensor, out=out) is out
    assert out.reshape(6, 48).tobytes() == tersely.linear(x.reshape(6, 100), tensor).tobytes()
    assert tersely.linear(x[:, :0], tensor).shape == (2, 0, 48)
    assert tersely.linear(x[0, 0], tensor).shape == (48,)


@pytest.mark.parametrize(
    ("x", "options", "sentence"),
    [
        (np.zeros((1, 99), np.float32), {}, "last dimension must be 100"),
        (np.zeros((1, 100), np.float64), {}, "convert it to float32"),
        (np.zeros((), np.float32), {}, "last dimension"),
        (np.zeros((1, 100), np.float32), {"bias": np.zeros(3)}, "bias has shape"),
        (np.zeros((1, 100), np.float32), {"out": np.zeros((1, 48), np.float64)}, "out must be"),
    ],
)
def test_wrong_operands_are_refused(x: np.ndarray, options: dict, sentence: str) -> None:
    tensor = tersely.encode(np.ones((48, 100), np.float32), formulation="split")
    with pytest.raises(ArgumentError, match=sentence):
        tersely.linear(x, tensor, **options)


def test_only_matrices_of_known_dtypes_multiply() -> None:
    x = np.zeros((1, 4), np.float32)
    with pytest.raises(ArgumentError, match="rows, columns"):
        tersely.linear(x, tersely.encode(np.zeros((2, 3, 4), np.float32)))
    with pytest.raises(ArgumentError, match="dtype int32"):
        tersely.linear(x, tersely.encode(np.zeros((3, 4), np.int32)))
    with pytest.raises(ArgumentError, match="tersely.encode"):
        tersely.linear(x, np.zeros((3, 4), np.float32))  # type: ignore[arg-type]


def test_threads_and_isa_names_are_checked() -> None:
    for count in (0, -1, "two", None):
        with pytest.raises(ArgumentError, match="thread"):
            tersely.set_num_threads(count)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="unknown name"):
        isa.use("avx1024")


def test_bfloat16_instructions_take_subnormal_numbers_for_zero(each_isa: str) -> None:
    """And no others do: the products of few rows, and those of other instruction sets, are float32's."""
    weight = np.full((160, 400), 2.0**-130).astype(ml_dtypes.bfloat16)
    weight[0, :50] = np.ldexp(1.0, np.arange(-125, -75)).astype(ml_dtypes.bfloat16)  # exponents, so that it is coded
    tensor = tersely.encode(weight, formulation="split", code="packed")
    for batch in (1, 4, 17):
        y = tersely.linear(np.ones((batch, 400), ml_dtypes.bfloat16), tensor)[:, 1:]
        flushed = batch > 2 and each_isa in ("avx512_bf16", "amx")
        assert (y == 0).all() == flushed


@pytest.mark.parametrize("rows", [1, 3, 600])
def test_the_short_way_gives_what_the_long_one_gives(rows: int, rng: np.random.Generator) -> None:
    """Rows of float32 that lie as they are multiplied go another way than the same rows in Fortran's order."""
    array = normal(rng, (48, 80), np.dtype(np.float32))
    array[rng.random(array.shape) < 0.5] = 0
    for orientation in ("out_in", "in_out"):
        weight = tersely.encode(array, formulation="sparse", positions="bitmap", orientation=orientation)
        for multiply, columns in ((tersely.linear, 80), (tersely.linear_transposed, 48)):
            x = normal(rng, (rows, columns), np.dtype(np.float32))
            assert same_bits(multiply(x, weight), multiply(np.asfortranarray(x), weight)), orientation


def test_a_dense_tensor_keeps_its_weights_when_the_array_changes(rng: np.random.Generator) -> None:
    for array in (
        rng.integers(-128, 128, (64, 64)).astype(np.int8),
        rng.integers(0, 1 << 32, (64, 64), np.uint64).astype(np.uint32).view(np.float32),
        np.arange(3.0),
    ):
        tensor = tersely.encode(array)
        before = array.copy()
        array[...] = 0
        assert same_bits(tensor.decode(), before)


def test_dense_floats_are_multiplied_where_they_lie(rng: np.random.Generator) -> None:
    weight = tersely.encode(normal(rng, (512, 256), np.dtype(np.float32)), formulation="dense")
    x = normal(rng, (1, 256), np.dtype(np.float32))
    tersely.linear(x, weight)
    tracemalloc.start()
    tersely.linear(x, weight)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < weight.nbytes / 4


@pytest.mark.parametrize("transposed", [False, True])
def test_weights_without_rows_take_one_scale_a_row(transposed: bool) -> None:
    weight = tersely.encode(np.zeros((0, 16), np.int8))
    scale, zero_point = np.ones(0), np.zeros(0, np.int8)
    if transposed:
        y = tersely.linear_transposed(np.ones((2, 0), np.float32), weight, scale=scale, zero_point=zero_point)
    else:
        y = tersely.linear(np.ones((2, 16), np.float32), weight, scale=scale, zero_point=zero_point)
    assert y.shape == ((2, 16) if transposed else (2, 0))
    assert not y.any()


@pytest.mark.filterwarnings("error")
def test_a_bias_beyond_float32_is_infinite(rng: np.random.Generator) -> None:
    weight = tersely.encode(normal(rng, (16, 32), np.dtype(np.float32)))
    y = tersely.linear(np.ones((1, 32), np.float32), weight, bias=np.full(16, 1e300))
    assert np.isposinf(y).all()
