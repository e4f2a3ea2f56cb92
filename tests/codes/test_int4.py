"""Products of 4-bit values, two a byte, and the form of nibbles that kernels multiply: against a float64 reference and its
bound, int8 exactly; every instruction set, sign, form and kind of scale; sizes, damage, refusals, what the planner takes."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arrays import ISAS, needs_native, same_bits
from support.guarded import GuardedBytes
from support.integer_forms import HALF_ULP, SUBNORMAL, X_DTYPES
from support.profile import one

import tersely
from tersely.backends.cpu import isa, native, threads
from tersely.core.encoded import Encoded, Node
from tersely.core.errors import ArgumentError, CorruptError, UnsupportedError
from tersely.planner import choose
from tersely.tensors.handoff import INTEGER_ROWS
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.kernels

PACKED = ("int4", "uint4")
FORMS = {
    "dense": {"formulation": "dense"},
    "split": {"formulation": "integer", "code": "nibbles"},
    "fields": {"formulation": "integer", "code": "nibble_fields"},
    "narrow fields": {"formulation": "integer", "code": "nibble_fields", "bits": 2},
    "other order": {"formulation": "integer", "code": "nibble_fields"},
}


def values(rng: np.random.Generator, shape: tuple[int, int], packed: str, spread: float = 1.6) -> np.ndarray:
    """int64, about the middle of the type; all values alike where the spread is large."""
    least, middle = (-8, 0) if packed == "int4" else (0, 8)
    return np.clip(np.rint(rng.standard_normal(shape) * spread + middle), least, least + 15).astype(np.int64)


def pack(numbers: np.ndarray) -> np.ndarray:
    halves = (numbers & 15).astype(np.uint8)
    return halves[..., ::2] | halves[..., 1::2] << np.uint8(4)


def coded(numbers: np.ndarray, form: str, packed: str) -> Tensor:
    options = dict(FORMS[form])
    if "fields" in form or form == "other order":
        options["signed"] = (packed == "int4") != (form == "other order")
    return tersely.encode(pack(numbers), int4_columns=numbers.shape[1], **options)


def scales_of(rng: np.random.Generator, rows: int, groups: int, packed: str) -> tuple[np.ndarray, np.ndarray]:
    """groups: 0 for one of the tensor, 1 for one a row."""
    shape = (rows, groups) if groups > 1 else (rows,) if groups else ()
    least = -8 if packed == "int4" else 0
    return rng.random(shape) + 0.01, rng.integers(least, least + 16, shape)


def centred(numbers: np.ndarray, zero: np.ndarray, factor: np.ndarray | float = 1.0) -> np.ndarray:
    """factor x (numbers - zero), float64, by tensor, row or group."""
    rows, columns = numbers.shape
    groups = zero.shape[1] if zero.ndim == 2 else 1
    seen = numbers.reshape(rows, groups, columns // groups).astype(np.float64)
    whole = seen - zero.reshape(-1, groups, 1)
    return (whole * np.reshape(factor, (-1, groups, 1))).reshape(rows, columns)


def assert_within_bound(y: np.ndarray, x: np.ndarray, real: np.ndarray, bias: np.ndarray | float) -> None:
    exact = x.astype(np.float64) @ real.T + bias
    largest = np.abs(x.astype(np.float64)).max(axis=1, keepdims=True)
    allowed = 1.01 * 2.0**-23 * largest * np.abs(real).sum(axis=1) * (1 + 1e-6) + SUBNORMAL[x.dtype.name]
    allowed = allowed + HALF_ULP[x.dtype.name] * (np.abs(exact) + allowed) * (1 + 1e-6)
    if x.dtype != np.float32:  # rounded to float32 first
        allowed += 2.0**-24 * np.abs(exact)
    assert y.dtype == x.dtype
    assert (np.abs(y.astype(np.float64) - exact) <= allowed).all()


@pytest.mark.exhaustive
@needs_native
@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("shape", "groups"),
    [((48, 100), 4), ((40, 128), 8), ((17, 4224), 33), ((20, 4608), 3), ((300, 32), 2), ((5, 34), 17), ((33, 4100), 2)],
    ids=str,
)
def test_float_products_are_within_the_bound(
    shape: tuple[int, int], groups: int, form: str, packed: str, each_isa: str, rng: np.random.Generator
) -> None:
    numbers = values(rng, shape, packed)
    tensor, bias = coded(numbers, form, packed), rng.standard_normal(shape[0]).astype(np.float32)
    for count in one((0, 1, groups), form, shape, each_isa):
        scale, zero = scales_of(rng, shape[0], count, packed)
        real = centred(numbers, zero, scale)
        for x_dtype, batch in itertools.product(one(X_DTYPES, packed, shape, each_isa), (1, 3, 18)):
            x = (rng.standard_normal((batch, shape[1])) * (1 if x_dtype == np.float32 else 0.002)).astype(x_dtype)
            y = tersely.linear(x, tensor, bias, scale=scale, zero_point=zero, packed=packed)
            assert_within_bound(y, x, real, bias)


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("form", FORMS)
def test_int8_products_are_exact(form: str, packed: str, each_isa: str, rng: np.random.Generator) -> None:
    for shape in ((48, 100), (40, 4100), (300, 30), (5, 34)):
        numbers = values(rng, shape, packed, 3.0)
        tensor, zero = coded(numbers, form, packed), scales_of(rng, shape[0], 1, packed)[1]
        bias = rng.integers(-(2**20), 2**20, shape[0]).astype(np.int32)
        whole = centred(numbers, zero).astype(np.int64)
        for batch in (1, 3, INTEGER_ROWS + 1):
            x = rng.integers(-128, 128, (batch, shape[1])).astype(np.int8)
            y = tersely.linear(x, tensor, bias, zero_point=zero, packed=packed)
            assert y.dtype == np.int32
            assert (y == x.astype(np.int64) @ whole.T + bias).all()
            back = rng.integers(-128, 128, (batch, shape[0])).astype(np.int8)
            y = tersely.linear_transposed(back, tensor, zero_point=zero, packed=packed)
            assert (y == back.astype(np.int64) @ whole).all()


@pytest.mark.parametrize("with_native", [True, False], ids=["native", "numpy"])
@pytest.mark.parametrize("packed", PACKED)
def test_what_kernels_do_not_know_is_decoded(
    packed: str, with_native: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transposed products, many rows of x, infinities, folded tensors, other formulations; no native module."""
    if not with_native:
        monkeypatch.setattr(native, "module", None)
    monkeypatch.setattr("tersely.tensors.handoff.NUMPY_BLOCK_WEIGHTS", 32 * 96)
    for shape, groups in itertools.product(((80, 96), (9, 96)), (0, 1, 3)):
        numbers = values(rng, shape, packed)
        scale, zero = scales_of(rng, shape[0], groups, packed)
        real = centred(numbers, zero, scale)
        tensors = [coded(numbers, form, packed) for form in FORMS]
        tensors += [
            tersely.encode(pack(numbers), "integer"),
            tersely.encode(pack(numbers), "integer", code="distances"),
        ]
        for tensor, batch in itertools.product(tensors, (1, INTEGER_ROWS + 1)):
            x = rng.standard_normal((2, batch, 96)).astype(np.float32)
            y = tersely.linear(x, tensor, scale=scale, zero_point=zero, packed=packed)
            assert np.allclose(y, x @ real.T, rtol=1e-4, atol=1e-3)
            back = rng.standard_normal((batch, shape[0])).astype(np.float32)
            y = tersely.linear_transposed(back, tensor, np.ones(96), scale=scale, zero_point=zero, packed=packed)
            assert np.allclose(y, back @ real + 1, rtol=1e-4, atol=1e-3)
        x = np.ones((1, 96), np.float32)
        x[0, 3] = np.inf
        y = tersely.linear(x, tensors[2], scale=scale, zero_point=zero, packed=packed)
        assert not np.isfinite(y[0, real[:, 3] != 0]).any()


