"""`palette` whose words are a grid: which words are one, every encoder and kernel against references, bad files.

Bound of products by numbers, with k = number - zero and m = max |x| of a row: cutting x to integers and what words are off
their points, |y - exact| <= scale (1.01 x 2^-23 m sum |k| + 2^-24 sum |x| (|k| + 1)) + half a unit of y's last place.
"""

from __future__ import annotations

import dataclasses

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arrays import ISAS, needs_native, normal, same_bits
from support.grids import coded
from support.products import assert_close
from support.references import reference_words, slower_than_dense

import tersely
from tersely.backends.cpu import isa, threads
from tersely.codes import anatomy, registry
from tersely.codes.words.integer import layout as integer_layout
from tersely.codes.words.integer import reference as integer
from tersely.codes.words.palette.formulation import palette
from tersely.codes.words.palette.grid import MAX_ZERO, Grid, find, values_of
from tersely.core.dtypes import raw_bytes
from tersely.core.encoded import Node
from tersely.core.errors import ArgumentError, CorruptError, UnsupportedError
from tersely.planner import choose
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.kernels

FLOAT32 = np.dtype(np.float32)
KERNEL_ROWS = 8
"""Rows of x up to which numbers are multiplied as they are."""


def quantised(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype, size: int, spread: float = 0.0
) -> np.ndarray:
    """scale (number - zero) with `size` numbers, even or normal, two of them neighbours; a scale of one bit for 16 bits."""
    numbers = rng.integers(size, size=shape)
    if spread:
        numbers = np.clip(np.rint(rng.standard_normal(shape) * spread + size / 2), 0, size - 1).astype(int)
    if size > 1 and numbers.size > 1:
        numbers.reshape(-1)[:2] = size // 2, size // 2 - 1
    zero = int(rng.integers(size))
    scale = np.float32(rng.random() * 0.1 + 1e-4) if dtype == FLOAT32 else np.float32(2.0**-6)
    return ((numbers - zero).astype(np.float32) * scale).astype(dtype)


def words_of(array: np.ndarray) -> np.ndarray:
    return raw_bytes(array).view(f"<u{array.itemsize}").reshape(array.shape)


def grid_of(tensor: Tensor) -> Grid:
    found = Grid.parse(tensor.parameters)
    assert found is not None
    return found


def check(array: np.ndarray, orientation: str = "out_in", **options: object) -> None:
    """Native bytes are those of the references, the size is the promised one, every ISA and the references decode them."""
    encoded = coded(array, orientation=orientation, **options).encoded
    geometry, words, grid = registry.check(encoded).geometry, words_of(array), grid_of(Tensor(encoded))
    entries = encoded.node.parameters["entries"]
    table = encoded.components["table"][: entries * array.itemsize].view(words.dtype)
    numbers = np.rint(values_of(words, encoded.dtype) / grid.scale + grid.zero).astype(np.uint8)
    assert np.array_equal(table[numbers], words)
    units = integer_layout.unit_panels(geometry).size
    groups = encoded.components["indices.groups"][: units * 2].reshape(units, 2)
    for name, data in integer.encode(numbers, geometry, "uint8", groups).items():
        assert data.tobytes() == encoded.components[f"indices.{name}"].tobytes(), name
    assert same_bits(reference_words(encoded), words)
    for name in ISAS:
        with isa.using(name):
            assert same_bits(Tensor(encoded).decode(), array), name


@given(st.floats(2.0**-100, 2.0**100, width=32), st.integers(-256, 255), st.integers(2, 256), st.integers(0, 2**32 - 1))
def test_what_was_quantised_is_recognised(scale: float, zero: int, size: int, seed: int) -> None:
    """And the scale is near enough to give every word of the grid back."""
    rng = np.random.default_rng(seed)
    numbers = np.unique(np.append(rng.choice(size, rng.integers(2, size + 1)), (0, 1)))
    values = (np.arange(size) + zero).astype(np.float32) * np.float32(scale)
    words = values[numbers].view(np.uint32)
    grid, table = find(rng.permutation(words), "float32")
    assert abs(grid.scale / float(np.float32(scale)) - 1) <= 2.0**-23
    assert (grid.zero, table.size) == (-zero, numbers[-1] + 1)
    assert np.array_equal(table[numbers], words)
    assert grid.first_off(table, "float32") is None


def test_numbers_may_be_apart_and_zeros_negative() -> None:
    for numbers in ((0, 2, 5), (-4, 0, 6, 9), (-1, 1), (3,), (0,), (-7,), (5, 8, 10)):
        values = np.array(numbers, np.float32) * np.float32(0.013)
        grid, table = find(values.view(np.uint32), "float32")
        assert set(values.view(np.uint32)) <= set(table)
        assert np.allclose(grid.points(table.size), table.view(np.float32), rtol=2.0**-23)
    grid, table = find(np.array([-0.5, -0.0, 0.5], np.float32).view(np.uint32), "float32")
    assert table.tolist() == [0xBF000000, 0x80000000, 0x3F000000]
    assert grid == Grid(0.5, 1)


