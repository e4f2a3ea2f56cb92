"""`affine`: hostile components under every kernel, bad nodes, what the planner takes of it, names."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from support.affine_weights import BFLOAT16, FLOAT16, FLOAT32, coded, quantised
from support.arrays import needs_native, same_bits
from support.references import slower_than_dense

import tersely
from tersely.codes import anatomy, registry
from tersely.codes.words.affine.layout import MAX_ZERO, NUMBERS
from tersely.core.encoded import Node
from tersely.core.errors import ArgumentError, CorruptError, UnsupportedError
from tersely.planner import choose
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.kernels


def test_bad_nodes_are_refused(rng: np.random.Generator) -> None:
    encoded = coded(quantised(rng, (32, 64))).encoded
    parameters = dict(encoded.node.parameters)
    assert parameters == {"columns": 0, "scale_dtype": "float32", "zero": 7, "bits": 4}
    packed = coded(quantised(rng, (32, 64)), code="packed").encoded.node
    wrong: list[tuple[str, Any]] = [
        *(("columns", value) for value in (1, 8, 48, 2048, True, "0", None)),
        *(("scale_dtype", value) for value in ("float64", "int8", 1, None)),
        *(("zero", value) for value in (0.0, "0", True, MAX_ZERO + 1, -(10**30), None)),
        *(("bits", value) for value in (0, 3, 5, 16, True, None)),
        *(("signed_zeros", value) for value in (0, 1, False, None)),
        ("colour", 1),
    ]
    nodes = [Node("affine", 1, parameters | {name: value}) for name, value in wrong]
    nodes += [
        Node("affine", 1, {name: value for name, value in parameters.items() if name != gone})
        for gone in ("bits", "columns", "scale_dtype")
    ]
    nodes += [
        Node("affine", 2, parameters),
        Node("affine", 1, parameters, dict(packed.children)),  # lines and a child
        Node("affine", 1, packed.parameters, {"words": packed.children[NUMBERS]}),
        Node("affine", 1, packed.parameters, {NUMBERS: Node("integer", 1)}),
    ]
    for node in nodes:
        with pytest.raises(UnsupportedError):
            Tensor(dataclasses.replace(encoded, node=node))


def test_bad_components_are_refused(rng: np.random.Generator) -> None:
    array = quantised(rng, (32, 512), columns=64, zeros=True, negative=True)
    array[0, :64] = np.arange(64) % 15 * np.float32(0.5)  # from its zero on: zeros are not all the same
    encoded = coded(array).encoded
    assert set(encoded.components) == {"scales", "zeros", "signs", "directory", "numbers"}

    def changed(name: str, kind: str, place: int, value: Any) -> Tensor:
        data = encoded.components[name].copy()
        data.view(kind)[place] = value
        return Tensor(dataclasses.replace(encoded, components={**encoded.components, name: data}))

    for value in (0.0, -1.0, np.inf, np.nan, 2.0**-127, 2.0**65):
        with pytest.raises(CorruptError, match="scale 5 is out of range") as caught:
            changed("scales", "<f4", 5, value)
        assert (caught.value.component, caught.value.byte) == ("scales", 20)
    for zero in (MAX_ZERO + 1, -MAX_ZERO - 1, 255):
        with pytest.raises(CorruptError, match=f"zero 3 is out of range: {zero}") as caught:
            changed("zeros", "<i2", 3, zero)
        assert (caught.value.component, caught.value.byte) == ("zeros", 6)
    for place, value in ((0, 1), (1, 10**9)):
        with pytest.raises(CorruptError, match="component 'directory'"):
            changed("directory", "<u8", place, value)
    for name in encoded.components:
        shorter = {**encoded.components, name: encoded.components[name][:-64]}
        with pytest.raises(CorruptError, match=f"component '{name}': .* bytes where"):
            Tensor(dataclasses.replace(encoded, components=shorter))
        missing = {key: data for key, data in encoded.components.items() if key != name}
        with pytest.raises(CorruptError, match=f"component '{name}': the component is missing"):
            Tensor(dataclasses.replace(encoded, components=missing))
    for extra in ("extra", "numbers.tiles"):
        components = {**encoded.components, extra: np.zeros(64, np.uint8)}
        with pytest.raises(CorruptError, match="does not have"):
            Tensor(dataclasses.replace(encoded, components=components))
    inner = coded(array, code="packed").encoded
    shorter = {**inner.components, "numbers.tiles": inner.components["numbers.tiles"][:-64]}
    with pytest.raises(CorruptError, match=r"byte .* of component 'numbers\.tiles'"):
        Tensor(dataclasses.replace(inner, components=shorter))


@pytest.mark.parametrize(
    ("dtype", "bits", "columns", "objective", "profile", "batch", "expected"),
    [
        (FLOAT32, 4, 0, "balanced", "portable", 1, "affine 4 rows"),
        (FLOAT32, 4, 128, "balanced", "avx512", 1, "affine 4 groups 128"),
        (FLOAT32, 8, 0, "speed", "portable", 1, "affine 8 rows"),
        (FLOAT32, 8, 0, "size", "avx512", 1, "affine 8 rows"),
        (BFLOAT16, 4, 0, "balanced", "avx512", 4, "affine 4 rows"),
        (FLOAT16, 4, 32, "size", "avx512", 1, "affine coded groups 32"),
        (FLOAT32, 3, 0, "size", "portable", 1, "affine coded rows + sparse bitmap + integer distances"),
        (BFLOAT16, 3, 0, "balanced", "avx512", 1, "affine 4 rows"),
    ],
)
def test_the_planner_takes_it(
    dtype: np.dtype, bits: int, columns: int, objective: str, profile: str, batch: int, expected: str
) -> None:
    scale_dtype = FLOAT32 if dtype == FLOAT32 else dtype
    array = quantised(np.random.default_rng(3), (512, 1024), dtype, bits, columns, scale_dtype=scale_dtype)
    encoded = choose.encode(array, objective=objective, profile=profile, batch=batch)
    work = registry.work(encoded)
    assert work is not None
    assert str(work.kernel) == expected
    assert slower_than_dense(encoded, profile) == ("coded" in expected)
    assert same_bits(Tensor(encoded).decode(), array)


@pytest.mark.parametrize(
    ("zeros", "objective", "expected"),
    [
        (0.8, "balanced", "affine coded rows + sparse bitmap"),
        (0.8, "size", "affine coded rows + sparse elias_fano + integer distances"),
        (0.1, "balanced", "affine 8 rows"),
    ],
)
def test_what_was_pruned_before_it_was_quantised(
    zeros: float, objective: str, expected: str, rng: np.random.Generator
) -> None:
    array = np.where(rng.random((512, 1024)) < zeros, np.float32(0), quantised(rng, (512, 1024), FLOAT32, 8))
    encoded = choose.encode(array, objective=objective, profile="avx512")
    work = registry.work(encoded)
    assert work is not None
    assert str(work.kernel) == expected
    assert same_bits(Tensor(encoded).decode(), array)


def test_sparse_numbers_have_masks_and_no_signs(rng: np.random.Generator) -> None:
    array = np.where(rng.random((64, 128)) < 0.8, np.float32(0), quantised(rng, (64, 128), FLOAT32, 4))
    encoded = tersely.encode(array, formulation="affine", numbers="sparse", positions="bitmap").encoded
    child, parameters = encoded.node.children["numbers"], encoded.node.parameters
    gaps = dataclasses.replace(child, parameters={"positions": "gaps"})
    for node in (
        dataclasses.replace(encoded.node, children={"numbers": gaps}),
        dataclasses.replace(encoded.node, parameters={**parameters, "signed_zeros": True}),
    ):
        with pytest.raises(CorruptError, match="sparse numbers have"):
            Tensor(dataclasses.replace(encoded, node=node))
    with pytest.raises(ArgumentError, match="sparse numbers have the positions 'bitmap' or 'elias_fano'"):
        tersely.encode(array, formulation="affine", numbers="sparse", positions="gaps")
    with pytest.raises(ArgumentError, match="unknown numbers 'split'"):
        tersely.encode(array, formulation="affine", numbers="split")


def test_zeros_of_either_sign_are_asked_for_above(rng: np.random.Generator) -> None:
    array = quantised(rng, (64, 128), FLOAT32, 4)
    array[rng.random(array.shape) < 0.6] = -0.0
    with pytest.raises(ArgumentError, match="use formulation='signed_zeros', clean='affine'"):
        tersely.encode(array, formulation="affine", numbers="sparse")
    tensor = tersely.encode(array, formulation="signed_zeros", clean="affine", numbers="sparse", positions="bitmap")
    assert same_bits(tensor.decode(), array)


def test_what_it_is_called(rng: np.random.Generator) -> None:
    for options, label, children in (
        ({}, "affine 4-bit by rows", []),
        ({"columns": 16}, "affine 4-bit by 16", []),
        ({"code": "packed"}, "affine by rows", ["split packed(4)"]),
    ):
        encoded = coded(quantised(rng, (3, 64, 80)), **options).encoded
        found = anatomy.sizes(encoded.node.to_json(), {name: data.nbytes for name, data in encoded.components.items()})
        assert (found.label, [child.label for child in found.children]) == (label, children)


@needs_native
def test_a_longer_last_line_reads_nothing_of_other_tensors(each_isa: str, rng: np.random.Generator) -> None:
    """Its x is zero, but zero times an infinity is no number."""
    before = tersely.get_num_threads()
    tersely.set_num_threads(1)
    for bits in (1, 2, 4):
        large = quantised(rng, (16, 512), columns=16) * np.float32(2.0**50)
        small = quantised(rng, (16, 48), FLOAT16, bits, 16)
        tensor = coded(small, columns=16)
        x, wide = np.ones((1, 48), np.float32), np.ones((1, 512), np.float32)
        alone = tersely.linear(x, tensor)
        tersely.linear(wide, coded(large))
        assert np.isfinite(alone).all()
        assert np.array_equal(tersely.linear(x, tensor), alone)
    tersely.set_num_threads(before)


def test_numbers_of_bfloat16_words_that_are_off_by_one() -> None:
    """From 128 on word / scale may be off the number by one; more than one number may give a word."""
    found = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        array = np.zeros((16, 16), BFLOAT16)
        array[0] = (rng.integers(1, 256, 16).astype(np.float32) * np.float32(0.0195)).astype(BFLOAT16)
        try:
            tensor = coded(array, columns=0)
        except ArgumentError:  # too few weights to tell their scale
            continue
        assert same_bits(tensor.decode(), array)
        found += 1
    assert found > 100


def test_groups_that_leave_no_number_for_negative_zero() -> None:
    array = -np.tile(np.arange(256, dtype=np.float32) % 255 + 1, (16, 1)) * np.float32(0.0137)
    array[1] = np.arange(256, dtype=np.float32) % 5 * np.float32(0.0137)
    array[1, 0] = -0.0
    with pytest.raises(ArgumentError, match="integers times a scale"):
        coded(array, columns=0)


def test_scales_that_kernels_could_not_round_are_refused(rng: np.random.Generator) -> None:
    array = (rng.integers(-7, 8, (16, 128)).astype(np.float32) * np.float32(1e33)).astype(BFLOAT16)
    with pytest.raises(ArgumentError, match="integers times a scale"):
        coded(array)
