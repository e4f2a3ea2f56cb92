"""`signed_zeros`: every formulation with clean zeros inside, the signs in every view, what is offered, bad files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.arrays import DTYPES, normal, same_bits
from support.guarded import GuardedBytes, run_everything
from support.products import check_batches
from support.references import reference_components, reference_words

import tersely
from tersely.codes import registry, slicing
from tersely.codes.protocol import Request
from tersely.codes.selection.signed_zeros.formulation import CHILDREN, CLEAN, EVERY, NAME, SIGNS
from tersely.core.dtypes import raw_bytes
from tersely.core.encoded import Node
from tersely.core.errors import ArgumentError, CorruptError, UnsupportedError
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.kernels

FLOATS = DTYPES[:3]
SHAPES = ((48, 96), (33, 70), (3, 31, 40), (16, 32, 3, 3), (47, 17, 5), (7, 310), (96, 2352))


def pruned(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype, values: int = 0) -> np.ndarray:
    """Weights times a mask, as pruning leaves them: half of the zeros are -0.0. values: distinct ones, 0 for any."""
    array = normal(rng, shape, dtype)
    if values:
        array = (rng.integers(1, values + 1, shape) * np.sign(array) * 0.25).astype(dtype)
    return array * (rng.random(shape) < 0.3).astype(dtype)


def coded(array: np.ndarray, clean: str = "sparse", **options: Any) -> Tensor:
    return tersely.encode(array, formulation=NAME, clean=clean, **options)


def of(row_name: str, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Weights that a formulation can code once their zeros are clean."""
    array = pruned(rng, shape, dtype, values=3 if row_name in ("palette", "row_palette", "affine", "blocks") else 0)
    if row_name == "submatrix":
        array[1::3] *= 0
    return array


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("clean", [row.NAME for row in CHILDREN])
def test_every_formulation_holds_clean_zeros(
    clean: str, dtype: np.dtype, each_isa: str, rng: np.random.Generator
) -> None:
    array = of(clean, rng, (48, 96), dtype)
    tensor = coded(array, clean)
    assert [node.formulation for _, node in tensor.encoded.node.walk()][:2] == [NAME, clean]
    assert same_bits(tensor.decode(), array)
    assert reference_words(tensor.encoded).tobytes() == array.tobytes()
    for at in ((0, 0), (47, 95), (20, 33)):
        assert same_bits(np.asarray(tensor[at]), np.asarray(array[at]))
    assert same_bits(tensor[17:40], array[17:40])
    check_batches(tensor, array, None, np.dtype(np.float32), (1, 4, 17), rng)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("orientation", ["out_in", "in_out"])
def test_signs_come_back_in_every_view(
    shape: tuple[int, ...], orientation: str, each_isa: str, rng: np.random.Generator
) -> None:
    for dtype in FLOATS:
        array = pruned(rng, shape, dtype)
        for options in ({}, {"view": "folded"}):
            tensor = coded(array, orientation=orientation, positions="bitmap", **options)
            assert same_bits(tensor.decode(), array)
            assert reference_words(tensor.encoded).tobytes() == array.tobytes()
            places = [tuple(rng.integers(length) for length in shape) for _ in range(20)]
            assert all(same_bits(np.asarray(tensor[at]), np.asarray(array[at])) for at in places)


def test_native_components_are_those_of_the_reference(rng: np.random.Generator) -> None:
    for dtype in FLOATS:
        array = pruned(rng, (33, 70), dtype)
        options = {"formulation": NAME, "clean": "sparse", "positions": "bitmap"}
        expected = reference_components(array, **options)
        found = tersely.encode(array, **options).encoded.components
        assert set(found) == set(expected)
        assert all(np.array_equal(found[name], data) for name, data in expected.items())


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_where_every_zero_is_negative_no_bit_is_stored(dtype: np.dtype, rng: np.random.Generator) -> None:
    array = pruned(rng, (48, 96), dtype)
    array[array == 0] = -0.0
    tensor = coded(array)
    assert tensor.encoded.node.parameters == {EVERY: True}
    assert SIGNS not in tensor.encoded.components
    assert coded(pruned(rng, (48, 96), dtype)).encoded.node.parameters == {}
    assert same_bits(tensor.decode(), array)
    assert same_bits(np.asarray(tensor[3, 5]), np.asarray(array[3, 5]))
    assert reference_words(tensor.encoded).tobytes() == array.tobytes()


def test_rows_by_number(rng: np.random.Generator) -> None:
    array = pruned(rng, (300, 67), FLOATS[1])
    tensor = coded(array, positions="bitmap")
    wanted = rng.integers(300, size=40)
    assert same_bits(tensor[wanted], array[wanted])


@pytest.mark.parametrize("objective", ["size", "balanced", "speed"])
def test_pruned_weights_are_as_small_as_with_clean_zeros_but_for_their_signs(
    objective: str, rng: np.random.Generator
) -> None:
    for dtype in FLOATS[:2]:
        array = normal(rng, (512, 512), dtype) * (rng.random((512, 512)) < 0.1).astype(dtype)
        clean = np.where(array == 0, np.zeros((), dtype), array)
        signed, plain = (tersely.encode(one, objective=objective) for one in (array, clean))
        assert signed.formulation == NAME
        assert plain.formulation != NAME
        most = plain.encoded.nbytes_stored + array.size / 8 + 128
        assert signed.encoded.nbytes_stored <= most