@pytest.mark.parametrize(
    ("values", "dtype", "sentence"),
    [
        ([0.0, 1.0, np.inf], np.float32, "are finite, and inf is among them"),
        ([0.0, 1.0, np.nan], np.float32, "are finite, and nan is among them"),
        ([0.0, -0.0, 1.0], np.float32, "0.0 and -0.0 are both among them"),
        ([0.0, 1.0, 300.0], np.float32, "at most 256 numbers, and these span 300 steps of 1"),
        ([0.0, 1.0, 2.0, 3.500002], np.float32, "whole multiples of a scale, and .* is none of"),
        ([-0.1, 0.0, 0.11], np.float32, "whole multiples of a scale"),
        ([1e6, 1e6 + 1], np.float32, "lie about zero"),
        (np.arange(9) * 0.0123, ml_dtypes.bfloat16, "at most 256 numbers|whole multiples of a scale"),
        (np.arange(200) * 0.0123, np.float16, "at most 256 numbers|whole multiples of a scale"),
        (np.arange(1, 9) * 1.3e-42, np.float32, "whole multiples"),  # rounded more than it says
    ],
)
def test_other_words_are_refused_with_a_sentence(values: list[float], dtype: type, sentence: str) -> None:
    array = np.resize(np.array(values).astype(dtype), (32, 64))
    with pytest.raises(ArgumentError, match=sentence):
        coded(array)
    request = choose.Request(words_of(array), array.dtype.name, objective="size")
    assert not any("grid" in str(candidate.kernel) for candidate in palette.candidates(request))


def test_one_word_off_by_a_little_is_off() -> None:
    values = (np.arange(200, dtype=np.float32) - 90) * np.float32(0.0371)
    for place in (3, 89, 199):
        words = values.view(np.uint32).copy()
        words[place] += 2
        with pytest.raises(ArgumentError, match="whole multiples"):
            find(words, "float32")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"widths": (2,)}, "have no widths"), ({"colour": 1}, "no parameter 'colour'"), ({"bits": 4}, "no parameter")],
)
def test_wrong_arguments_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(ArgumentError, match=sentence):
        coded(np.arange(256, dtype=np.float32).reshape(16, 16) % 7, **options)
    with pytest.raises(ArgumentError, match="at most 256 distinct words"):
        coded(np.arange(512, dtype=np.float32))


