"""Distances of `integer` in the native module: every instruction set against the NumPy reference, products against exact
sums and the bits of dense weights, extreme values, every centre, payload of random bytes."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
from support.arrays import needs_native, random_bits, same_bits
from support.guarded import GuardedBytes

import tersely
from tersely.backends.cpu import native
from tersely.codes import registry
from tersely.codes.protocol import Request
from tersely.codes.words.integer import distances, reference
from tersely.core.encoded import Encoded, Node
from tersely.planner import cost_model
from tersely.tensors.tensor import Tensor

pytestmark = [needs_native, pytest.mark.kernels, pytest.mark.bfloat16_kernels]

BYTES = (np.dtype(np.int8), np.dtype(np.uint8))
PAIRS = (np.dtype(np.int16), np.dtype(np.uint16))


def weights(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype, spread: float) -> np.ndarray:
    """About the middle, with both ends of the dtype in the first row."""
    limits = np.iinfo(dtype)
    middle = limits.max // 2 if dtype.kind == "u" else 2
    found = np.clip(np.rint(rng.standard_normal(shape) * spread + middle), limits.min, limits.max).astype(dtype)
    found.reshape(-1)[0], found.reshape(-1)[-1] = limits.min, limits.max
    return found


def coded(array: np.ndarray, bit_layout: str) -> Tensor:
    return tersely.encode(array, "integer", code="distances", bit_layout=bit_layout)


def moved(encoded: Encoded, centre: int) -> Encoded:
    """The same distances from another centre."""
    node = Node("integer", 1, {**encoded.node.parameters, "centre": centre}, encoded.node.children)
    return dataclasses.replace(encoded, node=node)


def check_products(tensor: Tensor, array: np.ndarray, batch: int, rng: np.random.Generator) -> None:
    """int8 x gives the exact sums; float x the bits that dense weights give."""
    rows, columns = array.shape
    zero, dense = rng.integers(0, 100, rows), tersely.encode(array, "dense")
    whole = rng.integers(-128, 128, (batch, columns)).astype(np.int8)
    whole[0] = -128
    bias = rng.integers(-1000, 1000, rows).astype(np.int32)
    y = tersely.linear(whole, tensor, bias, zero_point=zero)
    assert (y == reference.linear(whole, array, zero) + bias).all()
    x = (rng.standard_normal((batch, columns)) * 10.0 ** rng.integers(-20, 20)).astype(np.float32)
    scale, shift = rng.random(rows) + 0.01, rng.standard_normal(rows).astype(np.float32)
    results = [tersely.linear(x, one, shift, scale=scale, zero_point=zero) for one in (tensor, dense)]
    assert same_bits(*results)


def test_products_decode_no_rows_to_memory(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    array = weights(rng, (64, 256), BYTES[0], 15)
    tensor = tersely.encode(array, "integer", code="distances")
    x = rng.integers(-128, 128, (3, 256)).astype(np.int8)
    monkeypatch.setattr(Tensor, "rows", None)
    assert (tersely.linear(x, tensor) == reference.linear(x, array)).all()


@pytest.mark.parametrize("dtype", BYTES + PAIRS, ids=str)
def test_every_word_about_every_centre(dtype: np.dtype, each_isa: str, rng: np.random.Generator) -> None:
    """Distances that leave the dtype's range come back at its other end, as in the reference."""
    limits, word = np.iinfo(dtype), f"u{dtype.itemsize}"
    near = weights(rng, (32, 70), np.dtype(f"{dtype.kind}1"), 30).astype(dtype)
    for bit_layout in distances.layouts_of(dtype.name):
        small = bit_layout in distances.NARROW
        array = near if small and dtype.itemsize == 2 else random_bits(rng, (32, 70), dtype)
        encoded = coded(array, bit_layout).encoded
        own = int(encoded.node.parameters["centre"])
        for centre in (limits.min, limits.max, 0, 1, own, int(rng.integers(limits.min, limits.max))):
            other = Tensor(moved(encoded, centre))
            expected = (array.view(word) + np.array((centre - own) % (1 << limits.bits), word)).view(dtype)
            assert same_bits(other.decode(), expected), (bit_layout, centre)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(native, "module", None)
                assert same_bits(registry.decode(other.encoded), expected)
            assert same_bits(other.rows(3, 18), expected[3:18])
            for row, column in rng.integers(20, size=(10, 2)):
                assert other[row, column] == expected[row, column]
            if dtype in BYTES:
                check_products(other, expected, 2, rng)


def test_stacks_and_pairs_have_no_product_of_their_own(rng: np.random.Generator) -> None:
    stack = tersely.encode(weights(rng, (2, 32, 32), BYTES[0], 9), "integer", code="distances")
    wide = tersely.encode(weights(rng, (32, 32), PAIRS[0], 9), "integer", code="distances")
    one, none = np.ones(1), np.zeros(1, np.int32)
    for matrix in (stack.matrix, wide.matrix):
        with pytest.raises(ValueError, match="needs a matrix of 8-bit weights"):
            matrix.integer_linear(
                np.ones((1, 32), np.int8).view(np.uint8), "int8", one, none, None, np.zeros((1, 32), np.uint32), 1
            )


def test_the_cost_model_knows_which_are_multiplied_as_they_are(rng: np.random.Generator) -> None:
    """One row of x: dense, distances, decoded distances; with 48 rows that share the decoding, distances before dense."""
    array = weights(rng, (512, 2048), BYTES[0], 15)
    request = Request(array.view(np.uint8), "int8")
    (dense,) = registry.BY_NAME["dense"].candidates(request)
    own = registry.BY_NAME["integer"].candidate_for(replace(request, parameters={"code": "distances"}))
    stacked = registry.BY_NAME["integer"].candidate_for(
        Request(array.view(np.uint8).reshape(2, 256, 2048), "int8", parameters={"code": "distances"})
    )
    pairs = registry.BY_NAME["integer"].candidate_for(Request(array.astype(np.int16).view(np.uint16), "int16"))
    decoded = "integer distances decoded"
    assert [str(one.kernel) for one in (own, stacked, pairs)] == ["integer distances", decoded, decoded]
    for machine in ("avx2", "avx512"):
        times = [cost_model.predict_ns(one, "int8", machine) for one in (dense, own, stacked)]
        assert times == sorted(times)
    assert cost_model.predict_ns(own, "int8", "avx512", 48) < cost_model.predict_ns(dense, "int8", "avx512", 48)


@pytest.mark.parametrize("dtype", BYTES, ids=str)
@pytest.mark.parametrize("bit_layout", distances.NARROW)
def test_damaged_payload_is_multiplied_as_it_is_decoded(
    bit_layout: str, dtype: np.dtype, each_isa: str, rng: np.random.Generator
) -> None:
    for shape in ((47, 2100), (63, 70)):
        encoded = coded(weights(rng, shape, dtype, 9), bit_layout).encoded
        guards = {name: GuardedBytes(data) for name, data in encoded.components.items()}
        for name, guard in guards.items():
            if not name.endswith("directory"):  # that is checked when a file is opened; payload is not
                guard.array[:] = rng.integers(256, size=guard.array.size)
        tensor = Tensor(dataclasses.replace(encoded, components={name: one.array for name, one in guards.items()}))
        check_products(tensor, tensor.decode(), 3, rng)
