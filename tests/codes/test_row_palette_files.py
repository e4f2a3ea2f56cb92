"""`row_palette`: hostile components under every kernel, bad nodes, what the planner takes of it, names."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from support.arrays import needs_native, same_bits
from support.references import slower_than_dense
from support.row_palette_weights import BFLOAT16, FLOAT16, FLOAT32, coded, shared

import tersely
from tersely.codes import anatomy, registry
from tersely.codes.words.row_palette.layout import INDICES
from tersely.core.encoded import Node
from tersely.core.errors import UnsupportedError
from tersely.planner import choose
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.kernels


def test_bad_nodes_are_refused(rng: np.random.Generator) -> None:
    encoded = coded(shared(rng, (32, 64))).encoded
    parameters = dict(encoded.node.parameters)
    assert parameters == {"columns": 0, "entries": 16, "bits": 4}
    packed = coded(shared(rng, (32, 64)), code="packed").encoded.node
    wrong: list[tuple[str, Any]] = [
        *(("columns", value) for value in (1, 8, 48, 2048, True, "0", None)),
        *(("entries", value) for value in (0, -1, 17, 257, True, "4", None)),
        *(("bits", value) for value in (0, 1, 2, 3, 5, 16, True, None)),
        ("colour", 1),
    ]
    nodes = [Node("row_palette", 1, parameters | {name: value}) for name, value in wrong]
    nodes += [
        Node("row_palette", 1, {name: value for name, value in parameters.items() if name != gone})
        for gone in parameters
    ]
    nodes += [
        Node("row_palette", 2, parameters),
        Node("row_palette", 1, parameters, dict(packed.children)),  # lines and a child
        Node("row_palette", 1, packed.parameters, {"words": packed.children[INDICES]}),
        Node("row_palette", 1, packed.parameters, {INDICES: Node("integer", 1)}),
    ]
    for node in nodes:
        with pytest.raises(UnsupportedError):
            Tensor(dataclasses.replace(encoded, node=node))


@pytest.mark.parametrize(
    ("dtype", "entries", "columns", "objective", "profile", "batch", "expected"),
    [
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
    dtype: np.dtype, entries: int, columns: int, objective: str, profile: str, batch: int, expected: str
) -> None:
    array = shared(np.random.default_rng(3), (512, 1024), dtype, entries, columns)
    encoded = choose.encode(array, objective=objective, profile=profile, batch=batch)
    work = registry.work(encoded)
    assert work is not None
    assert str(work.kernel) == expected
    assert slower_than_dense(encoded, profile) == ("coded" in expected)
    assert same_bits(Tensor(encoded).decode(), array)


def test_what_is_slow_is_not_taken_for_speed(rng: np.random.Generator) -> None:
    """More words than registers hold are looked up one by one."""
    array = shared(rng, (512, 1024), FLOAT32, 100)
    for objective in ("balanced", "speed"):
        assert choose.encode(array, objective=objective).node.formulation != "row_palette"


def test_what_it_is_called(rng: np.random.Generator) -> None:
    for options, label, children in (
        ({}, "row_palette 4-bit by rows", []),
        ({"columns": 64}, "row_palette 4-bit by 64", []),
        ({"code": "packed"}, "row_palette by rows", ["split packed(4)"]),
    ):
        encoded = coded(shared(rng, (3, 64, 80)), **options).encoded
        found = anatomy.sizes(encoded.node.to_json(), {name: data.nbytes for name, data in encoded.components.items()})
        assert (found.label, [child.label for child in found.children]) == (label, children)


@needs_native
def test_a_longer_last_line_reads_nothing_of_other_tensors(each_isa: str, rng: np.random.Generator) -> None:
    """Its x is zero, but zero times an infinity is no number."""
    before = tersely.get_num_threads()
    tersely.set_num_threads(1)
    for entries in (2, 4):
        large = np.where(rng.random((16, 512)) < 0.5, np.float32(np.inf), np.float32(1))
        small = shared(rng, (16, 48), FLOAT16, entries, 16)
        tensor = coded(small, columns=16)
        alone = tersely.linear(np.ones((1, 48), np.float32), tensor)
        tersely.linear(np.ones((1, 512), np.float32), coded(large, columns=16))
        assert np.isfinite(alone).all()
        assert np.array_equal(tersely.linear(np.ones((1, 48), np.float32), tensor), alone)
    tersely.set_num_threads(before)
