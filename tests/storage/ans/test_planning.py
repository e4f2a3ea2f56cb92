"""What native code chooses for a block is what NumPy chooses, bit for bit; samples decide nothing that cannot be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from storage_samples import item, tensors
from support.arrays import needs_native

from tersely.backends.cpu import isa, native
from tersely.storage.ans import coder, logarithm, plan, survey
from tersely.storage.ans.survey import Surveyed

TAGS = {"float32": "F32", "bfloat16": "BF16", "float16": "F16", "float64": "F64"}
SHAPES = [(300, 700), (64, 3, 3, 256), (5000,), (1200, 130), (70, 30, 9, 9), (33, 33), (128, 1100)]


def _planned(array: np.ndarray) -> plan.Plan:
    words = np.ascontiguousarray(array).reshape(-1).view(f"<u{array.itemsize}")
    return plan.choose(words, TAGS.get(array.dtype.name, "U8"), array.shape)


def _plain(value: Any) -> Any:
    return [None if one is None else one.tolist() for one in value] if isinstance(value, list | tuple) else value


def _assert_same(one: plan.Plan, other: plan.Plan) -> None:
    for field in fields(one.description):
        own, its = getattr(one.description, field.name), getattr(other.description, field.name)
        if field.name == "classes":
            assert _plain(own) == _plain(its)
        else:
            assert np.array_equal(own, its), field.name
    assert np.array_equal(one.symbols, other.symbols)
    assert np.array_equal(one.counts, other.counts)


@pytest.fixture
def by_numpy(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Calls a function as if there were no native module."""

    def run(function: Callable[..., Any], *given: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(native, "available", lambda: False)
            return function(*given)

    return run


@needs_native
@pytest.mark.parametrize("name", tensors())
def test_native_plans_are_those_of_numpy(name: str, by_numpy: Callable[..., Any]) -> None:
    array = tensors()[name]
    array = array.view(np.float32) if array.dtype == np.complex64 else array
    _assert_same(_planned(array), by_numpy(_planned, array))


@needs_native
@pytest.mark.parametrize("seed", range(28))
def test_native_plans_of_drawn_tensors_are_those_of_numpy(seed: int, by_numpy: Callable[..., Any]) -> None:
    rng = np.random.default_rng(seed)
    shape = SHAPES[seed % len(SHAPES)]
    rows = np.exp(rng.standard_normal((shape[0], *[1] * (len(shape) - 1))) * rng.choice([0, 0.3, 1]))
    array = rng.standard_normal(shape) * rows * np.exp(rng.standard_normal(shape[-1:]) * rng.choice([0, 0.3, 1]))
    dtype = [np.float32, ml_dtypes.bfloat16, np.float16, np.float64, np.int8, np.int32, np.int64][seed // 4]
    array *= 100 if np.dtype(dtype).kind == "i" else 1
    if rng.random() < 0.4:
        array[rng.random(shape) < rng.choice([0.02, 0.5, 0.95])] = 0
    drawn = np.clip(array, -100, 100).astype(dtype)
    first = _planned(drawn)
    _assert_same(first, by_numpy(_planned, drawn))
    for name in isa.available():
        with isa.using(name):
            _assert_same(first, _planned(drawn))


@needs_native
def test_many_rows_and_columns_are_measured_alike(by_numpy: Callable[..., Any]) -> None:
    rng = np.random.default_rng(5)
    array = (rng.standard_normal((520, 700)) * np.exp(rng.standard_normal((520, 1)))).astype(np.float32)
    first = _planned(array)
    assert first.description.logs.shape[0] > 1  # rows differ, and are told apart
    _assert_same(first, by_numpy(_planned, array))


def test_logarithms_are_those_of_floats_nearly(by_numpy: Callable[..., Any]) -> None:
    numbers = np.unique(np.concatenate([np.arange(1, 5000), (1 << np.arange(41)), np.geomspace(1, 1 << 40, 999)]))
    found = logarithm.log2(numbers.astype(np.int64))
    assert np.abs(found / logarithm.ONE - np.log2(np.floor(numbers))).max() < 2 / logarithm.ONE
    assert np.array_equal(found[:-1], np.sort(found[:-1]))
    assert logarithm.log2(np.zeros(1, np.int64))[0] == 0
    counts = np.random.default_rng(0).integers(0, 1 << 20, (5, 77)) * (np.arange(77) % 3 > 0)
    assert logarithm.entropy(counts) == by_numpy(logarithm.entropy, counts)
    shares = counts / counts.sum(1, keepdims=True)
    bits = -(counts[counts > 0] * np.log2(shares[counts > 0])).sum()
    assert logarithm.entropy(counts) / logarithm.ONE == pytest.approx(bits, rel=1e-5)


def test_values_that_repeat_are_seen(by_numpy: Callable[..., Any]) -> None:
    rng = np.random.default_rng(1)
    noise = rng.standard_normal(100_000).astype(np.float32)
    for array, expected in ((noise, True), (rng.choice(noise[:3000], 100_000), False), (noise.round(2), False)):
        looked = Surveyed(array.view(np.uint32), True, 0, 1)
        assert looked.even(21) == expected
        assert by_numpy(looked.even, 21) == expected
    assert Surveyed(np.zeros(100, np.uint16), True, 0, 1).even(5)  # nothing but zeros, which have a symbol of their own


def test_runs_that_come_again_are_counted(by_numpy: Callable[..., Any]) -> None:
    rng = np.random.default_rng(2)
    once = rng.integers(0, 256, 8192, dtype=np.uint8)
    for word in (1, 2, 4):
        assert survey.repeats(once, word) == by_numpy(survey.repeats, once, word) == 0
        twice = np.concatenate([once, once])
        found = survey.repeats(twice, word)
        assert found == by_numpy(survey.repeats, twice, word)
        assert found > 8192 // word // 64
    assert survey.repeats(once[:5], 1) == 0
    zeros = np.zeros(4096, np.uint8)
    assert survey.repeats(zeros, 4) == by_numpy(survey.repeats, zeros, 4) > 0


def test_rows_that_come_again_are_coded_as_bytes() -> None:
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((4, 1000)).astype(np.float32)
    array = rows[rng.integers(0, 4, 60)]
    one = item(array)
    assert len(coder.encode([(one.raw, one.dtype, one.shape)], 1)) < array.nbytes // 8
