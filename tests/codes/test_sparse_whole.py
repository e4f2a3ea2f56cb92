"""`sparse` of int8 and uint8: what test_sparse.py asks of floats, and products beside those of dense weights."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.arrays import needs_native, same_bits
from support.guarded import GuardedBytes
from support.references import reference_words
from support.sparse_forms import ALL, WHOLE, WHOLE_FORMS, code, fit, quantised

import tersely
from tersely.codes.words.integer import reference as integer
from tersely.tensors.handoff import INTEGER_ROWS
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.kernels

CODED = tuple(form for form in WHOLE_FORMS if "values" in ALL[form])


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
    if batch <= INTEGER_ROWS:
        assert same_bits(*results)
    else:  # BLAS, whose order of sums is its own
        size = np.abs(x).astype(np.float64) @ np.abs(array.astype(np.float64) - zero[:, None]).T * scale
        assert (np.abs(results[0].astype(np.float64) - results[1]) <= 1e-4 * size + 1e-4).all()


@pytest.mark.parametrize("value", [-128, 127, 255])
def test_the_largest_sums_fit(value: int, each_isa: str, rng: np.random.Generator) -> None:
    """As many entries as are added up in 32 bits, and more, all as large as they can be."""
    array = np.full((20, 5000), value, WHOLE[1] if value > 127 else WHOLE[0])
    tensor, dense = Tensor(code(array, "whole_gaps")), tersely.encode(array, "dense")
    for batch in (1, 2, 8, 11):
        for x in (-1.0, 127 / 128, 1.0):
            some = np.full((batch, 5000), x, np.float32)
            assert same_bits(*(tersely.linear(some, one) for one in (tensor, dense)))
        some = np.full((batch, 5000), -128, np.int8)
        assert (tersely.linear(some, tensor) == -128 * 5000 * value).all()


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
                    if "gaps" not in form:
                        check_products(tensor, expected.view(dtype), batch, rng)
                    else:  # gaps may name a column twice: one value is decoded, products add both
                        tersely.linear(np.ones((batch, shape[1]), np.int8), tensor)
                        tersely.linear(np.ones((batch, shape[1]), np.float32), tensor, scale=0.1)
