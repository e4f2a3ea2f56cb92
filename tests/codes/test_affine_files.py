"""`affine`: hostile components under every kernel, bad nodes, what the planner takes of it, names."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from support.affine_weights import BFLOAT16, FLOAT32, coded, quantised
from support.arrays import same_bits
from support.references import slower_than_dense

import tersely
from tersely.codes import registry
from tersely.codes.words.affine.layout import MAX_ZERO
from tersely.core.errors import ArgumentError, CorruptError
from tersely.planner import choose
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.kernels


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
    ("zeros", "objective", "expected"),
    [
        (0.8, "balanced", "affine coded rows + sparse bitmap"),
        (0.8, "size", "affine coded rows + sparse elias_fano + integer distances"),
        (0.9, "balanced", "affine coded rows + sparse gaps"),
        (0.95, "speed", "affine coded rows + sparse gaps"),
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


def test_sparse_numbers_have_positions_that_fit_and_no_signs(rng: np.random.Generator) -> None:
    array = np.where(rng.random((64, 128)) < 0.8, np.float32(0), quantised(rng, (64, 128), FLOAT32, 4))
    masks = tersely.encode(array, formulation="affine", numbers="sparse", positions="bitmap").encoded
    gaps = tersely.encode(array, formulation="affine", numbers="sparse", positions="gaps").encoded
    for encoded, parameters in ((masks, {"signed_zeros": True}), (gaps, {"signed_zeros": True}), (gaps, {"zero": 127})):
        node = dataclasses.replace(encoded.node, parameters={**encoded.node.parameters, **parameters})
        with pytest.raises(CorruptError, match="sparse numbers have"):
            Tensor(dataclasses.replace(encoded, node=node))
    for positions in ("gaps", "n_of_m"):
        unsigned = np.abs(array) * np.float32(0.125)
        unsigned[unsigned == unsigned.max()] *= np.float32(32)  # more than signed bytes count
        with pytest.raises(
            ArgumentError, match="sparse numbers have the positions 'bitmap', 'elias_fano'|n_of_m codes no"
        ):
            tersely.encode(unsigned, formulation="affine", numbers="sparse", positions=positions)
    with pytest.raises(ArgumentError, match="unknown numbers 'split'"):
        tersely.encode(array, formulation="affine", numbers="split")


@pytest.mark.kernels
@pytest.mark.parametrize("columns", [0, 256])
def test_fillers_of_gaps_meet_no_x(columns: int, each_isa: str, rng: np.random.Generator) -> None:
    array = np.zeros((48, 2000), np.float32)
    array[:, ::400] = rng.choice((-128, -1, 1, 127), (48, 5)) * np.float32(2.0**-7)
    options = {"formulation": "affine", "numbers": "sparse", "positions": "gaps", "columns": columns}
    tensor = tersely.encode(array, **options)
    assert same_bits(tensor.decode(), array)
    for batch in (1, 2, 4, 5):
        x = np.full((batch, 2000), np.inf, np.float32)
        x[:, ::400] = rng.standard_normal((batch, 5))
        exact = x[:, ::400].astype(np.float64) @ array[:, ::400].T.astype(np.float64)
        assert np.abs(tersely.linear(x, tensor) - exact).max() < 1e-5


@pytest.mark.parametrize(
    ("options", "zeros", "portable", "wide"),
    [
        ({}, 0.9, False, False),
        ({}, 0.2, True, False),
        ({"columns": 128}, 0.6, True, False),
        ({"values": "integer"}, 0.9, True, False),
    ],
)
def test_many_gaps_are_slower_than_dense(
    options: dict[str, object], zeros: float, portable: bool, wide: bool, rng: np.random.Generator
) -> None:
    array = np.where(rng.random((256, 1024)) < zeros, np.float32(0), quantised(rng, (256, 1024), FLOAT32, 4))
    encoded = tersely.encode(array, formulation="affine", numbers="sparse", positions="gaps", **options).encoded
    assert (slower_than_dense(encoded, "portable"), slower_than_dense(encoded, "avx512")) == (portable, wide)


def test_zeros_of_either_sign_are_asked_for_above(rng: np.random.Generator) -> None:
    array = quantised(rng, (64, 128), FLOAT32, 4)
    array[rng.random(array.shape) < 0.6] = -0.0
    with pytest.raises(ArgumentError, match="use formulation='signed_zeros', clean='affine'"):
        tersely.encode(array, formulation="affine", numbers="sparse")
    tensor = tersely.encode(array, formulation="signed_zeros", clean="affine", numbers="sparse", positions="bitmap")
    assert same_bits(tensor.decode(), array)


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
