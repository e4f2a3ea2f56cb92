"""`integer` under codes of `split`: distances of 8 and 16 bits, nibbles of bytes that hold two values. Every instruction
set against the original bits and the reference, exact sizes, rows and single weights, products, refusals, damage, and
how near real models come to the entropy of their values."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file
from support.arrays import needs_native, same_bits
from support.guarded import GuardedBytes
from support.integer_forms import check

import tersely
from tersely.codes.words.integer import distances
from tersely.core.encoded import Encoded, Node
from tersely.core.errors import ArgumentError, CorruptError, TerselyError, UnsupportedError
from tersely.files import plan_file
from tersely.planner import choose
from tersely.tensors.handoff import INTEGER_ROWS
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.kernels

DTYPES = tuple(np.dtype(scalar) for scalar in (np.int8, np.uint8, np.int16, np.uint16))


def whole(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype, spread: float) -> np.ndarray:
    limits = np.iinfo(dtype)
    middle = limits.max // 2 - 5 if dtype.kind == "u" else -3
    return np.clip(np.rint(rng.standard_normal(shape) * spread + middle), limits.min, limits.max).astype(dtype)


@given(
    st.sampled_from(DTYPES),
    st.one_of(st.lists(st.integers(0, 30), max_size=4).map(tuple), st.tuples(st.integers(16, 33), st.just(2049))),
    st.sampled_from((0.0, 1.0, 9.0, 100.0, 1e5)),
    st.integers(0, 2**32 - 1),
)
def test_whatever_the_shape_and_values(dtype: np.dtype, shape: tuple[int, ...], spread: float, seed: int) -> None:
    array = whole(np.random.default_rng(seed), shape, dtype, spread)
    check(array, code="distances")
    if dtype == np.uint8 and shape:
        check(array, code="nibbles", int4_columns=2 * shape[-1])
    planned = tersely.encode(array, objective="size")
    assert same_bits(planned.decode(), array)
    assert planned.nbytes_stored <= array.nbytes


def test_folding_is_one_to_one() -> None:
    """Every word about every centre, and what a size below 128 becomes."""
    for word, centres in ((np.uint8, range(256)), (np.uint16, (0, 1, 77, 0x7FFF, 0x8000, 0xFFFF))):
        every = np.arange(1 << 8 * np.dtype(word).itemsize).astype(word)
        for centre in centres:
            folded, back = distances.fold(every, centre), np.empty_like(every)
            assert np.unique(folded).size == every.size
            distances.unfold(folded, centre, back)
            assert same_bits(back, every)
    top = 1 << 15
    assert distances.fold(np.array([0, 1, 0xFFFF, 0xFFFE], np.uint16), 0).tolist() == [0, 1, top, top | 1]
    narrow = np.arange(256, dtype=np.uint8)
    assert same_bits(distances.narrow(distances.widen(narrow)), narrow)


def entropy(values: np.ndarray) -> float:
    share = np.unique(values, return_counts=True)[1] / values.size
    return float(-(share * np.log2(share)).sum())


@pytest.mark.parametrize(
    ("dtype", "spread"), [("int8", 0.7), ("int8", 12), ("uint8", 30), ("int16", 15), ("int16", 300), ("uint16", 4000)]
)
def test_size_is_near_the_entropy_of_the_values(dtype: str, spread: float, rng: np.random.Generator) -> None:
    array = whole(rng, (512, 1024), np.dtype(dtype), spread)
    found = tersely.encode(array, objective="size", profile="portable")
    assert found.formulation == "integer"
    assert found.bits_per_weight <= 1.05 * entropy(array) + 0.1


def test_the_planner_takes_nibbles_where_they_are_smaller(rng: np.random.Generator) -> None:
    """Only if the caller says that bytes are pairs: as bytes they are coded by their own histogram."""
    values = np.clip(np.rint(rng.standard_normal((256, 1024)) * 1.2), -8, 7).astype(np.int64) & 15
    packed = (values[:, ::2] | values[:, 1::2] << 4).astype(np.uint8)
    as_bytes = tersely.encode(packed, objective="size")
    as_pairs = tersely.encode(packed, objective="size", int4_columns=1024)
    assert same_bits(as_pairs.decode(), packed)
    assert "nibbles" in as_pairs.encoded.node.children
    assert "nibbles" not in as_bytes.encoded.node.children
    assert as_pairs.nbytes_stored < as_bytes.nbytes_stored
    assert as_pairs.nbytes_stored * 8 <= values.size * (entropy(values) * 1.06 + 0.05)
    alike = np.repeat(packed[:1, :1], 4096, axis=1)  # one byte throughout
    assert same_bits(tersely.encode(alike, "integer", int4_columns=8192).decode(), alike)


@pytest.mark.parametrize(
    ("array", "options", "sentence"),
    [
        (np.zeros((4, 8), np.uint8), {"int4_columns": 15}, "int4_columns is 15: an odd number"),
        (np.zeros((4, 8), np.uint8), {"int4_columns": 18}, "is 18, and rows of 8 bytes hold 16"),
        (np.zeros((4, 8), np.uint8), {"int4_columns": True}, "must be an integer, not True"),
        (np.zeros((4, 8), np.uint8), {"int4_columns": 16.0}, "must be an integer"),
        (np.zeros((4, 8), np.int8), {"int4_columns": 16}, "for uint8 arrays .* not for int8"),
        (np.zeros((), np.uint8), {"int4_columns": 2}, "0 dimensions"),
        (
            np.zeros((4, 8), np.uint8),
            {"int4_columns": 16, "formulation": "palette"},
            "belongs to formulation 'integer'",
        ),
        (np.zeros((4, 8), np.uint8), {"formulation": "integer", "code": "nibbles"}, "needs int4_columns"),
        (np.zeros((4, 8), np.int16), {"formulation": "integer", "code": "fields"}, "use code='distances'"),
        (np.zeros((4, 8), np.int16), {"formulation": "integer", "bits": 3}, "takes no parameter 'bits'"),
        (np.zeros((4, 8), np.int8), {"formulation": "integer", "code": "packed"}, "unknown code 'packed'"),
        (
            np.zeros((4, 8), np.int8),
            {"formulation": "integer", "code": "distances", "bit_layout": "float16"},
            "bit_layout is one",
        ),
        (
            np.array([[0, 256]], np.int16),
            {"formulation": "integer", "code": "distances", "bit_layout": "index"},
            "at most 256 neighbouring values",
        ),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(array: np.ndarray, options: dict, sentence: str) -> None:
    with pytest.raises(ArgumentError, match=sentence):
        tersely.encode(array, **options)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_products_in_every_direction(dtype: np.dtype, each_isa: str, rng: np.random.Generator) -> None:
    weight = whole(rng, (48, 100), dtype, 20)
    scale, zero = rng.random(48), int(weight[0, 0])
    bias = rng.standard_normal(48).astype(np.float32)
    exact = (weight.astype(np.float64) - zero) * scale[:, None]
    for orientation, batch in itertools.product(("out_in", "in_out"), (1, 5, INTEGER_ROWS + 1)):
        tensor = tersely.encode(weight, "integer", orientation=orientation, code="distances")
        x = rng.standard_normal((batch, 100)).astype(np.float32)
        y = tersely.linear(x, tensor, bias, scale=scale, zero_point=zero)
        assert np.allclose(y, x @ exact.T + bias, rtol=1e-4, atol=1e-2)
        back = rng.standard_normal((batch, 48)).astype(np.float32)
        y = tersely.linear_transposed(back, tensor, scale=scale, zero_point=zero)
        assert np.allclose(y, back @ exact, rtol=1e-4, atol=1e-2)
        if dtype.itemsize == 1:  # exact sums: the same bits as those of dense weights
            dense = tersely.encode(weight, "dense")
            for own in (x, rng.integers(-128, 128, (batch, 100)).astype(np.int8)):
                given = {} if own.dtype == np.int8 else {"scale": scale}
                results = [tersely.linear(own, one, zero_point=zero, **given) for one in (tensor, dense)]
                assert same_bits(*results)
    if dtype.itemsize == 2:
        with pytest.raises(ArgumentError, match="leave int32"):
            tersely.linear(np.ones((1, 100), np.int8), tensor)


@needs_native
def test_products_of_parts_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    weight = rng.integers(0, 256, (100, 64)).astype(np.uint8)
    tensor = tersely.encode(weight, "integer", code="nibbles", int4_columns=128)
    x, scale, zero = rng.standard_normal((3, 64)).astype(np.float32), rng.random(100), rng.integers(0, 9, 100)
    bias = rng.standard_normal(100).astype(np.float32)
    whole_product = tersely.linear(x, tensor, bias, scale=scale, zero_point=zero)
    monkeypatch.setattr("tersely.tensors.handoff.NUMPY_BLOCK_WEIGHTS", 32 * 64)
    assert same_bits(tersely.linear(x, tensor, bias, scale=scale, zero_point=zero), whole_product)


def coded(rng: np.random.Generator) -> list[Encoded]:
    arrays = [(whole(rng, (40, 2100), dtype, 9), {"code": "distances"}) for dtype in DTYPES]
    arrays += [(whole(rng, (40, 2100), DTYPES[2], 5000), {"code": "distances"})]
    arrays += [(rng.integers(0, 40, (40, 130)).astype(np.uint8), {"code": "nibbles", "int4_columns": 260})]
    return [choose.encode(array, formulation="integer", **options) for array, options in arrays]


def test_damage_is_found_or_does_no_harm(each_isa: str, rng: np.random.Generator) -> None:
    """Payload of random bytes is read without leaving a component; lengths and directories are checked."""
    for encoded in coded(rng):
        guards = {name: GuardedBytes(data) for name, data in encoded.components.items()}
        for name, guard in guards.items():
            if not name.endswith("directory"):
                guard.array[:] = rng.integers(256, size=guard.array.size)
        components = {name: guard.array for name, guard in guards.items()}
        tensor = Tensor(dataclasses.replace(encoded, components=components))
        assert same_bits(tensor.rows(0, 40), tensor.decode())
        for r, c in rng.integers(40, size=(20, 2)):
            assert tensor[r, c].dtype == tensor.dtype
        for name, data in encoded.components.items():
            for damaged in ({**encoded.components, name: data[:-64]}, dict(encoded.components)):
                if damaged[name] is data:
                    del damaged[name]
                with pytest.raises(CorruptError) as caught:
                    Tensor(dataclasses.replace(encoded, components=damaged))
                assert caught.value.component == name
        with pytest.raises(CorruptError, match="does not have"):
            Tensor(dataclasses.replace(encoded, components={**encoded.components, "fields": np.zeros(64, np.uint8)}))


def test_impossible_descriptions_are_refused(rng: np.random.Generator) -> None:
    for encoded in coded(rng):
        child, node = next(iter(encoded.node.children.items()))
        parameters = dict(encoded.node.parameters)
        wrong = [
            Node("integer", 1, parameters, {child: node, "more": node}),
            Node("integer", 1, parameters, {"other": node}),
            Node("integer", 1, parameters, {child: Node("dense", 1)}),
            Node("integer", 1, {**parameters, "bits": 3}, {child: node}),
        ]
        if child == "distances":
            wrong += [
                Node("integer", 1, {**parameters, key: value}, {child: node})
                for key, value in (
                    ("centre", 1 << 20),
                    ("centre", "1"),
                    ("centre", True),
                    ("bit_layout", "float32"),
                    ("bit_layout", 3),
                )
            ]
            wrong += [Node("integer", 1, {"centre": 0}, {child: node})]
        if encoded.dtype in ("int16", "uint16"):
            wrong += [Node("integer", 1)]
        for one in wrong:
            with pytest.raises((UnsupportedError, CorruptError)):
                Tensor(dataclasses.replace(encoded, node=one))
    with pytest.raises(CorruptError, match="nibbles are of uint8"):
        Tensor(dataclasses.replace(encoded, dtype="int8"))
    with pytest.raises(CorruptError, match="nibbles are of uint8"):
        Tensor(dataclasses.replace(encoded, view="matrix", orientation="in_out", shape=encoded.shape[::-1]))


def test_files_and_plans_hold_whole_numbers(tmp_path: Path, rng: np.random.Generator) -> None:
    """int8 and int16 of a file are coded; a plan says of a tensor that its bytes are pairs of 4-bit values."""
    values = np.clip(np.rint(rng.standard_normal((64, 512))), -8, 7).astype(np.int64) & 15
    arrays = {
        "int8": whole(rng, (64, 256), DTYPES[0], 4),
        "int16": whole(rng, (64, 256), DTYPES[2], 500),
        "pairs": (values[:, ::2] | values[:, 1::2] << 4).astype(np.uint8),
    }
    save_file(arrays, tmp_path / "source.safetensors")
    document = plan_file.make_plan(tmp_path / "source.safetensors", objective="size")
    assert [entry["formulation"] for entry in document["tensors"].values()].count("integer") >= 2
    document["tensors"]["pairs"] |= {"formulation": "integer", "parameters": {"int4_columns": 512}}
    (tmp_path / "plan.json").write_text(json.dumps(document))
    tersely.compress(tmp_path / "source.safetensors", tmp_path / "packed.safetensors", plan=tmp_path / "plan.json")
    tensors = tersely.load_file(tmp_path / "packed.safetensors", check="full")
    assert "nibbles" in tensors["pairs"].encoded.node.children
    for name, array in arrays.items():
        assert same_bits(tensors[name].decode(), array), name
        if name != "pairs":
            assert tensors[name].nbytes_stored == document["tensors"][name]["stored_bytes"]
    tersely.decompress(tmp_path / "packed.safetensors", tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "source.safetensors").read_bytes()
    document["tensors"]["pairs"]["parameters"] = {"int4_columns": 511}
    with pytest.raises(TerselyError, match="the plan for 'pairs': int4_columns is 511: an odd number"):
        tersely.compress(tmp_path / "source.safetensors", tmp_path / "other.safetensors", plan=document)


@pytest.mark.parametrize(
    ("name", "most"),
    [("vww-mobilenet-v1-0.25-96-int8", 1.35), ("mobilenetv2-ptq-int8", 1.03), ("mobilenetv2-qat-uint8", 1.035)],
)
def test_real_models_are_near_their_bound(models: Path, name: str, most: float) -> None:
    """Bits a weight under objective `size`, against the entropy of each layer's values.

    The first has few thousand weights a layer: what streams end with counts there.
    """
    if not (models / f"{name}.safetensors").exists():
        pytest.skip(f"{name} is not at hand")
    bits = bound = 0.0
    for tensor in tersely.load_file(models / f"{name}.safetensors").values():
        if tensor.dtype in DTYPES and tensor.size >= 4096:
            found = tersely.encode(tensor.decode(), objective="size", profile="portable")
            bits += found.nbytes_stored * 8
            bound += entropy(tensor.decode()) * tensor.size
    assert bits <= most * bound


@pytest.mark.parametrize("dtype", ["int16", "uint16"])
@pytest.mark.parametrize("far", [254, 255, 256])
def test_a_median_at_the_end_of_a_range_of_256_values(dtype: str, far: int) -> None:
    """Centred on the median, distances up to 255 would not fit the words of 8 bits that the range fits."""
    for common, rare in ((0, far), (far, 0)):
        array = np.full((64, 256), common + 300, dtype)
        array[::9, ::7] = rare + 300
        for bit_layout in ("index", "float8_e5m2", "float8_e4m3fn") if far < 256 else (None,):
            options = {} if bit_layout is None else {"bit_layout": bit_layout}
            coded = tersely.encode(array, formulation="integer", code="distances", **options)
            assert np.array_equal(coded.decode(), array)
