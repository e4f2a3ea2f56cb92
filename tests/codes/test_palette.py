"""`palette`: the native encoder against the reference, every kernel against the original bits and float64, bad files."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arrays import DTYPES, ISAS, needs_native, normal, random_bits, same_bits
from support.guarded import GuardedBytes, run_everything
from support.products import assert_close, check_batches
from support.references import reference_components, reference_words

import tersely
from tersely.backends.cpu import isa, threads
from tersely.codes.palette import codec
from tersely.codes.palette.formulation import palette
from tersely.core.dtypes import raw_bytes
from tersely.core.encoded import Node
from tersely.core.errors import ArgumentError, CorruptError, UnsupportedError
from tersely.planner import choose
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.kernels

PALETTE = DTYPES[:3]
FORMS: tuple[dict, ...] = (
    {},
    {"code": "packed"},
    {"code": "layered", "widths": (2, 2)},
    {"code": "layered", "widths": (1, 3, 1)},
)
SIZES = (1, 2, 3, 5, 9, 16, 17, 40, 100, 256)
"""Distinct words: a few for every number of bits from 1 to 8."""
SHAPES = ((48, 100), (17, 2300), (3, 40, 33), (32, 32, 3, 3), (20, 6, 5, 5), (7,), (), (300, 40), (16, 4))


def shared(rng: np.random.Generator, shape: tuple[int, ...], words: np.ndarray, skew: float = 0.0) -> np.ndarray:
    """Weights drawn from a few words; with a skew, the first of them far more often."""
    share = np.exp(-skew * np.arange(words.size))
    return rng.choice(words, size=shape, p=share / share.sum())


def few_bits(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype, size: int) -> np.ndarray:
    """Few distinct words of any bits, NaN payloads, infinities and subnormals among them."""
    words = random_bits(rng, (size,), dtype).view(f"u{dtype.itemsize}")
    return np.asarray(shared(rng, shape, words, 0.3)).view(dtype).reshape(shape)


def words_of(array: np.ndarray) -> np.ndarray:
    return raw_bytes(array).view(f"<u{array.itemsize}").reshape(array.shape)


def check(array: np.ndarray, form: dict, orientation: str = "out_in") -> None:
    """Native bytes equal reference bytes, every ISA and the reference decode them."""
    encoded = choose.encode(array, formulation="palette", orientation=orientation, **form)
    expected = reference_components(array, formulation="palette", orientation=orientation, **form)
    assert {name: data.tobytes() for name, data in expected.items()} == {
        name: data.tobytes() for name, data in encoded.components.items()
    }
    assert same_bits(reference_words(encoded), words_of(array))
    for name in ISAS:
        with isa.using(name):
            assert same_bits(Tensor(encoded).decode(), array), name


@pytest.mark.parametrize("dtype", PALETTE, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_isa_decodes_what_reference_and_native_encode_alike(
    form: dict, shape: tuple[int, ...], dtype: np.dtype, rng: np.random.Generator
) -> None:
    for size in SIZES:
        for orientation in ("out_in", "in_out") if len(shape) in (2, 3) and size == 16 else ("out_in",):
            check(few_bits(rng, shape, dtype, size), form, orientation)


shapes = st.one_of(
    st.lists(st.integers(0, 40), max_size=4).map(tuple),
    st.tuples(st.integers(1, 300), st.integers(1, 90)),
    st.tuples(st.integers(16, 33), st.sampled_from((2048, 2049, 4097))),
)


@given(st.sampled_from(FORMS), st.sampled_from(PALETTE), shapes, st.integers(1, 256), st.integers(0, 2**32 - 1))
def test_whatever_the_shape_and_bits(form: dict, dtype: np.dtype, shape: tuple[int, ...], size: int, seed: int) -> None:
    check(few_bits(np.random.default_rng(seed), shape, dtype, size - (size == 256)), form)


@pytest.mark.parametrize("dtype", PALETTE, ids=str)
def test_sizes_are_known_before_writing(dtype: np.dtype, rng: np.random.Generator) -> None:
    for shape, size in itertools.product(((48, 100), (17, 2300), (7,), (20, 6, 5, 5)), SIZES):
        words = words_of(few_bits(rng, shape, dtype, size))
        for objective in choose.OBJECTIVES:
            request = choose.Request(words, dtype.name, objective=objective)
            for candidate in palette.candidates(request):
                stored = sum(data.nbytes for data in candidate.components(1).values())
                assert stored == candidate.nbytes


def test_the_table_is_in_order(rng: np.random.Generator) -> None:
    array = np.array([np.inf] * 5 + [2.0] * 2 + [0.5] * 2 + [-0.0] * 3 + [np.nan], np.float32)
    table = codec.table_of(words_of(array), "float32")
    assert table is not None
    assert table.view(np.float32)[:4].tolist() == [-0.0, 0.5, 2.0, np.inf]
    endless = codec.table_of(words_of(np.full(3, np.inf, np.float32)), "float32")
    assert endless is not None
    assert endless.tolist() == [0, 0x7F800000]


def test_more_than_256_words_are_refused_and_no_candidate(rng: np.random.Generator) -> None:
    array = np.arange(1, 258, dtype=np.float32).repeat(100)
    assert palette.candidates(choose.Request(words_of(array), "float32")) == []
    assert codec.table_of(words_of(array), "float32") is None
    with pytest.raises(ArgumentError, match="at most 256 distinct words"):
        choose.encode(array, formulation="palette")
    endless = array.copy()
    endless[:] = rng.choice(np.arange(0x7F800000, 0x7F800100, dtype=np.uint32), endless.size).view(np.float32)
    with pytest.raises(ArgumentError, match="at most 256 distinct words"):  # one more for the padding
        choose.encode(endless, formulation="palette")


@pytest.mark.parametrize("dtype", PALETTE, ids=str)
@pytest.mark.parametrize("shape", [s for s in SHAPES if s], ids=str)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_rows_and_single_weights_are_exact(
    form: dict, shape: tuple[int, ...], dtype: np.dtype, rng: np.random.Generator
) -> None:
    for size in (2, 16, 23):
        array = few_bits(rng, shape, dtype, size)
        for orientation in ("out_in", "in_out") if len(shape) in (2, 3) else ("out_in",):
            tensor = tersely.encode(array, formulation="palette", orientation=orientation, **form)
            for first, last in ((0, 1), (1, shape[0]), (shape[0] // 2, shape[0] // 2), (-2, shape[0])):
                assert same_bits(tensor.rows(first, last), np.ascontiguousarray(array[first:last]))
            for _ in range(10):
                index = tuple(int(rng.integers(-length, length)) for length in shape)
                assert np.asarray(tensor[index]).tobytes() == array[index].tobytes()


@pytest.mark.parametrize("dtype", PALETTE, ids=str)
@pytest.mark.parametrize("shape", [(48, 100), (64, 4100), (300, 30), (17, 2051)], ids=str)
@pytest.mark.parametrize("form", FORMS[:3], ids=str)
def test_products_are_within_the_bound(
    form: dict, shape: tuple[int, int], dtype: np.dtype, each_isa: str, rng: np.random.Generator
) -> None:
    bias = rng.standard_normal(shape[0]).astype(np.float32)
    batches = (1, 5) if each_isa in ("scalar", "reference") else (1, 2, 3, 4, 5, 9, 17, 40)
    sizes = SIZES[1:] if shape == (48, 100) else (16, 17)
    for size in sizes:
        weight = shared(rng, shape, normal(rng, (size,), dtype))
        for orientation in ("out_in", "in_out"):
            tensor = tersely.encode(weight, formulation="palette", orientation=orientation, **form)
            for x_dtype in (np.dtype(np.float32), PALETTE[1]):
                check_batches(tensor, weight, bias, x_dtype, batches, rng)


@pytest.mark.parametrize("size", [3, 16, 30, 60])
def test_words_whose_low_halves_are_zero(size: int, each_isa: str, rng: np.random.Generator) -> None:
    """float32 that holds bfloat16 has kernels that look up two bytes only."""
    weight = shared(rng, (50, 900), normal(rng, (size,), PALETTE[1]).astype(np.float32))
    for form in FORMS:
        tensor = tersely.encode(weight, formulation="palette", **form)
        for batch in (1, 2, 4):
            x = normal(rng, (batch, 900), PALETTE[0])
            assert_close(tersely.linear(x, tensor), x, weight, None)


@pytest.mark.parametrize("batch", [1, 4, 16, 33])
@pytest.mark.parametrize("form", FORMS[::2], ids=str)
def test_bits_do_not_depend_on_threads(form: dict, batch: int, each_isa: str, rng: np.random.Generator) -> None:
    weight = shared(rng, (600, 2500), normal(rng, (16,), PALETTE[0]))
    before = threads.get_num_threads()
    tensor = tersely.encode(weight, formulation="palette", **form)
    x, back = normal(rng, (batch, 2500), PALETTE[0]), normal(rng, (batch, 600), PALETTE[0])
    results, components = set(), set()
    for count in (1, 2, 7):
        tersely.set_num_threads(count)
        results.add((tersely.linear(x, tensor).tobytes(), tersely.linear_transposed(back, tensor).tobytes()))
        again = choose.encode(weight, formulation="palette", threads=count, **form).components
        components.add(tuple(data.tobytes() for data in again.values()))
    tersely.set_num_threads(before)
    assert len(results) == 1
    assert len(components) == 1


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_padding_never_enters_a_product(form: dict, each_isa: str, rng: np.random.Generator) -> None:
    """x of infinities, weights that are mostly infinite: what fills up a chunk must not make a NaN."""
    weight = shared(rng, (50, 37), np.abs(normal(rng, (16,), PALETTE[0])) + np.float32(0.01))
    endless = shared(rng, (50, 37), np.array([np.inf, 1.0], np.float32), 3.0)
    endless[:, 0] = np.inf
    tensor, other = (tersely.encode(array, formulation="palette", **form) for array in (weight, endless))
    for batch in (1, 3, 4, 7, 13, 20):
        assert np.isposinf(tersely.linear(np.full((batch, 37), np.inf, np.float32), tensor)).all()
        assert np.isposinf(tersely.linear(np.ones((batch, 37), np.float32), other)).all()


@needs_native
@pytest.mark.parametrize("dtype", PALETTE, ids=str)
@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("hostile", [False, True], ids=["honest", "hostile"])
def test_no_kernel_reads_past_a_component(
    form: dict, dtype: np.dtype, hostile: bool, each_isa: str, rng: np.random.Generator
) -> None:
    for shape, size in (((48, 100), 16), ((32, 2100), 5), ((280, 32), 40), ((5,), 3), ((48, 70), 200)):
        encoded = tersely.encode(few_bits(rng, shape, dtype, size), formulation="palette", **form).encoded
        guards = {name: GuardedBytes(data) for name, data in encoded.components.items()}
        for fill in (None, 0xFF, 0x00, "random") if hostile else (None,):
            for name, guard in guards.items():
                if name.endswith("directory") or fill is None:
                    continue  # checked when a file is opened; payload is not
                guard.array[:] = rng.integers(256, size=guard.array.size) if fill == "random" else fill
            components = {name: guard.array for name, guard in guards.items()}
            run_everything(Tensor(dataclasses.replace(encoded, components=components)), rng)


@needs_native
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_indices_beyond_the_table_read_as_the_reference_says(
    form: dict, each_isa: str, rng: np.random.Generator
) -> None:
    for shape, size in ((48, 100), 5), ((33, 4100), 17), ((48, 100), 11), ((48, 100), 40), ((48, 100), 130):
        array = shared(rng, shape, normal(rng, (size,), PALETTE[0]))
        encoded = tersely.encode(array, formulation="palette", **form).encoded
        components = dict(encoded.components)
        for name in components:
            if name != "table" and not name.endswith("directory"):
                components[name] = components[name].copy()
                components[name][:-128] = rng.integers(256, size=max(0, components[name].size - 128))
        damaged = dataclasses.replace(encoded, components=components)
        expected = reference_words(damaged)
        tensor = Tensor(damaged)
        if not encoded.node.children:  # what survivors that are missing read as is the code's own matter
            assert same_bits(tensor.decode().view("<u4"), expected)
        x = np.zeros((1, shape[1]), np.float32)
        for column in (0, 1, 5, shape[1] - 1):
            x[:] = 0
            x[0, column] = 1
            assert np.array_equal(tersely.linear(x, tensor)[0], tensor.decode()[:, column])


def test_bad_nodes_are_refused(rng: np.random.Generator) -> None:
    array = shared(rng, (32, 64), normal(rng, (16,), PALETTE[0]), 0.5)
    packed = tersely.encode(array, formulation="palette").encoded
    coded = tersely.encode(array, formulation="palette", code="layered", widths=(2, 2)).encoded
    child = coded.node.children["indices"]
    table = dict(child.parameters)
    for encoded, node in (
        (packed, Node("palette", 2, {"entries": 16})),
        (packed, Node("palette", 1, {"entries": 0})),
        (packed, Node("palette", 1, {"entries": 257})),
        (packed, Node("palette", 1, {"entries": True})),
        (packed, Node("palette", 1, {"entries": "16"})),
        (packed, Node("palette", 1, {"entries": 16, "colour": 1})),
        (packed, Node("palette", 1, {})),
        (packed, Node("palette", 1, {"entries": 16}, {"values": child})),
        (packed, Node("palette", 1, {"entries": 16}, {"indices": Node("dense", 1)})),
        (coded, Node("palette", 1, {"entries": 16}, {"indices": Node("split", 2, table)})),
        (coded, Node("palette", 1, {"entries": 16}, {"indices": Node("split", 1, table | {"tail": "word"})})),
        (coded, Node("palette", 1, {"entries": 16}, {"indices": Node("split", 1, table | {"byte": 0})})),
        (coded, Node("palette", 1, {"entries": 16}, {"indices": Node("split", 1, table, {"x": child})})),
    ):
        with pytest.raises(UnsupportedError):
            Tensor(dataclasses.replace(encoded, node=node))
    with pytest.raises(CorruptError, match="does not code dtype float64"):
        Tensor(dataclasses.replace(packed, dtype="float64"))
    for encoded in (packed, coded):
        for name in encoded.components:
            shorter = {**encoded.components, name: encoded.components[name][:-64]}
            with pytest.raises(CorruptError, match=f"component '{name}', byte .* bytes where"):
                Tensor(dataclasses.replace(encoded, components=shorter))
            missing = {key: data for key, data in encoded.components.items() if key != name}
            with pytest.raises(CorruptError, match=f"component '{name}': the component is missing"):
                Tensor(dataclasses.replace(encoded, components=missing))
        for extra in ("extra", "indices.extra"):
            components = {**encoded.components, extra: np.zeros(64, np.uint8)}
            with pytest.raises(CorruptError, match="does not have"):
                Tensor(dataclasses.replace(encoded, components=components))


def test_impossible_directories_are_refused(rng: np.random.Generator) -> None:
    array = shared(rng, (64, 4096), normal(rng, (40,), PALETTE[0]), 0.2)
    encoded = tersely.encode(array, formulation="palette", code="layered", widths=(2, 2)).encoded
    used = encoded.components["indices.directory"].view("<u8").nonzero()[0][-1] + 1
    for word in range(int(used)):
        for value in (2**20, 2**31, 2**63, 2**64 - 2**20):
            directory = encoded.components["indices.directory"].copy()
            directory.view("<u8")[word] += np.uint64(value)
            components = {**encoded.components, "indices.directory": directory}
            with pytest.raises(CorruptError, match=r"component 'indices\."):
                Tensor(dataclasses.replace(encoded, components=components))


@pytest.mark.parametrize(
    ("dtype", "options", "sentence"),
    [
        (np.float32, {"code": "zip"}, "unknown code 'zip'"),
        (np.float32, {"code": []}, "unknown code"),
        (np.float32, {"code": "layered"}, "widths must be a few whole numbers"),
        (np.float32, {"code": "layered", "widths": (9,)}, "widths must be a few whole numbers"),
        (np.float32, {"code": "layered", "widths": "x"}, "widths must be a few whole numbers"),
        (np.float32, {"code": "constant"}, "needs a tensor of one word"),
        (np.float32, {"code": "packed", "widths": (2,)}, "has no widths"),
        (np.float32, {"widths": (2,)}, "fixed indices have no widths"),
        (np.float32, {"colour": 1}, "no parameter 'colour'"),
        (np.float64, {}, "codes float32, bfloat16, float16, not float64"),
    ],
)
def test_wrong_arguments_are_refused_with_a_sentence(dtype: type, options: dict, sentence: str) -> None:
    with pytest.raises(ArgumentError, match=sentence):
        choose.encode(np.arange(256, dtype=dtype).reshape(16, 16) % 7, formulation="palette", **options)


@pytest.mark.parametrize("form", FORMS[::2], ids=str)
def test_files_find_every_changed_byte(form: dict, rng: np.random.Generator, tmp_path: Path) -> None:
    array = shared(rng, (20, 40), normal(rng, (16,), PALETTE[0]), 0.3)
    path = tmp_path / "w.safetensors"
    tersely.save_file({"w": tersely.encode(array, formulation="palette", **form)}, path)
    assert same_bits(tersely.load_file(path, check="full")["w"].decode(), array)
    raw = path.read_bytes()
    for at in range(len(raw)):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :])
        with pytest.raises(tersely.TerselyError):
            tersely.load_file(path, check="full")["w"].decode()


@pytest.mark.parametrize(
    ("size", "dtype", "objective", "profile", "expected"),
    [
        (2, PALETTE[0], "balanced", "portable", "palette"),
        (3, PALETTE[0], "speed", "portable", "palette"),
        (16, PALETTE[0], "balanced", "portable", "palette"),
        (32, PALETTE[0], "balanced", "portable", "palette"),
        (256, PALETTE[0], "balanced", "avx512", "palette"),
        (16, PALETTE[1], "speed", "portable", "palette"),
        (16, PALETTE[1], "balanced", "amx", "palette"),
        (60, PALETTE[2], "balanced", "avx512", "palette"),
        (256, PALETTE[0], "size", "portable", "palette"),
        (256, PALETTE[1], "balanced", "portable", "split"),  # looked up more slowly than read
    ],
    ids=str,
)
def test_the_planner_takes_it_for_shared_weights(
    size: int, dtype: np.dtype, objective: str, profile: str, expected: str, rng: np.random.Generator
) -> None:
    array = shared(rng, (512, 1024), normal(rng, (size,), dtype))
    encoded = choose.encode(array, objective=objective, profile=profile)
    assert encoded.node.formulation == expected
    assert same_bits(Tensor(encoded).decode(), array)


def test_skewed_indices_are_coded_under_size_only(rng: np.random.Generator) -> None:
    array = shared(rng, (512, 1024), normal(rng, (32,), PALETTE[0]), 0.5)
    assert "indices" in choose.encode(array, objective="size").node.children
    assert not choose.encode(array, objective="speed").node.children
    entropy = -(
        share := np.bincount(codec.Indexed(words_of(array), np.unique(words_of(array)), "float32").indices.ravel())
        / array.size
    ) @ np.log2(share)
    assert choose.encode(array, objective="size").nbytes_stored * 8 / array.size < 1.12 * entropy