def test_it_is_not_looked_for_where_no_zero_is_negative(rng: np.random.Generator) -> None:
    row = registry.named(NAME)
    for array in (normal(rng, (512, 512), FLOATS[0]), np.zeros((64, 64), np.float32)):
        words = raw_bytes(array).view(np.uint32).reshape(array.shape)
        assert row.candidates(Request(words, "float32")) == []
    few = normal(rng, (512, 512), FLOATS[0])
    few[0, :9] = -0.0
    assert row.candidates(Request(raw_bytes(few).view(np.uint32).reshape(few.shape), "float32")) == []


@pytest.mark.parametrize("rows", [(0, 512), (512, 1024), (512, 1300)])
def test_slices_and_joins_are_those_of_the_bits(rows: tuple[int, int], rng: np.random.Generator) -> None:
    array = pruned(rng, (1300, 64), FLOATS[0])
    checked = registry.check(coded(array, positions="bitmap").encoded)
    first, last = rows
    piece = slicing.take(checked, first, last)
    assert piece is not None
    assert same_bits(registry.decode(piece), array[first:last])
    rest = slicing.take(checked, 0, first) if first else None
    if rest is not None:
        joined = slicing.join("cat", 0, [registry.check(rest), registry.check(piece)])
        assert joined is not None
        assert same_bits(registry.decode(joined), array[:last])


def test_stacks_are_taken_apart(rng: np.random.Generator) -> None:
    array = pruned(rng, (3, 31, 40), FLOATS[1])
    checked = registry.check(coded(array, positions="bitmap").encoded)
    piece = slicing.take(checked, 1, 2, squeezed=True)
    assert piece is not None
    assert same_bits(registry.decode(piece), array[1])


def test_a_file_says_what_clean_zeros_would_save(tmp_path: Path, rng: np.random.Generator) -> None:
    from safetensors.numpy import save_file

    source = tmp_path / "pruned.safetensors"
    save_file({"a": pruned(rng, (256, 256), FLOATS[0]), "b": normal(rng, (64, 64), FLOATS[0])}, source)
    report = tersely.compress(source, tmp_path / "small.safetensors")
    notes = [note for note in report.notes if "-0.0" in note]
    assert len(notes) == 1
    assert "1 tensor" in notes[0]
    assert f"{256 * 256 // 8 + 64:,} bytes" in notes[0]
    tersely.decompress(tmp_path / "small.safetensors", tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == source.read_bytes()


def test_nothing_is_read_beyond_the_components(rng: np.random.Generator) -> None:
    tensor = coded(pruned(rng, (33, 70), FLOATS[0]), positions="bitmap")
    guarded = {name: GuardedBytes(data) for name, data in tensor.encoded.components.items()}
    components = {name: one.array for name, one in guarded.items()}
    run_everything(Tensor(dataclasses.replace(tensor.encoded, components=components)), rng)


def test_bits_of_weights_that_are_not_zero_change_nothing(each_isa: str, rng: np.random.Generator) -> None:
    array = pruned(rng, (48, 96), FLOATS[0])
    encoded = coded(array, positions="bitmap").encoded
    damaged = encoded.components[SIGNS].copy()
    damaged[: array.size // 8] = 0xFF
    found = registry.decode(dataclasses.replace(encoded, components={**encoded.components, SIGNS: damaged}))
    assert same_bits(found, np.where(array == 0, np.float32(-0.0), array))


@pytest.mark.parametrize(
    "parameters", [{EVERY: False}, {EVERY: 1}, {EVERY: "yes"}, {EVERY: True, "more": 1}, {EVERY: None}], ids=str
)
def test_bad_parameters_are_refused(parameters: dict[str, Any], rng: np.random.Generator) -> None:
    encoded = coded(pruned(rng, (48, 96), FLOATS[0])).encoded
    node = dataclasses.replace(encoded.node, parameters=parameters)
    with pytest.raises(UnsupportedError):
        registry.check(dataclasses.replace(encoded, node=node))


def test_bad_trees_and_components_are_refused(rng: np.random.Generator) -> None:
    encoded = coded(pruned(rng, (48, 96), FLOATS[0]), positions="bitmap").encoded
    for children in ({}, {CLEAN: encoded.node}, {"other": encoded.node.children[CLEAN]}, {CLEAN: Node("integer", 1)}):
        with pytest.raises((UnsupportedError, CorruptError)):
            registry.check(dataclasses.replace(encoded, node=dataclasses.replace(encoded.node, children=children)))
    short = {**encoded.components, SIGNS: encoded.components[SIGNS][:-64]}
    with pytest.raises(CorruptError) as caught:
        registry.check(dataclasses.replace(encoded, components=short))
    assert caught.value.component == SIGNS
    missing = {name: data for name, data in encoded.components.items() if name != SIGNS}
    with pytest.raises(CorruptError):
        registry.check(dataclasses.replace(encoded, components=missing))


def test_unknown_formulations_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ArgumentError, match="signed_zeros holds no 'dense'"):
        coded(pruned(rng, (48, 96), FLOATS[0]), "dense")
