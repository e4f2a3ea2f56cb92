"""`integer`: the native encoder against the reference, every kernel against the original bits, products against exact
sums, bad files, bad operands. Float products have the bound of `tersely.tensors.int8`; int8 ones are exact."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from support.arrays import ISAS, needs_native, same_bits
from support.integer_forms import HALF_ULP, SUBNORMAL, X_DTYPES
from support.profile import one

import tersely
from tersely.backends.cpu import isa
from tersely.codes import registry
from tersely.codes.words.integer import codec, layout, reference
from tersely.core.encoded import Node
from tersely.core.errors import ArgumentError, CorruptError, UnsupportedError
from tersely.planner import choose
from tersely.tensors.handoff import INTEGER_ROWS
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.kernels

DTYPES = (np.dtype(np.int8), np.dtype(np.uint8))


def quantised(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype, spread: float) -> np.ndarray:
    """Integers about a zero point, as quantised layers have them; every value alike where spread is 0."""
    limits = np.iinfo(dtype)
    middle = 3 if dtype == np.int8 else 120
    return np.clip(np.rint(rng.standard_normal(shape) * spread + middle), limits.min, limits.max).astype(dtype)


def check(array: np.ndarray, orientation: str = "out_in", **options: object) -> None:
    """Native bytes equal reference bytes, the size is the promised one, every ISA and the reference decode them."""
    encoded = choose.encode(array, formulation="integer", orientation=orientation, **options)
    geometry, words = registry.check(encoded).geometry, array.view(np.uint8)
    units = layout.unit_panels(geometry).size
    groups = encoded.components["groups"][: units * 2].reshape(units, 2)
    expected = reference.encode(words, geometry, encoded.dtype, groups)
    assert {name: data.tobytes() for name, data in expected.items()} == {
        name: data.tobytes() for name, data in encoded.components.items()
    }
    chosen = codec.choose(codec.statistics(words, geometry, encoded.dtype), geometry, encoded.dtype, 3.0)
    assert chosen.component_bytes() == {name: data.nbytes for name, data in codec.encode(words, chosen).items()}
    assert same_bits(reference.decode(expected, geometry, encoded.dtype), words)
    for name in ISAS:
        with isa.using(name):
            assert same_bits(Tensor(encoded).decode(), array), name


@pytest.mark.parametrize("bits", range(9))
def test_every_width_of_fields(bits: int, each_isa: str, rng: np.random.Generator) -> None:
    for dtype in DTYPES:
        for array in (quantised(rng, (40, 70), dtype, 2.0**bits / 3), quantised(rng, (16, 2100), dtype, 20)):
            tensor = tersely.encode(array, formulation="integer", bits=bits)
            groups = tensor.components["groups"]
            assert set(groups[: 2 * (tensor.geometry.segments // tensor.geometry.segments_per_panel) : 2]) == {bits}
            assert same_bits(tensor.decode(), array)
            x = rng.integers(-128, 128, (2, array.shape[1])).astype(np.int8)
            assert (tersely.linear(x, tensor) == reference.linear(x, array)).all()


def test_groups_of_rows_have_their_own_bits(rng: np.random.Generator) -> None:
    array = quantised(rng, (64, 2048), np.dtype(np.int8), 10)
    array[16:32] = rng.integers(-2, 2, (16, 2048))
    array[32:48] = 17
    tensor = tersely.encode(array, objective="size")
    assert tensor.formulation == "integer"
    assert tensor.components["groups"][:8:2].tolist() == [6, 2, 0, 6]
    assert tensor.components["groups"][3] == 126  # -2 counted from -128


def assert_within_bound(
    y: np.ndarray, x: np.ndarray, weight: np.ndarray, scale: np.ndarray, zero: np.ndarray, bias: np.ndarray | float
) -> None:
    exact = reference.linear(x.astype(np.float64), weight, zero) * scale + bias
    terms = np.abs(weight.astype(np.int64) - np.reshape(zero, (-1, 1))).sum(axis=1) * scale
    largest = np.abs(x.astype(np.float64)).max(axis=1, keepdims=True)
    allowed = 1.01 * 2.0**-23 * largest * terms * (1 + 1e-6) + SUBNORMAL[x.dtype.name]
    allowed = allowed + HALF_ULP[x.dtype.name] * (np.abs(exact) + allowed) * (1 + 1e-6)
    if x.dtype != np.float32:  # rounded to float32 first
        allowed += 2.0**-24 * np.abs(exact)
    assert y.dtype == x.dtype
    assert (np.abs(y.astype(np.float64) - exact) <= allowed).all()


@pytest.mark.exhaustive
@needs_native
@pytest.mark.parametrize("formulation", ["integer", "dense"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(48, 100), (64, 4100), (300, 30), (17, 2051), (33, 16)], ids=str)
def test_float_products_are_within_the_bound(
    formulation: str, shape: tuple[int, int], dtype: np.dtype, each_isa: str, rng: np.random.Generator
) -> None:
    bias = rng.standard_normal(shape[0]).astype(np.float32)
    for spread in (6, 300):
        weight = quantised(rng, shape, dtype, spread)
        tensor = tersely.encode(weight, formulation=formulation)
        for scale, zero in (
            (np.array([0.013]), np.array([100])),
            (rng.random(shape[0]) + 0.01, rng.integers(0, 128, shape[0])),
        ):
            for x_dtype, batch in itertools.product(one(X_DTYPES, shape, dtype, each_isa, spread), (1, 2, 5)):
                size = 10.0 ** rng.integers(-4, 4) if x_dtype == np.float32 else 0.002
                x = (rng.standard_normal((batch, shape[1])) * size).astype(x_dtype)
                y = tersely.linear(x, tensor, bias, scale=scale, zero_point=zero)
                assert_within_bound(y, x, weight, scale, zero, bias)


@needs_native
def test_the_bound_holds_at_the_edges_of_cutting(each_isa: str, rng: np.random.Generator) -> None:
    """Largest values just below a power of two, outliers, numbers near the ends of float32, zeros."""
    weight = quantised(rng, (32, 64), np.dtype(np.int8), 30)
    rows = [np.nextafter(np.float32(2), np.float32(0)), 1.0, 1e-30, 3e38, 1e-42, 1.9921873, 1.9921876]
    x = (rng.standard_normal((len(rows), 64)) / 8).clip(-1, 1).astype(np.float32) * np.array(rows, np.float32)[:, None]
    x[:, 5] = rows
    x[2, 7] = -x[2, 5]
    for formulation in ("integer", "dense"):
        tensor = tersely.encode(weight, formulation=formulation)
        scale = np.array([1e-6])
        assert_within_bound(tersely.linear(x, tensor, scale=scale), x, weight, scale, np.array([0]), 0.0)
        assert (tersely.linear(np.zeros((1, 64), np.float32), tensor) == 0).all()


@pytest.mark.parametrize("formulation", ["integer", "dense"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_int8_products_are_exact(formulation: str, dtype: np.dtype, each_isa: str, rng: np.random.Generator) -> None:
    for shape in ((48, 100), (40, 4100), (300, 30), (5, 33)):
        for spread in (6, 300):
            weight = quantised(rng, shape, dtype, spread)
            weight[0], weight[1] = np.iinfo(dtype).min, np.iinfo(dtype).max
            zero = rng.integers(0, 128, shape[0])
            bias = rng.integers(-(2**20), 2**20, shape[0]).astype(np.int32)
            tensor = tersely.encode(weight, formulation=formulation)
            for batch in (1, 2, 3, 18):
                x = rng.integers(-128, 128, (batch, shape[1])).astype(np.int8)
                x[0] = -128
                y = tersely.linear(x, tensor, bias, zero_point=zero)
                assert y.dtype == np.int32
                assert (y == reference.linear(x, weight, zero) + bias).all()
                back = rng.integers(-128, 128, (batch, shape[0])).astype(np.int8)
                y = tersely.linear_transposed(back, tensor, zero_point=3)
                assert (y == reference.linear(back, np.ascontiguousarray(weight.T), 3)).all()


@pytest.mark.parametrize("orientation", ["out_in", "in_out"])
@pytest.mark.parametrize("shape", [(48, 100), (9, 40)], ids=str)
def test_what_kernels_do_not_know_is_decoded(
    orientation: str, shape: tuple[int, int], rng: np.random.Generator
) -> None:
    """Transposed products, weights stored the other way round, folded tensors, large batches, infinities."""
    weight = quantised(rng, shape, np.dtype(np.int8), 8)
    tensor = tersely.encode(weight, formulation="integer", orientation=orientation)
    scale, zero = rng.random(shape[0]).astype(np.float32), rng.integers(-9, 9, shape[0])
    real = scale[:, None].astype(np.float64) * (weight.astype(np.float64) - zero[:, None])
    for batch in (1, INTEGER_ROWS + 1):
        x = rng.standard_normal((batch, shape[1])).astype(np.float32)
        y = tersely.linear(x, tensor, scale=scale, zero_point=zero)
        assert np.allclose(y, x @ real.T, rtol=1e-4, atol=1e-3)
        back = rng.standard_normal((batch, shape[0])).astype(np.float32)
        y = tersely.linear_transposed(back, tensor, scale=scale, zero_point=zero)
        assert np.allclose(y, back @ real, rtol=1e-4, atol=1e-3)
    x = np.ones((1, shape[1]), np.float32)
    for value in (np.inf, np.nan):
        x[0, 3] = value
        assert not np.isfinite(tersely.linear(x, tensor, scale=scale)[0, weight[:, 3] != 0]).any()


def test_impossible_groups_and_directories_are_refused(rng: np.random.Generator) -> None:
    encoded = tersely.encode(quantised(rng, (64, 4096), np.dtype(np.int8), 12), formulation="integer", bits=4).encoded
    for name, width, values in (("directory", 8, (2**20, 2**31, 2**63, 2**64 - 2**20)), ("groups", 1, (9, 241, 255))):
        used = (9 if name == "directory" else 8) * width
        for word, value in itertools.product(range(used // width), values):
            if (name, word % 2, value) == ("groups", 1, 9):
                continue  # a base like others
            damaged = encoded.components[name].copy()
            part = damaged.view(f"<u{width}")
            part[word] = value if name == "groups" else part[word] + np.uint64(value)
            with pytest.raises(CorruptError, match="component") as caught:
                Tensor(dataclasses.replace(encoded, components={**encoded.components, name: damaged}))
            assert caught.value.component in (name, "fields")
    for node in (Node("integer", 2), Node("integer", 1, {"bits": 4}), Node("integer", 1, {}, {"x": Node("dense", 1)})):
        with pytest.raises(UnsupportedError):
            Tensor(dataclasses.replace(encoded, node=node))
    with pytest.raises(CorruptError, match="dtype float32"):
        Tensor(dataclasses.replace(encoded, dtype="float32"))
    for name in encoded.components:
        shorter = {**encoded.components, name: encoded.components[name][:-64]}
        with pytest.raises(CorruptError, match="bytes where"):
            Tensor(dataclasses.replace(encoded, components=shorter))
        with pytest.raises(CorruptError, match="missing"):
            Tensor(dataclasses.replace(encoded, components={k: v for k, v in encoded.components.items() if k != name}))
    with pytest.raises(CorruptError, match="does not have"):
        Tensor(dataclasses.replace(encoded, components={**encoded.components, "more": encoded.components["groups"]}))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"scale": np.ones(3)}, "scale has shape \\[3\\]; it must be one number or \\[48\\]"),
        ({"scale": np.ones((48, 2))}, "scale has shape"),
        ({"scale": np.ones((6, 8))}, "scale has shape"),
        ({"scale": "0.1"}, "scale has dtype"),
        ({"zero_point": np.zeros(47, int)}, "zero_point has shape"),
        ({"zero_point": 128}, "zero_point 128 is out of range for int8: -128 to 127"),
        ({"zero_point": np.array([-129] * 48)}, "zero_point -129 is out of range"),
        ({"zero_point": 0.5}, "zero_point has dtype"),
        ({"bias": np.zeros(3)}, "bias has shape"),
        ({"out": np.zeros((1, 48), np.int32)}, "out must be"),
        ({"x": np.zeros((1, 99), np.float32)}, "last dimension must be 100"),
        ({"x": np.zeros((1, 100), np.uint8)}, "x has dtype uint8"),
        ({"x": np.zeros((1, 100), np.int8), "scale": 0.1}, "leave out scale"),
        ({"x": np.zeros((1, 100), np.int8), "bias": np.zeros(48)}, "needs int32"),
    ],
    ids=str,
)
def test_wrong_operands_are_refused(options: dict, sentence: str) -> None:
    tensor = tersely.encode(np.ones((48, 100), np.int8), formulation="integer")
    with pytest.raises(ArgumentError, match=sentence):
        tersely.linear(options.pop("x", np.zeros((1, 100), np.float32)), tensor, **options)


def test_other_refusals(rng: np.random.Generator) -> None:
    array = quantised(rng, (32, 32), np.dtype(np.int8), 5)
    for options, sentence in (({"bits": 9}, "0 to 8"), ({"bits": "6"}, "0 to 8"), ({"colour": 1}, "no parameter")):
        with pytest.raises(ArgumentError, match=sentence):
            tersely.encode(array, formulation="integer", **options)
    with pytest.raises(ArgumentError, match="codes int8, uint8, int16, uint16, not float32"):
        tersely.encode(array.astype(np.float32), formulation="integer")
    with pytest.raises(ArgumentError, match="belong to weights that are integers"):
        tersely.linear(np.zeros((1, 32), np.float32), tersely.encode(array.astype(np.float32)), scale=0.5)
    wide = tersely.encode(np.ones((1, 65537), np.int8))
    with pytest.raises(ArgumentError, match="might not fit int32"):
        tersely.linear(np.ones((1, 65537), np.int8), wide)


@pytest.mark.parametrize(
    ("spread", "profile", "formulation"),
    [
        (3, "portable", "integer"),
        (10, "portable", "integer"),
        (20, "portable", "dense"),
        (20, "avx512", "integer"),
        (45, "avx512", "dense"),
        (500, "avx512", "dense"),
    ],
)
def test_the_planner_leaves_dense_what_does_not_pay(
    spread: float, profile: str, formulation: str, rng: np.random.Generator
) -> None:
    tensor = tersely.encode(quantised(rng, (512, 1024), np.dtype(np.int8), spread), profile=profile)
    assert tensor.formulation == formulation
    assert tensor.formulation == "dense" or tensor.bits_per_weight <= 7.25


MODELS = ("vww-mobilenet-v1-0.25-96-int8", "mobilenetv2-ptq-int8", "mobilenetv2-qat-uint8")


@pytest.mark.parametrize("objective", ["size", "balanced"])
@pytest.mark.parametrize("name", MODELS)
def test_real_models_come_back_and_never_grow(models: Path, name: str, objective: str) -> None:
    if not (models / f"{name}.safetensors").exists():
        pytest.skip(f"{name} is not at hand")
    coded = 0
    for tensor in tersely.load_file(models / f"{name}.safetensors").values():
        if tensor.dtype not in DTYPES:
            continue
        array = tensor.decode()
        found = tersely.encode(array, objective=objective, profile="portable")
        assert same_bits(found.decode(), array)
        assert found.nbytes_stored <= array.nbytes
        coded += found.formulation == "integer"
    assert coded
