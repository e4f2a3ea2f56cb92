"""Whatever another library has done to the thread's floating-point environment: the same bytes, checks and products."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from support.arrays import DTYPES, normal, same_bits
from support.floating_environments import CONTROLS, control, environment, needs_mxcsr

import tersely
from tersely.backends.cpu import float_environment, native
from tersely.codes import registry, slicing
from tersely.codes.words.palette import grid as grids
from tersely.core.encoded import Encoded
from tersely.core.errors import ArgumentError
from tersely.files import open as files
from tersely.planner import choose

pytestmark = needs_mxcsr
SHAPE = (96, 160)
WIDE = DTYPES[:3]
LEAST = {
    "float32": 2.0**-149,
    "bfloat16": 2.0**-133,
    "float16": 2.0**-24,
    "float8_e4m3fn": 2.0**-9,
    "float8_e5m2": 2.0**-16,
}
"""The step of subnormals."""
Maker = Callable[[np.random.Generator, np.dtype], np.ndarray]


def numbers(rng: np.random.Generator, spread: float = 3) -> np.ndarray:
    return np.clip(np.rint(rng.standard_normal(SHAPE) * spread), -7, 7)


def mixed(rng: np.random.Generator, dtype: np.dtype) -> np.ndarray:
    """Subnormals of either sign among weights."""
    small = numbers(rng, 40) * LEAST[dtype.name]
    return np.where(rng.random(SHAPE) < 0.5, small, rng.standard_normal(SHAPE) * 0.05).astype(dtype)


def few(rng: np.random.Generator, dtype: np.dtype) -> np.ndarray:
    return (rng.permutation([0, 1, -1, 3, 5, -9, 17]) * LEAST[dtype.name])[rng.integers(7, size=SHAPE)].astype(dtype)


def grid(steps: int) -> Maker:
    """Whole multiples of so many of the least steps: for one, of a subnormal scale."""
    return lambda rng, dtype: (numbers(rng) * LEAST[dtype.name] * steps + 0.0).astype(dtype)


def scaled(rng: np.random.Generator, dtype: np.dtype) -> np.ndarray:
    """By rows, as small as `affine` takes them."""
    scales = max(LEAST[dtype.name], 2.0**-118) * (1 + np.arange(SHAPE[0]) % 5)[:, None]
    return (numbers(rng) * scales).astype(dtype)


def by_rows(rng: np.random.Generator, dtype: np.dtype) -> np.ndarray:
    words = (1 + np.arange(SHAPE[0])[:, None] * 3 % 11 + 16 * rng.integers(4, size=SHAPE)) * LEAST[dtype.name]
    return words.astype(dtype)


def pruned(make: Maker) -> Maker:
    return lambda rng, dtype: np.where(rng.random(SHAPE) < 0.2, make(rng, dtype), np.zeros((), dtype))


def blocky(rng: np.random.Generator, dtype: np.dtype) -> np.ndarray:
    values = few(rng, dtype)
    values[rng.random(len(values)) < 0.6] = 0
    values[:, rng.random(SHAPE[1]) < 0.3] = 0
    return values


FORMS: dict[str, tuple[dict[str, Any], Maker, tuple[np.dtype, ...]]] = {
    "dense": ({"formulation": "dense"}, mixed, DTYPES),
    "split packed": ({"formulation": "split", "code": "packed"}, mixed, DTYPES),
    "split layered": ({"formulation": "split", "code": "layered", "widths": (2, 2)}, mixed, DTYPES),
    "sparse bitmap": ({"formulation": "sparse", "positions": "bitmap"}, pruned(mixed), WIDE),
    "sparse gaps": ({"formulation": "sparse", "positions": "gaps"}, pruned(mixed), WIDE),
    "sparse coded": (
        {"formulation": "sparse", "positions": "elias_fano", "values": "split", "code": "layered", "widths": (2, 2)},
        pruned(mixed),
        WIDE,
    ),
    "sparse palette": ({"formulation": "sparse", "positions": "bitmap", "values": "palette"}, pruned(few), WIDE),
    "palette": ({"formulation": "palette"}, few, WIDE),
    "palette layered": ({"formulation": "palette", "code": "layered", "widths": (1, 2)}, few, WIDE),
    "grid of the least step": ({"formulation": "palette", "code": "grid"}, grid(1), WIDE),
    "grid of three steps": ({"formulation": "palette", "code": "grid"}, grid(3), WIDE),
    "grid of 1000 steps": ({"formulation": "palette", "code": "grid"}, grid(1000), WIDE[:1]),
    "row_palette": ({"formulation": "row_palette"}, by_rows, WIDE),
    "affine": ({"formulation": "affine"}, scaled, WIDE),
    "blocks": ({"formulation": "blocks"}, blocky, WIDE),
    "block_sparse": ({"formulation": "block_sparse"}, blocky, WIDE),
    "submatrix": ({"formulation": "submatrix", "kept": "split"}, blocky, WIDE),
}
CASES = [
    pytest.param(parameters, make, dtype, id=f"{name}, {dtype}")
    for name, (parameters, make, dtypes) in FORMS.items()
    for dtype in dtypes
]
every_form = pytest.mark.parametrize(("parameters", "make", "dtype"), CASES)


def bytes_of(encoded: Encoded) -> dict[str, bytes]:
    return {name: np.asarray(data).tobytes() for name, data in encoded.components.items()}


def everything(array: np.ndarray, parameters: dict[str, Any]) -> list[object]:
    """Bytes of all that can be had from an array: its codes, what they decode to, products."""
    encoded = choose.encode(array, threads=2, **parameters)
    weight = tersely.Tensor(encoded)
    decoded = weight.decode(threads=2)
    assert same_bits(decoded, array)
    assert same_bits(weight.rows(17, 40), array[17:40])
    for place in ((0, 0), (3, 77), (95, 159)):
        assert weight[place].tobytes() == array[place].tobytes()
    again = slicing.take(registry.check(encoded), 0, SHAPE[0])
    if again is not None:
        assert same_bits(registry.decode(again), array)
    found: list[object] = [encoded.node, bytes_of(encoded)]
    for rows in (1, 3, 20):
        # integers, and so large that products of subnormals are none
        x = (np.arange(rows * SHAPE[1]).reshape(rows, -1) % 13 - 6).astype(np.float32) * np.float32(2.0**40)
        found.append(tersely.linear(x, weight, np.full(SHAPE[0], 1e-41)).tobytes())
        back = (np.arange(rows * SHAPE[0]).reshape(rows, -1) % 7 - 3).astype(np.float32)
        found.append(tersely.linear_transposed(back, weight).tobytes())
    return found


@every_form
def test_files_and_products_do_not_depend_on_it(
    parameters: dict[str, Any], make: Maker, dtype: np.dtype, rng: np.random.Generator
) -> None:
    array = make(rng, dtype)
    expected = everything(array, parameters)
    for name in CONTROLS:
        with environment(name):
            assert everything(array, parameters) == expected, name


@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.parametrize("form", ["grid of the least step", "affine", "row_palette", "split layered"])
def test_nor_does_the_reference(
    name: str, form: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters, make, dtypes = FORMS[form]
    array = make(rng, dtypes[0])
    expected = choose.encode(array, **parameters)
    monkeypatch.setattr(native, "module", None)
    with environment(name):
        found = choose.encode(array, **parameters)
        assert (found.node, bytes_of(found)) == (expected.node, bytes_of(expected))
        assert same_bits(registry.decode(found), array)


@pytest.mark.parametrize("objective", choose.OBJECTIVES)
def test_nor_do_plans_and_files(objective: str, rng: np.random.Generator, tmp_path: Path) -> None:
    arrays = {
        f"{name} {dtype}": make(rng, dtype)
        for name, (_, make, dtypes) in FORMS.items()
        for dtype in dtypes[:2]
        if "of" in name or dtype == dtypes[0]
    }
    arrays |= {"int8": numbers(rng).astype(np.int8), "int4": numbers(rng).astype(np.uint8)}
    source = tmp_path / "dense.safetensors"
    safetensors.numpy.save_file(arrays, source)
    expected = tmp_path / "expected.safetensors"
    tersely.compress(source, expected, objective=objective, profile="portable")
    for number, name in enumerate(("flushing, up", "to zero")):
        target, back = tmp_path / f"{number}.safetensors", tmp_path / f"{number}-again.safetensors"
        with environment(name):
            tersely.compress(source, target, objective=objective, profile="portable")
            assert tersely.verify(target, against=source).ok
            assert set(files.load_file(expected, check="full")) == set(arrays)
            tersely.decompress(target, back)
        assert target.read_bytes() == expected.read_bytes(), name
        assert back.read_bytes() == source.read_bytes(), name


@pytest.mark.parametrize("level", ["fast", "max"])
def test_nor_do_stored_files(level: Any, rng: np.random.Generator, tmp_path: Path) -> None:
    arrays = {name: make(rng, dtypes[0]) for name, (_, make, dtypes) in FORMS.items()}
    arrays |= {"whole": numbers(rng).astype(np.int8), "large": normal(rng, (300, 200), np.dtype(np.float32))}
    source, expected = tmp_path / "dense.safetensors", tmp_path / "expected.safetensors"
    safetensors.numpy.save_file(arrays, source)
    tersely.compress(source, expected, store="smallest", level=level)
    target, back = tmp_path / "stored.safetensors", tmp_path / "again.safetensors"
    for name in ("flushing, up", "to zero"):
        with environment(name):
            tersely.compress(source, target, store="smallest", level=level, force=True)
            tersely.decompress(target, back, force=True)
        assert target.read_bytes() == expected.read_bytes(), name
        assert back.read_bytes() == source.read_bytes(), name


@pytest.mark.parametrize("name", CONTROLS)
def test_words_off_their_grid_are_found_under_it(name: str, rng: np.random.Generator) -> None:
    """The check is as strict as ever: rounding otherwise must not let in what it refuses."""
    table = grid(1)(rng, np.dtype(np.float32)).reshape(-1)
    words = np.unique(table.view(np.uint32))
    found, table = grids.find(words, "float32")
    with environment(name), float_environment.default():
        assert found.first_off(table, "float32") is None
        table[1] += np.uint32(1)
        assert found.first_off(table, "float32") == 1


@pytest.mark.parametrize("scope", [native.module.DefaultFloats, float_environment._ByLibm])
def test_threads_get_their_own_back_from_errors(scope: Callable[[], Any]) -> None:
    default = control()
    for name in CONTROLS:
        with environment(name):
            before = control()
            assert before != default
            try:
                with scope(), scope():
                    assert control() == default
                    raise ValueError
            except ValueError:
                assert control() == before


def test_entrances_give_threads_their_own_back(rng: np.random.Generator) -> None:
    with environment("flushing"):  # which looks whether it is as it was
        with pytest.raises(ArgumentError):
            choose.encode(mixed(rng, DTYPES[0]), formulation="palette")
        weight = tersely.encode(few(rng, DTYPES[0]))
        tersely.linear(np.ones((2, SHAPE[1]), np.float32), weight)