def test_a_scale_alone_a_zero_point_alone_and_columns_of_one(rng: np.random.Generator) -> None:
    numbers = values(rng, (48, 64), "uint4")
    x = rng.standard_normal((2, 64)).astype(np.float32)
    scale, zero = scales_of(rng, 48, 4, "uint4")
    for tensor in (coded(numbers, "dense", "uint4"), coded(numbers, "fields", "uint4")):
        for own_scale, own_zero in ((scale, None), (None, zero), (scale, 3), (0.5, zero), (scale[:, 0], zero)):
            factor, taken = (
                np.broadcast_to(np.reshape(one, (48, -1)) if np.ndim(one) else one, (48, 4))
                for one in (1.0 if own_scale is None else own_scale, 0 if own_zero is None else own_zero)
            )
            y = tersely.linear(x, tensor, scale=own_scale, zero_point=own_zero, packed="uint4")
            assert np.allclose(y, x @ centred(numbers, taken, factor).T, rtol=1e-4, atol=1e-3)
        by_row = tersely.linear(x, tensor, scale=scale[:, 0], packed="uint4")
        assert same_bits(tersely.linear(x, tensor, scale=scale[:, :1], packed="uint4"), by_row)
        assert same_bits(
            tersely.linear(x, tensor, packed="uint4"), tersely.linear(x, tensor, scale=1.0, packed="uint4")
        )
    empty = tersely.encode(np.zeros((4, 0), np.uint8))
    assert (tersely.linear(np.zeros((2, 0), np.float32), empty, np.ones(4), packed="int4") == 1).all()
    assert (
        tersely.linear(np.zeros((2, 6), np.float32), tersely.encode(np.zeros((0, 3), np.uint8)), packed="int4").size
        == 0
    )


