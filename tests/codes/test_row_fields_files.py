"""`affine` and `row_palette`, which share row fields: bad nodes, what the planner takes of them, names, the last group's x."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from support import affine_weights, row_palette_weights
from support.affine_weights import BFLOAT16, FLOAT16, FLOAT32, quantised
from support.arrays import needs_native, same_bits
from support.references import slower_than_dense
from support.row_palette_weights import shared

import tersely
from tersely.codes import anatomy, registry
from tersely.codes.words.affine.layout import MAX_ZERO
from tersely.core.encoded import Node
from tersely.core.errors import UnsupportedError
from tersely.planner import choose
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.kernels

CODED = {"affine": affine_weights.coded, "row_palette": row_palette_weights.coded}
WEIGHTS: dict[str, Any] = {"affine": quantised, "row_palette": shared}
CHILD = {"affine": "numbers", "row_palette": "indices"}
PARAMETERS: dict[str, dict[str, Any]] = {
    "affine": {"columns": 0, "scale_dtype": "float32", "zero": 7, "bits": 4},
    "row_palette": {"columns": 0, "entries": 16, "bits": 4},
}
WRONG: dict[str, list[tuple[str, tuple[Any, ...]]]] = {
    "affine": [
        ("scale_dtype", ("float64", "int8", 1, None)),
        ("zero", (0.0, "0", True, MAX_ZERO + 1, -(10**30), None)),
        ("bits", (0, 3, 5, 16, True, None)),
        ("signed_zeros", (0, 1, False, None)),
    ],
    "row_palette": [
        ("entries", (0, -1, 17, 257, True, "4", None)),
        ("bits", (0, 1, 2, 3, 5, 16, True, None)),
    ],
}
each_formulation = pytest.mark.parametrize("name", CODED)


@each_formulation
def test_bad_nodes_are_refused(name: str, rng: np.random.Generator) -> None:
    coded, weights = CODED[name], WEIGHTS[name](rng, (32, 64))
    encoded, packed = coded(weights).encoded, coded(weights, code="packed").encoded.node
    parameters = dict(encoded.node.parameters)
    assert parameters == PARAMETERS[name]
    wrong = [*WRONG[name], ("columns", (1, 8, 48, 2048, True, "0", None)), ("colour", (1,))]
    nodes = [Node(name, 1, parameters | {key: value}) for key, values in wrong for value in values]
    nodes += [
        Node(name, 1, {key: value for key, value in parameters.items() if key != gone})
        for gone in parameters
        if gone != "zero"
    ]
    nodes += [
        Node(name, 2, parameters),
        Node(name, 1, parameters, dict(packed.children)),  # row fields and a child
        Node(name, 1, packed.parameters, {"words": packed.children[CHILD[name]]}),
        Node(name, 1, packed.parameters, {CHILD[name]: Node("integer", 1)}),
    ]
    for node in nodes:
        with pytest.raises(UnsupportedError):
            Tensor(dataclasses.replace(encoded, node=node))


@pytest.mark.parametrize(
    ("dtype", "levels", "columns", "objective", "profile", "batch", "expected"),
    [
        (FLOAT32, 4, 0, "balanced", "portable", 1, "affine 4 rows"),
        (FLOAT32, 4, 128, "balanced", "avx512", 1, "affine 4 groups 128"),
        (FLOAT32, 8, 0, "speed", "portable", 1, "affine 8 rows"),
        (FLOAT32, 8, 0, "size", "avx512", 1, "affine 8 rows"),
        (BFLOAT16, 4, 0, "balanced", "avx512", 4, "affine 4 rows"),
        (FLOAT16, 4, 32, "size", "avx512", 1, "affine coded groups 32"),
        (FLOAT32, 3, 0, "size", "portable", 1, "affine coded rows + sparse bitmap + integer distances"),
        (BFLOAT16, 3, 0, "balanced", "avx512", 1, "affine 4 rows"),
        (FLOAT32, 16, 0, "balanced", "portable", 1, "row_palette 4 rows"),
        (FLOAT32, 16, 0, "speed", "avx512", 4, "row_palette 4 rows"),
        (BFLOAT16, 16, 0, "balanced", "portable", 1, "row_palette 4 rows"),
        (FLOAT16, 12, 0, "balanced", "avx512", 1, "row_palette 4 rows"),
        (FLOAT32, 16, 128, "balanced", "avx512", 1, "row_palette 4 groups 128"),
        (FLOAT32, 7, 0, "size", "portable", 1, "row_palette coded rows"),
        (BFLOAT16, 40, 0, "size", "portable", 1, "row_palette coded rows"),
    ],
)
def test_the_planner_takes_it(
    dtype: np.dtype, levels: int, columns: int, objective: str, profile: str, batch: int, expected: str
) -> None:
    """levels: bits of `affine`, words of a row of `row_palette`."""
    name = expected.split()[0]
    scales = {"scale_dtype": dtype} if name == "affine" else {}
    array = WEIGHTS[name](np.random.default_rng(3), (512, 1024), dtype, levels, columns, **scales)
    encoded = choose.encode(array, objective=objective, profile=profile, batch=batch)
    work = registry.work(encoded)
    assert work is not None
    assert str(work.kernel) == expected
    assert slower_than_dense(encoded, profile) == ("coded" in expected)
    assert same_bits(Tensor(encoded).decode(), array)


@each_formulation
def test_what_it_is_called(name: str, rng: np.random.Generator) -> None:
    for options, label, children in (
        ({}, "4-bit by rows", []),
        ({"columns": 64}, "4-bit by 64", []),
        ({"code": "packed"}, "by rows", ["split packed(4)"]),
    ):
        encoded = CODED[name](WEIGHTS[name](rng, (3, 64, 80)), **options).encoded
        found = anatomy.sizes(encoded.node.to_json(), {key: data.nbytes for key, data in encoded.components.items()})
        assert (found.label, [child.label for child in found.children]) == (f"{name} {label}", children)


@needs_native
@each_formulation
def test_a_longer_last_group_reads_nothing_of_other_tensors(name: str, each_isa: str, rng: np.random.Generator) -> None:
    """Its x is zero, but zero times an infinity is no number."""
    before = tersely.get_num_threads()
    tersely.set_num_threads(1)
    for levels in (1, 2, 4) if name == "affine" else (2, 4):
        if name == "affine":
            large = affine_weights.coded(quantised(rng, (16, 512), columns=16) * np.float32(2.0**50))
        else:
            infinities = np.where(rng.random((16, 512)) < 0.5, np.float32(np.inf), np.float32(1))
            large = row_palette_weights.coded(infinities, columns=16)
        tensor = CODED[name](WEIGHTS[name](rng, (16, 48), FLOAT16, levels, 16), columns=16)
        x = np.ones((1, 48), np.float32)
        alone = tersely.linear(x, tensor)
        tersely.linear(np.ones((1, 512), np.float32), large)
        assert np.isfinite(alone).all()
        assert np.array_equal(tersely.linear(x, tensor), alone)
    tersely.set_num_threads(before)