def test_large_batches_stacks_and_folded_tensors_multiply_by_words(rng: np.random.Generator) -> None:
    weight = quantised(rng, (48, 100), FLOAT32, 100)
    x = normal(rng, (tersely.tensors.handoff.NUMPY_FLOAT_ROWS + 1, 100), FLOAT32)
    assert_close(tersely.linear(x, coded(weight)), x, weight, None)
    for options in ({"view": "folded"}, {"orientation": "in_out"}):
        tensor = coded(weight, **options)
        assert_close(tersely.linear(x[:3], tensor), x[:3], weight, None)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_infinities_are_multiplied_by_words(value: float, each_isa: str, rng: np.random.Generator) -> None:
    weight = quantised(rng, (50, 37), FLOAT32, 40)
    tensor = coded(weight)
    for batch in (1, 3, 20):
        x = normal(rng, (batch, 37), FLOAT32)
        x[batch // 2, 5] = value
        with np.errstate(all="ignore"):
            expected = x.astype(np.float64) @ weight.astype(np.float64).T
        y = tersely.linear(x, tensor)
        assert np.array_equal(np.isnan(y), np.isnan(expected))
        assert np.array_equal(np.sign(y[np.isinf(y)]), np.sign(expected[np.isinf(expected)]))


@needs_native
@pytest.mark.parametrize("batch", [1, 8, 33])
def test_bits_depend_neither_on_threads_nor_few_rows_on_the_instruction_set(
    batch: int, rng: np.random.Generator
) -> None:
    weight = quantised(rng, (600, 2500), FLOAT32, 200, 25.0)
    before = threads.get_num_threads()
    tensor = coded(weight)
    x, back = normal(rng, (batch, 2500), FLOAT32), normal(rng, (batch, 600), FLOAT32)
    results, turned, components = set(), set(), set()
    for name in ISAS:
        own = set()
        with isa.using(name):
            for count in (1, 2, 7):
                tersely.set_num_threads(count)
                own.add(tersely.linear(x, tensor).tobytes())
                turned.add((name, tersely.linear_transposed(back, tensor).tobytes()))
                components.add(tuple(data.tobytes() for data in coded(weight).components.values()))
        assert len(own) == 1
        results |= own
    tersely.set_num_threads(before)
    assert len(results) == 1 or batch > KERNEL_ROWS
    assert (len(turned), len(components)) == (len(ISAS), 1)


def test_bad_nodes_and_tables_are_refused(rng: np.random.Generator) -> None:
    encoded = coded(quantised(rng, (32, 64), FLOAT32, 16)).encoded
    parameters, child = dict(encoded.node.parameters), encoded.node.children["indices"]
    split = tersely.encode(np.ones((32, 64), np.float32), formulation="palette", code="constant").encoded
    for node in (
        Node("palette", 2, parameters, {"indices": child}),
        Node("palette", 1, {"entries": 16}, {"indices": child}),
        Node("palette", 1, parameters),
        Node("palette", 1, parameters, dict(split.node.children)),
        Node("palette", 1, parameters | {"colour": 1}, {"indices": child}),
        Node("palette", 1, parameters | {"entries": 257}, {"indices": child}),
        *(
            Node("palette", 1, parameters | {"scale": scale}, {"indices": child})
            for scale in (
                "0" * 16,
                "7ff0" + "0" * 12,
                "7ff8" + "0" * 12,
                "bff0" + "0" * 12,
                "3FF0" + "0" * 12,
                "3ff0",
                1,
                None,
            )
        ),
        *(
            Node("palette", 1, parameters | {"zero": zero}, {"indices": child})
            for zero in (0.0, "0", True, MAX_ZERO + 1, -(10**30))
        ),
        Node("palette", 1, parameters, {"indices": Node("integer", 2)}),
        Node("palette", 1, parameters, {"indices": Node("integer", 1, {"bits": 4})}),
        Node(
            "palette", 1, parameters, {"indices": Node("integer", 1, {}, {"nibbles": split.node.children["indices"]})}
        ),
    ):
        with pytest.raises(UnsupportedError):
            Tensor(dataclasses.replace(encoded, node=node))
    for zero in (parameters["zero"] + 1, -5):
        node = Node("palette", 1, parameters | {"zero": zero}, {"indices": child})
        with pytest.raises(CorruptError, match="word 0 of the table is off the grid") as caught:
            Tensor(dataclasses.replace(encoded, node=node))
        assert (caught.value.component, caught.value.byte) == ("table", 0)
    for number, word in ((3, 0x7FC00000), (15, 0x7F800000), (4, 0x3F800000)):
        table = encoded.components["table"].copy()
        table.view("<u4")[number] = word
        with pytest.raises(CorruptError, match=f"word {number} of the table is off the grid"):
            Tensor(dataclasses.replace(encoded, components={**encoded.components, "table": table}))
    with pytest.raises(CorruptError, match="does not have"):  # a component with the name of the child
        Tensor(dataclasses.replace(encoded, components={**encoded.components, "indices": np.zeros(64, np.uint8)}))


def test_what_it_is_called(rng: np.random.Generator) -> None:
    encoded = coded(quantised(rng, (2, 64, 80), FLOAT32, 40)).encoded
    found = anatomy.sizes(encoded.node.to_json(), {name: data.nbytes for name, data in encoded.components.items()})
    assert (found.label, found.children[0].label) == ("palette grid 40", "integer fields")
    work = registry.work(encoded)
    assert work is not None
    assert str(work.kernel) == "palette grid 6"


@pytest.mark.parametrize(
    ("size", "spread", "objective", "profile", "batch", "expected"),
    [
        (40, 0.0, "balanced", "portable", 1, "integer"),
        (256, 40.0, "speed", "portable", 1, "affine"),  # bytes are bytes, and take no list
        (100, 0.0, "balanced", "avx512", 4, "integer"),
        (16, 0.0, "balanced", "avx512", 4, "packed"),  # words are looked up faster
        (256, 28.0, "size", "portable", 1, "integer"),  # groups of fewer bits, and a list of numbers
        (16, 2.0, "size", "avx512", 1, "split"),
    ],
)
def test_the_planner_takes_what_is_fast(
    size: int, spread: float, objective: str, profile: str, batch: int, expected: str, rng: np.random.Generator
) -> None:
    array = quantised(rng, (512, 1024), FLOAT32, size, spread)
    encoded = choose.encode(array, objective=objective, profile=profile, batch=batch)
    child = encoded.node.children.get("indices", Node("packed", 1)).formulation
    assert (child if encoded.node.formulation == "palette" else encoded.node.formulation) == expected
    assert same_bits(Tensor(encoded).decode(), array)
    assert expected != "integer" or not slower_than_dense(encoded, profile)