@needs_native
@pytest.mark.parametrize("groups", [1, 20])
@pytest.mark.parametrize("batch", [1, 5, 20])
def test_bits_depend_neither_on_threads_nor_on_instruction_set_nor_on_the_form(
    batch: int, groups: int, rng: np.random.Generator
) -> None:
    numbers = values(rng, (300, 2560), "int4")
    before = threads.get_num_threads()
    x, scale = rng.standard_normal((batch, 2560)).astype(np.float32), scales_of(rng, 300, groups, "int4")[0]
    tensors, results = [coded(numbers, form, "int4") for form in FORMS], set()
    for count, name in itertools.product((1, 2, 7), ISAS):
        tersely.set_num_threads(count)
        with isa.using(name):
            results |= {tersely.linear(x, own, scale=scale, packed="int4").tobytes() for own in tensors}
    tersely.set_num_threads(before)
    assert len(results) == 1


@given(
    st.sampled_from(PACKED),
    st.sampled_from(tuple(FORMS)),
    st.tuples(st.integers(1, 70), st.integers(1, 12), st.integers(1, 40)),
    st.sampled_from((0.0, 1.0, 3.0, 100.0)),
    st.integers(0, 2**32 - 1),
)
def test_whatever_the_shape_groups_and_values(
    packed: str, form: str, sizes: tuple[int, int, int], spread: float, seed: int
) -> None:
    rng, (rows, groups, each) = np.random.default_rng(seed), sizes
    shape = (rows, 2 * groups * each)
    numbers = values(rng, shape, packed, spread)
    scale, zero = scales_of(rng, rows, groups, packed)
    tensor, x = coded(numbers, form, packed), rng.standard_normal((2, shape[1])).astype(np.float32)
    assert same_bits(tensor.decode(), pack(numbers))
    y = tersely.linear(x, tensor, scale=scale, zero_point=zero, packed=packed)
    assert_within_bound(y, x, centred(numbers, zero, scale), 0.0)


