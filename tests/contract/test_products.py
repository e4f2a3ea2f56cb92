"""Products of every code, dtype and instruction set: within the stated bound, the same for any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from contract.samples import BYTES, CELLS, FLOATS, PAIRS, PRODUCTS, Sample
from support import profile
from support.arrays import ISAS, normal, same_bits
from support.products import HALF_ULP, assert_close, check_batches
from support.profile import one, pick, spread

import tersely
from tersely.backends.cpu import isa
from tersely.codes.words.integer import reference as integer
from tersely.codes.words.palette.grid import Grid
from tersely.core.geometry import choose
from tersely.tensors.handoff import INTEGER_ROWS
from tersely.tensors.tensor import Tensor

pytestmark = [pytest.mark.kernels, pytest.mark.exhaustive]
BATCHES = (1, 2, 3, 4, 5, 9, 12, 16, 17, 33, 40)
GRID_ROWS = 8
"""Rows of x up to which the numbers of a grid are multiplied as they are."""


def cells(*dtypes: np.dtype) -> pytest.MarkDecorator:
    """Cells whose weights have one of these dtypes and products."""
    found = [cell for cell in CELLS if cell.values[1] in dtypes and cell.values[0].products != "none"]
    return pytest.mark.parametrize(("sample", "dtype"), found)


float8 = tuple(cell.values[1] for cell in CELLS if cell.values[0].code == "split" and cell.values[1].itemsize == 1)
each_float = cells(*FLOATS, *float8)
each_byte = cells(*BYTES)


def shapes_of(sample: Sample, *axes: object) -> list[tuple[int, int]]:
    own = list(PRODUCTS)
    if sample.in_one_matrix:
        own = [(160, 400), (96, 2352)]
    if not sample.folds:
        own = [shape for shape in own if choose(shape).view != "folded"] + [(304, 48)] * (not sample.in_one_matrix)
    return one(own, sample.name, *axes)


def assert_by_numbers(y: np.ndarray, x: np.ndarray, tensor: Tensor, weight: np.ndarray, bias: np.ndarray) -> None:
    """Bound of products by numbers, with k = number - zero and m = max |x| of a row: cutting x to integers and what words
    are off their points, |y - exact| <= scale (1.01 x 2^-23 m sum |k| + 2^-24 sum |x| (|k| + 1)) + half a unit of y's
    last place."""
    grid = Grid.parse(tensor.parameters)
    assert grid is not None
    wide, size = weight.astype(np.float64), np.abs(x.astype(np.float64))
    steps = np.abs(np.rint(wide / grid.scale))
    exact = x.astype(np.float64) @ wide.T + bias
    cut = 1.01 * 2.0**-23 * size.max(axis=1, keepdims=True) * steps.sum(axis=1)
    allowed = grid.scale * (cut + 2.0**-24 * (size @ (steps + 1).T)) + 1.01 * HALF_ULP[x.dtype.name] * np.abs(exact)
    if x.dtype != np.float32:
        allowed += 2.0**-24 * np.abs(exact) + 2.0**-25  # rounded to float32 first; subnormal float16
    assert (np.abs(y.astype(np.float64) - exact) <= allowed + 1e-40).all()


@each_float
def test_products_are_within_the_bound(
    sample: Sample, dtype: np.dtype, each_isa: str, rng: np.random.Generator
) -> None:
    for shape in shapes_of(sample, dtype, each_isa):
        bias = rng.standard_normal(shape[0]).astype(np.float32)
        few = each_isa in ("scalar", "reference")
        batches = (1, 5) if few and not profile.thorough else tuple(spread(BATCHES, 3, sample.name, dtype, each_isa))
        for kind in pick(range(sample.weight_kinds), sample.name, each_isa, shape):
            for orientation in one(sample.orientations(shape), sample.name, dtype, each_isa, "orientation"):
                weight = sample.weights(rng, shape, dtype, orientation, kind)
                if np.isfinite(weight.astype(np.float32)).all():
                    tensor = Tensor(sample.encode(weight, orientation))
                    for x_dtype in pick(FLOATS, sample.name, each_isa, shape, orientation):
                        check(sample, tensor, weight, bias, x_dtype, batches, rng)


def check(
    sample: Sample,
    tensor: Tensor,
    weight: np.ndarray,
    bias: np.ndarray,
    x_dtype: np.dtype,
    batches: tuple[int, ...],
    rng: np.random.Generator,
) -> None:
    if sample.products == "words":
        check_batches(tensor, weight, bias, x_dtype, batches, rng)
        return
    for batch in batches:
        x = normal(rng, (batch, weight.shape[1]), x_dtype)
        y = tersely.linear(x, tensor, bias)
        if batch <= GRID_ROWS and tensor.geometry.view == "matrix" and tensor.geometry.orientation == "out_in":
            assert_by_numbers(y, x, tensor, weight, bias)
        else:
            assert_close(y, x, weight, bias)
        x = normal(rng, (batch, weight.shape[0]), x_dtype)
        y = tersely.linear_transposed(x, tensor)
        if batch <= GRID_ROWS and tensor.geometry.view == "matrix" and tensor.geometry.orientation == "in_out":
            assert_by_numbers(y, x, tensor, np.ascontiguousarray(weight.T), np.zeros(weight.shape[1]))
        else:
            assert_close(y, x, np.ascontiguousarray(weight.T), None)


def check_integers(tensor: Tensor, array: np.ndarray, batch: int, rng: np.random.Generator) -> None:
    """int8 x gives the exact sums; float x the bits that dense weights give, whose bound test_integer.py holds."""
    rows, columns = array.shape
    limits, dense = np.iinfo(array.dtype), tersely.encode(array, "dense")
    zero = rng.integers(limits.min, limits.max + 1, rows)
    whole = rng.integers(-128, 128, (batch, columns)).astype(np.int8)
    whole[0] = -128
    bias = rng.integers(-1000, 1000, rows).astype(np.int32)
    assert (tersely.linear(whole, tensor, bias, zero_point=zero) == integer.linear(whole, array, zero) + bias).all()
    assert (tersely.linear(whole, tensor) == integer.linear(whole, array)).all()
    back = rng.integers(-128, 128, (batch, rows)).astype(np.int8)
    assert (tersely.linear_transposed(back, tensor) == back.astype(np.int64) @ array.astype(np.int64)).all()
    x = (rng.standard_normal((batch, columns)) * 10.0 ** rng.integers(-20, 20)).astype(np.float32)
    scale, shift = rng.random(rows) + 0.01, rng.standard_normal(rows).astype(np.float32)
    results = [tersely.linear(x, one, shift, scale=scale, zero_point=zero) for one in (tensor, dense)]
    if batch <= INTEGER_ROWS:
        assert same_bits(*results)
    else:  # BLAS, whose order of sums is its own
        size = np.abs(x).astype(np.float64) @ np.abs(array.astype(np.float64) - zero[:, None]).T * scale
        assert (np.abs(results[0].astype(np.float64) - results[1]) <= 1e-4 * size + 1e-4).all()
    halves = rng.standard_normal((batch, columns)).astype(np.float16)
    halves[0, 0] = np.inf
    if batch <= INTEGER_ROWS:
        assert same_bits(*(tersely.linear(halves, one, scale=0.1) for one in (tensor, dense)))


@each_byte
def test_integers_give_exact_sums_and_the_bits_of_dense_weights(
    sample: Sample, dtype: np.dtype, each_isa: str, rng: np.random.Generator
) -> None:
    every = ((48, 100), (17, 2300), (300, 31), (16, 4), (1, 5), (40, 1), (63, 2051), (600, 260), (31, 4100))
    if sample.in_one_matrix:
        every = ((160, 400), (96, 2352), (600, 260), (48, 4116))
    for shape in spread(every, 4, sample.name, dtype, each_isa):
        for kind in pick(range(sample.weight_kinds), sample.name, shape):
            for orientation in one(sample.orientations(shape), sample.name, each_isa):
                array = sample.weights(rng, shape, dtype, orientation, kind)
                batch = int(rng.choice((1, 2, 3, 5, 17, INTEGER_ROWS + 2, 70)))
                check_integers(Tensor(sample.encode(array, orientation)), array, batch, rng)


@cells(*PAIRS)
def test_integers_of_16_bits_are_decoded_for_products(
    sample: Sample, dtype: np.dtype, each_isa: str, rng: np.random.Generator
) -> None:
    if sample.code == "dense":
        pytest.skip("test_integer_codes.py")
    for orientation in one(("out_in", "in_out"), sample.name, each_isa):
        weight = sample.weights(rng, (48, 100 if sample.folds else 96), dtype, orientation, 0)
        tensor, scale, zero = Tensor(sample.encode(weight, orientation)), rng.random(48), int(weight[0, 0])
        exact = (weight.astype(np.float64) - zero) * scale[:, None]
        for batch in (1, 5, INTEGER_ROWS + 1):
            x, back = (rng.standard_normal((batch, length)).astype(np.float32) for length in weight.shape[::-1])
            assert np.allclose(
                tersely.linear(x, tensor, scale=scale, zero_point=zero), x @ exact.T, rtol=1e-4, atol=0.5
            )
            y = tersely.linear_transposed(back, tensor, scale=scale, zero_point=zero)
            assert np.allclose(y, back @ exact, rtol=1e-4, atol=0.5)


@cells(*FLOATS, *float8, *BYTES)
def test_bits_do_not_depend_on_threads(
    sample: Sample, dtype: np.dtype, each_isa: str, rng: np.random.Generator
) -> None:
    shape = (96, 4100) if sample.folds else (96, 2352)
    weight = sample.weights(rng, shape, dtype, "out_in", 0)
    tensor = Tensor(sample.encode(weight))
    for batch in one((1, 4, 16, 33), sample.name, dtype, each_isa):
        x, back = (normal(rng, (batch, length), FLOATS[0]) for length in shape[::-1])
        results = set()
        for count in (1, 2, 7):
            tersely.set_num_threads(count)
            results.add((tersely.linear(x, tensor).tobytes(), tersely.linear_transposed(back, tensor).tobytes()))
        assert len(results) == 1


@each_byte
def test_bits_of_integers_depend_neither_on_instruction_sets_nor_on_the_form(
    sample: Sample, dtype: np.dtype, rng: np.random.Generator
) -> None:
    weight = sample.weights(rng, (96, 2500), dtype, "out_in", 0)
    tensors = Tensor(sample.encode(weight)), tersely.encode(weight, "dense")
    for batch in (1, 5, 20):
        x, results = rng.standard_normal((batch, 2500)).astype(np.float32), set()
        for name in ISAS:
            with isa.using(name):
                results |= {tersely.linear(x, one, scale=0.1).tobytes() for one in tensors}
        assert len(results) == 1


@each_float
def test_padding_never_enters_a_product(
    sample: Sample, dtype: np.dtype, each_isa: str, rng: np.random.Generator
) -> None:
    """x of infinities and of NaN: only weights that are there may count, and those that are zero give NaN."""
    shape = (48, 300) if not sample.folds else (154, 397)
    weight = sample.weights(rng, shape, dtype, "out_in", 0)
    if not np.isfinite(weight.astype(np.float32)).all():
        return
    tensor = Tensor(sample.encode(weight))
    for batch in spread((1, 3, 4, 7, 13, 20), 3, sample.name, dtype, each_isa):
        for value in one((np.inf, np.nan), sample.name, batch):
            x = normal(rng, (batch, shape[1]), FLOATS[0])
            x[batch // 2, 5 if batch % 2 else slice(None)] = value
            y = tersely.linear(x, tensor)
            there = np.isfinite(y)
            assert there[np.arange(batch) != batch // 2].all()
            assert not there[batch // 2, weight[:, 5] != 0].any()
            back = normal(rng, (batch, shape[0]), FLOATS[0])
            back[0, 7] = value
            y = tersely.linear_transposed(back, tensor)
            assert np.isfinite(y[1:]).all()
            assert not np.isfinite(y[0, weight[7] != 0]).any()
