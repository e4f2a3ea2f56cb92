"""`sparse` of int8 and uint8: what test_sparse.py asks of floats, and products beside those of dense weights."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arrays import needs_native, same_bits
from support.guarded import GuardedBytes
from support.references import reference_words
from support.sparse_forms import ALL, SHAPES, WHOLE, WHOLE_FORMS, check, code, fit, pruned, quantised, shapes

import tersely
from tersely.backends.cpu import native, threads
from tersely.codes import registry
from tersely.codes.integer import reference as integer
from tersely.tensors.int8 import KERNEL_ROWS
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.kernels

CODED = tuple(form for form in WHOLE_FORMS if "values" in ALL[form])
BATCHES = (1, 2, 3, 4, 5, 17, KERNEL_ROWS + 2)


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("form", WHOLE_FORMS)
def test_every_isa_decodes_what_reference_and_native_encode_alike(
    form: str, shape: tuple[int, ...], dtype: np.dtype, rng: np.random.Generator
) -> None:
    large = int(np.prod(shape)) > 100_000  # the reference takes its time
    for zeros in (0.5, 0.999) if large else (0.0, 0.5, 0.95, 0.999, 1.0):
        for orientation in ("out_in", "in_out") if len(shape) in (2, 3) else ("out_in",):
            check(pruned(rng, shape, dtype, zeros), form, orientation)


@given(
    st.sampled_from(sorted(WHOLE_FORMS)),
    st.sampled_from(WHOLE),
    shapes,
    st.sampled_from((0.0, 0.3, 0.9, 0.99, 1.0)),
    st.sampled_from((0.6, 3.0, 30.0, 1e4)),
    st.integers(0, 2**32 - 1),
)
def test_whatever_the_shape_and_values(
    form: str, dtype: np.dtype, shape: tuple[int, ...], zeros: float, spread: float, seed: int
) -> None:
    check(quantised(np.random.default_rng(seed), shape, dtype, zeros, spread), form)


@pytest.mark.parametrize("form", WHOLE_FORMS)
def test_without_the_native_module_the_bytes_are_the_same(
    form: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = quantised(rng, (48, 100), WHOLE[0], 0.8)
    expected = code(array, form)
    monkeypatch.setattr(native, "module", None)
    found = code(array, form)
    assert found.node == expected.node
    assert {name: data.tobytes() for name, data in found.components.items()} == {
        name: data.tobytes() for name, data in expected.components.items()
    }
    assert same_bits(registry.decode(found), array)


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
@pytest.mark.parametrize("shape", [s for s in SHAPES if s], ids=str)
@pytest.mark.parametrize("form", WHOLE_FORMS)
def test_rows_and_single_weights_are_exact(
    form: str, shape: tuple[int, ...], dtype: np.dtype, rng: np.random.Generator
) -> None:
    for zeros in (0.3, 0.9):
        for orientation in ("out_in", "in_out") if len(shape) in (2, 3) else ("out_in",):
            array = fit(pruned(rng, shape, dtype, zeros), form, orientation)
            tensor = Tensor(code(array, form, orientation))
            for first, last in ((0, 1), (1, shape[0]), (shape[0] // 2, shape[0] // 2), (-2, shape[0])):
                assert same_bits(tensor.rows(first, last), np.ascontiguousarray(array[first:last]))
            for _ in range(10):
                index = tuple(int(rng.integers(-length, length)) for length in shape)
                assert np.asarray(tensor[index]).tobytes() == array[index].tobytes()


@needs_native
@pytest.mark.parametrize("form", WHOLE_FORMS)
def test_rows_by_number(form: str, each_isa: str, rng: np.random.Generator) -> None:
    array = quantised(rng, (300, 70), WHOLE[0], 0.9)
    matrix = Tensor(code(array, form)).matrix
    wanted = rng.integers(0, 300, 40)
    out = np.zeros((40, 70), np.int8)
    assert matrix.pick_at(wanted.ctypes.data, 40, out.ctypes.data, 2) == -1
    assert same_bits(out, array[wanted])
    wanted[7] = 300
    assert matrix.pick_at(wanted.ctypes.data, 40, out.ctypes.data, 2) == 7


def check_products(tensor: Tensor, array: np.ndarray, batch: int, rng: np.random.Generator) -> None:
    """int8 x gives the exact sums; float x the bits that dense weights give."""
    rows, columns = array.shape
    limits, dense = np.iinfo(array.dtype), tersely.encode(array, "dense")
    zero = rng.integers(limits.min, limits.max + 1, rows)
    whole = rng.integers(-128, 128, (batch, columns)).astype(np.int8)
    bias = rng.integers(-1000, 1000, rows).astype(np.int32)
    assert (tersely.linear(whole, tensor, bias, zero_point=zero) == integer.linear(whole, array, zero) + bias).all()
    assert (tersely.linear(whole, tensor) == integer.linear(whole, array)).all()
    back = rng.integers(-128, 128, (batch, rows)).astype(np.int8)
    assert (tersely.linear_transposed(back, tensor) == back.astype(np.int64) @ array.astype(np.int64)).all()
    x = (rng.standard_normal((batch, columns)) * 10.0 ** rng.integers(-20, 20)).astype(np.float32)
    scale, shift = rng.random(rows) + 0.01, rng.standard_normal(rows).astype(np.float32)
    results = [tersely.linear(x, one, shift, scale=scale, zero_point=zero) for one in (tensor, dense)]
    if batch <= KERNEL_ROWS:
        assert same_bits(*results)
    else:  # BLAS, whose order of sums is its own
        size = np.abs(x).astype(np.float64) @ np.abs(array.astype(np.float64) - zero[:, None]).T * scale
        assert (np.abs(results[0].astype(np.float64) - results[1]) <= 1e-4 * size + 1e-4).all()


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
@pytest.mark.parametrize("form", WHOLE_FORMS)
def test_products_are_those_of_dense_weights(
    form: str, dtype: np.dtype, each_isa: str, rng: np.random.Generator
) -> None:
    for shape in ((48, 100), (17, 2300), (300, 31), (16, 4), (1, 5), (40, 1), (600, 260)):
        for zeros in (0.0, 0.6, 0.95, 1.0):
            for orientation in ("out_in", "in_out"):
                array = fit(quantised(rng, shape, dtype, zeros, 40), form, orientation)
                tensor = Tensor(code(array, form, orientation))
                check_products(tensor, array, int(rng.choice(BATCHES)), rng)
    array = quantised(rng, (47, 259), dtype, 0.9)
    for batch in BATCHES:
        check_products(Tensor(code(array, form)), array, batch, rng)


@pytest.mark.parametrize("value", [-128, 127, 255])
def test_the_largest_sums_fit(value: int, each_isa: str, rng: np.random.Generator) -> None:
    """As many entries as are added up in 32 bits, and more, all as large as they can be."""
    array = np.full((20, 5000), value, WHOLE[1] if value > 127 else WHOLE[0])
    tensor, dense = Tensor(code(array, "whole_deltas")), tersely.encode(array, "dense")
    for batch in (1, 2, 8, 11):
        for x in (-1.0, 127 / 128, 1.0):
            some = np.full((batch, 5000), x, np.float32)
            assert same_bits(*(tersely.linear(some, one) for one in (tensor, dense)))
        some = np.full((batch, 5000), -128, np.int8)
        assert (tersely.linear(some, tensor) == -128 * 5000 * value).all()


@pytest.mark.parametrize("form", WHOLE_FORMS)
def test_halves_and_infinities(form: str, each_isa: str, rng: np.random.Generator) -> None:
    array = quantised(rng, (47, 130), WHOLE[0], 0.9)
    tensor, dense = Tensor(code(array, form)), tersely.encode(array, "dense")
    x = rng.standard_normal((5, 130)).astype(np.float16)
    assert same_bits(*(tersely.linear(x, one, scale=0.1) for one in (tensor, dense)))
    x[2, 7] = np.inf
    assert same_bits(*(tersely.linear(x, one) for one in (tensor, dense)))


@pytest.mark.parametrize("form", WHOLE_FORMS)
def test_bits_do_not_depend_on_threads(form: str, each_isa: str, rng: np.random.Generator) -> None:
    array = fit(quantised(rng, (600, 2500), WHOLE[0], 0.9), form)
    before, tensor = threads.get_num_threads(), Tensor(code(array, form))
    x, results, components = rng.standard_normal((3, 2500)).astype(np.float32), set(), set()
    for count in (1, 2, 7):
        tersely.set_num_threads(count)
        results.add(tersely.linear(x, tensor, scale=0.1).tobytes())
        components.add(tuple(data.tobytes() for data in code(array, form, threads=count).components.values()))
    tersely.set_num_threads(before)
    assert len(results) == len(components) == 1


@needs_native
@pytest.mark.parametrize("form", WHOLE_FORMS)
def test_native_matrices_refuse_products_of_floats(form: str, rng: np.random.Generator) -> None:
    matrix = Tensor(code(quantised(rng, (32, 64), WHOLE[0], 0.9), form)).matrix
    x, out = np.ones((1, 64), np.uint32), np.ones((1, 32), np.uint32)
    with pytest.raises(ValueError, match="no product of floats"):
        matrix.linear(x, "float32", None, out, 1)
    with pytest.raises(ValueError, match="no product of floats"):
        matrix.linear_transposed(out, "float32", None, x, 1)


@needs_native
@pytest.mark.parametrize("dtype", WHOLE, ids=str)
@pytest.mark.parametrize("form", WHOLE_FORMS)
def test_damaged_payload_reads_as_the_reference_says(
    form: str, dtype: np.dtype, each_isa: str, rng: np.random.Generator
) -> None:
    """Components that end at a protected page, with honest and with hostile payload."""
    for shape in ((48, 100), (33, 2100), (280, 32), (5,)):
        for zeros in (0.1, 0.9):
            encoded = code(fit(quantised(rng, shape, dtype, zeros), form), form)
            guards = {name: GuardedBytes(data) for name, data in encoded.components.items()}
            for fill in (None, 0xFF, 0x00, "random"):
                for name, guard in guards.items():
                    if name.endswith(("directory", "rows")) or fill is None:
                        continue  # checked when a file is opened; payload is not
                    guard.array[:] = rng.integers(256, size=guard.array.size) if fill == "random" else fill
                components = {name: guard.array for name, guard in guards.items()}
                damaged = dataclasses.replace(encoded, components=components)
                tensor = Tensor(damaged)
                expected = tensor.decode().view(np.uint8)
                if form not in CODED:  # of codes only honest files say which byte stands for a survivor that is missing
                    assert same_bits(expected, reference_words(damaged))
                for _ in range(20):
                    index = tuple(int(rng.integers(length)) for length in shape)
                    assert 0 <= int(np.asarray(tensor[index]).view(np.uint8)) < 256
                for batch in (2, 9) if len(shape) == 2 else ():
                    if "deltas" not in form:
                        check_products(tensor, expected.view(dtype), batch, rng)
                    else:  # gaps may name a column twice: one value is decoded, products add both
                        tersely.linear(np.ones((batch, shape[1]), np.int8), tensor)
                        tersely.linear(np.ones((batch, shape[1]), np.float32), tensor, scale=0.1)