def test_the_planner_takes_fields_for_products_and_the_smallest_for_size(rng: np.random.Generator) -> None:
    for spread in (1.0, 2.5):
        array = pack(values(rng, (512, 2048), "int4", spread))
        for profile, objective in itertools.product(("portable", "avx512"), ("balanced", "speed")):
            found = tersely.encode(array, objective=objective, profile=profile, int4_columns=2048)
            assert found.encoded.node.children["nibbles"].formulation == "integer"
            assert found.nbytes_stored <= array.nbytes * (1 + 1 / 256)
            forced = tersely.encode(array, "integer", objective=objective, int4_columns=2048)
            assert forced.encoded.node == found.encoded.node
        small = tersely.encode(array, objective="size", int4_columns=2048)
        assert small.encoded.node.children["nibbles"].formulation == "split"
        assert small.nbytes_stored < found.nbytes_stored
    tiny = tersely.encode(array[:16, :16], int4_columns=32)
    assert tiny.formulation == "dense"  # groups and slack would cost more than they may


def guarded(encoded: Encoded) -> tuple[dict[str, GuardedBytes], Tensor]:
    guards = {name: GuardedBytes(data) for name, data in encoded.components.items()}
    components = {name: guard.array for name, guard in guards.items()}
    return guards, Tensor(dataclasses.replace(encoded, components=components))


@needs_native
def test_no_kernel_reads_past_a_component(each_isa: str, rng: np.random.Generator) -> None:
    for shape, form in itertools.product(((48, 96), (33, 4128), (280, 32)), ("dense", "fields", "narrow fields")):
        numbers = values(rng, shape, "int4")
        for fill in (None, 0xFF, "random"):
            guards, tensor = guarded(coded(numbers, form, "int4").encoded)
            for name, guard in guards.items():
                if fill is None or name.endswith(("directory", "groups")):
                    continue  # checked when a file is opened; payload is not
                guard.array[:] = rng.integers(256, size=guard.array.size) if fill == "random" else fill
            for batch, groups in itertools.product((1, 17), (1, 2, 4)):
                scale = np.ones((shape[0], groups)) if groups > 1 else 1.0
                x = np.ones((batch, shape[1]), np.float32)
                y = tersely.linear(x, tensor, scale=scale, packed="int4")
                if fill is None:
                    assert (y == numbers.sum(axis=1)).all()


def test_damage_is_found_or_does_no_harm(each_isa: str, rng: np.random.Generator) -> None:
    encoded = coded(values(rng, (40, 4200), "int4"), "narrow fields", "int4").encoded
    guards, tensor = guarded(encoded)
    for name in ("nibbles.fields", "nibbles.escape_positions", "nibbles.escapes"):
        guards[name].array[:] = rng.integers(256, size=guards[name].array.size)
    assert same_bits(tensor.rows(0, 40), tensor.decode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "module", None)
        assert same_bits(Tensor(tensor.encoded).decode(), tensor.decode())
    for name, data in encoded.components.items():
        for damaged in ({**encoded.components, name: data[:-64]}, dict(encoded.components)):
            if damaged[name] is data:
                del damaged[name]
            with pytest.raises(CorruptError) as caught:
                Tensor(dataclasses.replace(encoded, components=damaged))
            assert caught.value.component == name
    # More bits or a higher base than values of four bits have, and directories that do not rise.
    for name, place, value in (("groups", 0, 5), ("groups", 0, 255), ("groups", 1, 13), ("directory", 0, 1)):
        damaged = encoded.components[f"nibbles.{name}"].copy()
        damaged[place] = value
        with pytest.raises(CorruptError) as caught:
            Tensor(dataclasses.replace(encoded, components={**encoded.components, f"nibbles.{name}": damaged}))
        assert caught.value.component == f"nibbles.{name}"
    for extra in ("nibbles.more", "fields"):
        with pytest.raises(CorruptError, match="does not have"):
            Tensor(dataclasses.replace(encoded, components={**encoded.components, extra: np.zeros(64, np.uint8)}))


