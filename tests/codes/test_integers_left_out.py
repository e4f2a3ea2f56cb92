"""`submatrix` and `block_sparse` of integers: what zero points make of weights that are left out, what is planned, bad files."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arrays import ISAS, same_bits

import tersely
from tersely.backends.cpu import isa
from tersely.codes import registry
from tersely.codes.protocol import Request
from tersely.codes.selection.submatrix.formulation import KEPT_INTEGERS
from tersely.codes.words.integer import reference
from tersely.core.encoded import Encoded, Node
from tersely.core.errors import ArgumentError, UnsupportedError
from tersely.planner import choose
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.kernels

BYTES = (np.dtype(np.int8), np.dtype(np.uint8))
FORMS: tuple[dict[str, Any], ...] = (
    *({"formulation": "block_sparse", "block": block} for block in ("row", "16x1", "chunk")),
    *({"formulation": "submatrix", "kept": kept} for kept in ("integer", "dense", "sparse", "block_sparse")),
    {"formulation": "submatrix", "kept": "integer", "code": "distances"},
    {"formulation": "submatrix", "kept": "sparse", "positions": "gaps"},
)


def drawn(rng: np.random.Generator, shape: tuple[int, int], dtype: np.dtype, form: dict[str, Any]) -> np.ndarray:
    """Weights of every value; rows, columns and chunks empty, from a few to all but one."""
    limits = np.iinfo(dtype)
    array = rng.integers(limits.min, limits.max + 1, shape).astype(dtype)
    kept = [rng.random(length) < rng.choice((0.05, 0.5, 0.9, 1)) for length in shape]
    for axis, one in enumerate(kept):
        one[rng.integers(shape[axis])] = True
    array[~np.logical_and.outer(*kept)] = 0
    if "block_sparse" in form.values():
        empty = rng.random((-(-shape[0] // 16), -(-shape[1] // 4))) < rng.choice((0.2, 0.8))
        array[np.kron(empty, np.ones((16, 4), bool))[: shape[0], : shape[1]]] = 0
    return array


def integers(rng: np.random.Generator, dtype: np.dtype, count: int) -> np.ndarray:
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max + 1, count)


@given(
    st.sampled_from(FORMS),
    st.sampled_from(BYTES),
    st.sampled_from(((16, 16), (64, 96), (80, 2112), (272, 48), (33, 4100))),
    st.sampled_from((1, 2, 5, 9)),
    st.integers(0, 2**32 - 1),
)
def test_products_have_the_bits_of_dense_weights(
    form: dict[str, Any], dtype: np.dtype, shape: tuple[int, int], batch: int, seed: int
) -> None:
    """With zero points of rows that are left out, and x that is largest, or no number, where no weight is."""
    rng = np.random.default_rng(seed)
    array = drawn(rng, shape, dtype, form)
    try:
        tensor = tersely.encode(array, **form)
    except ArgumentError:  # nothing can be left out of what padding would fill again
        assert form["formulation"] == "submatrix"
        return
    dense = tersely.encode(array, "dense")
    assert same_bits(tensor.decode(), array)
    empty = np.flatnonzero(~array.any(axis=0))
    x = rng.standard_normal((batch, shape[1])).astype(np.float32)
    if empty.size:
        x[0, empty[0]] = rng.choice((1e4, 1e30, np.inf, np.nan))
    whole = rng.integers(-128, 128, x.shape).astype(np.int8)
    bias, sums = rng.standard_normal(shape[0]).astype(np.float32), rng.integers(-9, 9, shape[0]).astype(np.int32)
    zeros: tuple[Any, ...] = (None, int(integers(rng, dtype, 1)[0]), integers(rng, dtype, shape[0]))
    for name in ISAS:
        with isa.using(name):
            for zero, scale in zip(zeros, (0.1, rng.random(shape[0]) - 0.5, -0.25), strict=True):
                results = [tersely.linear(x, one, bias, scale=scale, zero_point=zero) for one in (tensor, dense)]
                assert same_bits(*results), (name, zero)
                exact = reference.linear(whole, array, 0 if zero is None else zero)
                assert (tersely.linear(whole, tensor, sums, zero_point=zero) == exact + sums).all(), (name, zero)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: " ".join(map(str, form.values())))
@pytest.mark.parametrize("dtype", BYTES, ids=str)
def test_one_row_and_one_column_are_left(form: dict[str, Any], dtype: np.dtype, rng: np.random.Generator) -> None:
    """Less than a panel and a chunk: what padding would fill is kept though it is empty."""
    array = np.zeros((48, 64), dtype)
    array[37, 41] = 7
    tensor, x = tersely.encode(array, **form), rng.standard_normal((3, 64)).astype(np.float32)
    assert same_bits(tensor.decode(), array)
    assert same_bits(tensor.rows(36, 38), array[36:38])
    assert (tensor[37, 41], tensor[37, 40], tensor[0, 41]) == (7, 0, 0)
    y = tersely.linear(x, tensor, scale=0.5, zero_point=3)
    assert same_bits(y, tersely.linear(x, tersely.encode(array, "dense"), scale=0.5, zero_point=3))
    assert np.allclose(tersely.linear_transposed(x[:, :48], tensor, scale=0.5), x[:, :48] @ (array * 0.5))


@pytest.mark.parametrize("dtype", BYTES, ids=str)
def test_nothing_is_left(dtype: np.dtype, rng: np.random.Generator) -> None:
    """Blocks know a matrix of zeros; a submatrix of nothing is none. Neither minds that there are no weights at all."""
    array, x = np.zeros((40, 72), dtype), rng.standard_normal((2, 72)).astype(np.float32)
    for block in ("row", "16x1", "chunk"):
        tensor = tersely.encode(array, "block_sparse", block=block)
        assert not tensor.decode().any()
        y = tersely.linear(x, tensor, scale=2.0, zero_point=5)
        assert same_bits(y, tersely.linear(x, tersely.encode(array, "dense"), scale=2.0, zero_point=5))
    with pytest.raises(ArgumentError, match="submatrix needs a matrix"):
        tersely.encode(array, "submatrix")
    for shape in ((0,), (0, 8), (8, 0), (2, 0, 3)):
        tensor = tersely.encode(np.zeros(shape, dtype), "block_sparse")
        assert same_bits(tensor.decode(), np.zeros(shape, dtype))
        assert registry.BY_NAME["submatrix"].candidates(Request(np.zeros(shape, np.uint8), str(dtype))) == []


def chosen(array: np.ndarray, objective: str, **options: Any) -> str:
    tensor = tersely.encode(array, objective=objective, **options)
    kept = tensor.encoded.node.children.get("kept")
    return tensor.formulation if kept is None else f"{tensor.formulation} {kept.formulation}"


def test_what_is_planned(rng: np.random.Generator) -> None:
    """Where codes are faster they are chosen for speed; where they only save bytes, for size alone."""
    dense = np.clip(np.rint(rng.standard_normal((512, 1024)) * 30), -127, 127).astype(np.int8)
    rows, columns = dense.copy(), dense.copy()
    rows[rng.random(512) < 0.5] = 0
    columns[:, rng.random(1024) < 0.5] = 0
    for profile in ("avx2", "avx512"):
        for array in (rows, columns):
            found = {name: chosen(array, name, profile=profile) for name in choose.OBJECTIVES}
            assert found == {"size": "submatrix integer", "speed": "submatrix dense", "balanced": "submatrix dense"}
        for empty, expected in ((0.9, "block_sparse"), (0.5, "dense" if profile == "avx2" else "sparse")):
            mask = np.kron(rng.random((32, 256)) >= empty, np.ones((16, 4), bool))
            blocks = np.where(mask, dense, 0).astype(np.int8)
            assert {chosen(blocks, name, profile=profile) for name in ("speed", "balanced")} == {expected}
            assert chosen(blocks, "size", profile=profile) == "block_sparse"
        assert chosen(dense, "balanced", profile=profile) == "dense"


def test_pairs_and_16_bits_are_left_out_for_size_alone(rng: np.random.Generator) -> None:
    """No kernel multiplies them as they would lie here."""
    wide = rng.integers(-3000, 3000, (256, 512)).astype(np.int16)
    wide[::2] = 0
    assert chosen(wide, "size").startswith("submatrix")
    assert chosen(wide, "balanced") == "dense"
    pairs = wide.view(np.uint8)
    request = Request(pairs, "uint8", int4_columns=2 * pairs.shape[1])
    offered = registry.BY_NAME["submatrix"].candidates
    assert offered(request) == []
    assert offered(dataclasses.replace(request, objective="size"))
    assert offered(dataclasses.replace(request, int4_columns=None))


def test_only_zeros_are_empty(rng: np.random.Generator) -> None:
    """Not a zero point of 128, which quantising leaves of pruned channels in uint8."""
    array = rng.integers(0, 256, (256, 512)).astype(np.uint8)
    array[::2] = 128
    for name in ("submatrix", "block_sparse"):
        assert registry.BY_NAME[name].candidates(Request(array, "uint8")) == []


def test_blocks_that_are_many_are_slower_than_dense_ones(rng: np.random.Generator) -> None:
    dense = rng.integers(1, 100, (256, 512)).astype(np.int8)
    for empty, slower in ((0.9, False), (0.4, True)):
        mask = np.kron(rng.random((16, 128)) >= empty, np.ones((16, 4), bool))
        checked = tersely.encode(np.where(mask, dense, 0).astype(np.int8), "block_sparse").checked
        assert checked.row.slower_than_dense(checked.root, "avx2") is slower


def test_bad_files(rng: np.random.Generator) -> None:
    array = rng.integers(1, 100, (64, 96)).astype(np.uint8)
    array[::2] = 0
    encoded = tersely.encode(array, "submatrix", kept="dense").encoded

    def keeping(child: Node, dtype: str = "uint8") -> Encoded:
        node = dataclasses.replace(encoded.node, children={"kept": child})
        return dataclasses.replace(encoded, node=node, dtype=dtype)

    for bad, message in (
        (keeping(Node("split", 1)), "kept of submatrix of uint8 under formulation 'split'"),
        (keeping(Node("sparse", 1), "int16"), "kept of submatrix of int16 under formulation 'sparse'"),
        (keeping(Node("dense", 1), "float16"), "kept of submatrix of float16 under formulation 'dense'"),
        (keeping(Node("integer", 1, {}, {"nibbles": Node("integer", 1)})), "no pairs"),
        (keeping(Node("dense", 1, {"bits": 3})), "dense has no parameters"),
    ):
        with pytest.raises(UnsupportedError, match=message):
            Tensor(bad)


def test_every_code_of_integers_may_be_inside() -> None:
    found = {row.NAME for row in registry.ROWS if "int8" in row.DTYPES}
    assert {row.NAME for row in KEPT_INTEGERS} == found - {"submatrix"}
