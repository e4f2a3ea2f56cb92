"""Arguments that cannot be used, or hardly: tersely errors that say what would do, and results that they cannot spoil."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from support.arrays import normal, same_bits

import tersely
from tersely.backends.cpu import threads
from tersely.codes import registry
from tersely.core.errors import ArgumentError

FORMS = (
    ({"formulation": "split"}, np.float32),
    ({"formulation": "sparse", "positions": "bitmap"}, np.float32),
    ({"formulation": "sparse", "positions": "gaps"}, np.float32),
    ({"formulation": "palette"}, np.float32),
    ({"formulation": "dense"}, np.float32),
    ({"formulation": "integer"}, np.int8),
    ({"formulation": "integer", "code": "distances"}, np.int8),
    ({"formulation": "dense"}, np.int8),
)


def weights(rng: np.random.Generator, shape: tuple[int, int], dtype: type) -> np.ndarray:
    return rng.integers(-3, 4, shape).astype(dtype)


@pytest.mark.parametrize("product", [tersely.linear, tersely.linear_transposed])
@pytest.mark.parametrize(("options", "dtype"), FORMS, ids=str)
def test_out_may_share_memory_with_what_is_read(
    options: dict[str, Any], dtype: type, product: Callable[..., np.ndarray], rng: np.random.Generator
) -> None:
    weight = tersely.encode(weights(rng, (96, 96), dtype), **options)
    for batch in (1, 3, 40, 600):
        memory = normal(rng, (batch + 1, 96), np.dtype(np.float32))
        x, shifted, bias = memory[:batch], memory[1:], memory[0]
        for out, arguments in (
            (x, (x, weight)),
            (shifted, (x, weight)),
            (x, (shifted, weight)),
            (x, (x, weight, bias)),
        ):
            kept = memory.copy()
            expected = product(*(a.copy() if isinstance(a, np.ndarray) else a for a in arguments))
            found = product(*arguments, out=out)
            assert found is out
            assert same_bits(found, expected), batch
            memory[...] = kept


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, np.uint16])
def test_products_with_nothing_inside_are_the_bias(dtype: type, rng: np.random.Generator) -> None:
    for rows, columns in ((0, 8), (8, 0), (0, 0)):
        weight = tersely.encode(np.zeros((rows, columns), dtype))
        for leading in ((), (3,), (0,), (2, 3)):
            for product, inner, outer in (
                (tersely.linear, columns, rows),
                (tersely.linear_transposed, rows, columns),
            ):
                x, bias = np.ones((*leading, inner), np.float32), np.arange(outer, dtype=np.float32)
                for given in (None, bias):
                    y = product(x, weight, given)
                    assert y.shape == (*leading, outer)
                    assert y.dtype == np.float32
                    assert np.array_equal(y, np.broadcast_to(0 if given is None else given, y.shape))


@pytest.mark.parametrize(("options", "dtype"), [FORMS[0], FORMS[5]], ids=str)
def test_operands_that_are_no_numbers_are_refused(
    options: dict[str, Any], dtype: type, rng: np.random.Generator
) -> None:
    weight, x = tersely.encode(weights(rng, (16, 32), dtype), **options), np.ones((2, 32), np.float32)
    for bias, sentence in (
        ("abc", "bias has dtype <U3; it must hold real numbers"),
        ([1, [2, 3]], "bias is no array"),
        ([None] * 16, "bias has dtype object"),
        (np.ones(16, np.complex64), "bias has dtype complex64"),
        ([1j] * 16, "bias has dtype complex128"),
    ):
        with pytest.raises(ArgumentError, match=sentence):
            tersely.linear(x, weight, bias)
    for out in ([0] * 3, "out", np.zeros((2, 16), np.float64)):
        with pytest.raises(ArgumentError, match="out must be an array, C-contiguous and writeable, of shape"):
            tersely.linear(x, weight, out=out)
    with pytest.raises(ArgumentError, match="x is no array"):
        tersely.linear([[1.0], [1.0, 2.0]], weight)
    with pytest.raises(ArgumentError, match="out must be a NumPy array, not list"):
        weight.decode(out=[0] * 3)
    bias = np.arange(16)
    expected = tersely.linear(x, weight, bias.astype(np.float32))
    for kind in (np.float64, np.int64, ml_dtypes.bfloat16, np.float16):
        assert same_bits(tersely.linear(x, weight, bias.astype(kind)), expected)
    if dtype is np.int8:
        for word in ("scale", "zero_point"):
            with pytest.raises(ArgumentError, match=f"{word} is no array"):
                tersely.linear(x, weight, **{word: [1, [2, 3]]})


@pytest.mark.parametrize("count", ["a", "4", 1.5, 2.0, True, 0, -1, [1]], ids=repr)
def test_threads_are_whole_numbers(count: Any, rng: np.random.Generator) -> None:
    tensor = tersely.encode(normal(rng, (16, 32), np.dtype(np.float32)))
    for call in (
        lambda: tersely.encode(np.ones((16, 32), np.float32), threads=count),
        lambda: tensor.decode(threads=count),
        lambda: registry.decode(tensor.encoded, count),
        lambda: threads.set_num_threads(count),
    ):
        with pytest.raises(ArgumentError, match="integer number of threads|at least 1"):
            call()
    assert tensor.decode(threads=np.int64(1)).shape == (16, 32)


def test_other_words_of_encode_are_checked() -> None:
    for options, sentence in (
        ({"view": "x"}, "view 'x' does not fit a tensor of shape .*: use 'folded'"),
        ({"view": ["folded"]}, "does not fit"),
        ({"formulation": ["split"]}, "unknown formulation"),
        ({"formulation": "sparse", "positions": "n_of_m", "n": [2]}, "is no pattern"),
        ({"formulation": "palette", "code": "zip"}, "unknown code 'zip'"),
        ({"formulation": "palette", "widths": (2,)}, "have no widths"),
    ):
        with pytest.raises(ArgumentError, match=sentence):
            tersely.encode(np.arange(4096, dtype=np.float32).reshape(64, 64), **options)


@pytest.mark.parametrize("formulation", [name for name in registry.NAMES if name != "dense"])
@pytest.mark.parametrize("shape", [(0, 16, 16), (16, 0), (0, 32), (0,), (4, 0, 3, 3)])
def test_tensors_without_weights_are_coded_or_refused(formulation: str, shape: tuple[int, ...]) -> None:
    array = np.zeros(shape, np.int8 if formulation == "integer" else np.float16)
    forms: tuple[dict[str, Any], ...] = ({},)
    if formulation in ("affine", "row_palette"):
        forms = ({}, {"columns": 0}, {"columns": 16}, {"columns": 16, "code": "constant"}, {"code": "packed"})
    for options in forms:
        try:
            tensor = tersely.encode(array, formulation, **options)
        except ArgumentError:
            continue
        assert same_bits(tensor.decode(), array)


def test_indices_that_numpy_takes_for_something_else(rng: np.random.Generator) -> None:
    weight = normal(rng, (16, 32), np.dtype(np.float32))
    tensor = tersely.encode(weight)
    assert same_bits(tensor[()], weight)
    assert tersely.encode(weight[0, 0])[()] == weight[0, 0]
    for index in (True, (0, False)):
        with pytest.raises(IndexError, match="True and False are no indices"):
            tensor[index]


def test_files_are_saved_from_mappings(tmp_path: Path, rng: np.random.Generator) -> None:
    tensor = tersely.encode(normal(rng, (16, 32), np.dtype(np.float32)))
    for tensors in ([tensor], tensor, "w", None):
        with pytest.raises(ArgumentError, match="tensors must map names to tensors"):
            tersely.save_file(tensors, tmp_path / "f")
    assert not list(tmp_path.iterdir())


def test_copies_and_pickles_leave_out_what_is_made_on_demand(rng: np.random.Generator) -> None:
    weight = normal(rng, (64, 96), np.dtype(np.float32))
    tensor = tersely.encode(weight)
    x = normal(rng, (3, 96), np.dtype(np.float32))
    expected = tersely.linear(x, tensor)  # makes the native matrix
    for twin in (copy.copy(tensor), copy.deepcopy(tensor), pickle.loads(pickle.dumps(tensor))):
        assert twin.decode().tobytes() == weight.tobytes()
        assert tersely.linear(x, twin).tobytes() == expected.tobytes()
        assert "matrix" in vars(twin)