def test_impossible_descriptions_are_refused(rng: np.random.Generator) -> None:
    encoded = coded(values(rng, (48, 100), "int4"), "fields", "int4").encoded
    fields = encoded.node.children["nibbles"]
    wrong = [
        ({"signed": False}, fields),
        ({"signed": 1}, fields),
        ({"signed": True, "bits": 4}, fields),
        ({"bits": 4}, fields),
        ({}, Node("integer", 2)),
        ({}, Node("integer", 1, {"bits": 4})),
        ({}, Node("integer", 1, {}, {"nibbles": fields})),
        ({"signed": True}, Node("split", 1, {"code": "constant", "table": "00"})),
    ]
    for parameters, child in wrong:
        with pytest.raises(UnsupportedError):
            Tensor(dataclasses.replace(encoded, node=Node("integer", 1, parameters, {"nibbles": child})))
    with pytest.raises(UnsupportedError):
        Tensor(
            dataclasses.replace(
                encoded, node=Node("integer", 1, {"centre": 0, "bit_layout": "index"}, {"distances": fields})
            )
        )
    with pytest.raises(CorruptError, match="nibbles are of uint8"):
        Tensor(dataclasses.replace(encoded, dtype="int8"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"packed": "int8"}, "packed is 'int8'; it must be 'int4' or 'uint4'"),
        ({"packed": 4}, "packed is 4; it must be"),
        ({"x": np.zeros((1, 50), np.float32)}, "last dimension must be 100"),
        ({"x": np.zeros((1, 100), np.uint8)}, "x has dtype uint8; weights of uint4, two a byte, multiply"),
        ({"scale": np.ones(3)}, "scale has shape \\[3\\]; it must be one number or \\[48\\]"),
        ({"scale": np.ones((48, 3))}, "scale has shape \\[48, 3\\]: 3 groups do not divide 100 columns evenly"),
        ({"scale": np.ones((48, 0))}, "0 groups do not divide"),
        ({"scale": np.ones((4, 48))}, "scale has shape \\[4, 48\\]"),
        ({"scale": np.ones((48, 2)), "zero_point": np.ones((48, 4), int)}, "scale has 2 groups a row and zero_point 4"),
        ({"zero_point": 16}, "zero_point 16 is out of range for uint4: 0 to 15"),
        ({"zero_point": -1}, "zero_point -1 is out of range"),
        ({"zero_point": np.full((48, 2), 16)}, "zero_point 16 is out of range"),
        ({"zero_point": 8, "packed": "int4"}, "zero_point 8 is out of range for int4: -8 to 7"),
        ({"zero_point": np.zeros((48, 2))}, "zero_point has dtype float64"),
        ({"bias": np.zeros(3)}, "bias has shape"),
        ({"out": np.zeros((1, 48), np.int32)}, "out must be"),
        ({"x": np.zeros((1, 100), np.int8), "scale": 0.1}, "leave out scale"),
        ({"x": np.zeros((1, 100), np.int8), "zero_point": np.zeros((48, 2), int)}, "one exact int32 sum a row"),
        ({"weight": np.zeros((48, 50), np.int8)}, "packed='uint4' is for uint8 weights .* not for int8"),
        ({"weight": np.zeros((48, 50), np.float32)}, "not for float32"),
        ({"weight": np.zeros((3, 48, 50), np.uint8)}, "a product needs \\[rows, columns\\]"),
    ],
    ids=str,
)
def test_wrong_operands_are_refused(options: dict, sentence: str) -> None:
    given = {"x": np.zeros((1, 100), np.float32), "weight": np.zeros((48, 50), np.uint8), "packed": "uint4", **options}
    with pytest.raises(ArgumentError, match=sentence):
        tersely.linear(given.pop("x"), tersely.encode(given.pop("weight")), **given)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"bits": 5}, "bits of 'integer' are 0 to 4, not 5"),
        ({"signed": 1}, "signed is True or False, not 1"),
        ({"colour": 1}, "with code 'nibble_fields' takes no parameter 'colour'"),
        ({"int4_columns": None}, "code 'nibble_fields' needs int4_columns"),
    ],
    ids=str,
)
def test_wrong_options_are_refused(options: dict, sentence: str) -> None:
    options = {"int4_columns": 100, **options}
    with pytest.raises(ArgumentError, match=sentence):
        choose.encode(np.zeros((48, 50), np.uint8), formulation="integer", code="nibble_fields", **options)
