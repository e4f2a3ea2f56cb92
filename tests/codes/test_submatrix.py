"""`submatrix`: every inner formulation against the oracle, products against float64, what is offered, bad files."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arrays import DTYPES, needs_native, normal, random_bits, same_bits
from support.products import check_batches

import tersely
from tersely.codes import registry
from tersely.codes.protocol import Request
from tersely.codes.selection.submatrix import reference
from tersely.codes.selection.submatrix.formulation import KEPT_ROWS
from tersely.core.encoded import Encoded, Node
from tersely.core.errors import ArgumentError, CorruptError, UnsupportedError
from tersely.core.geometry import Geometry
from tersely.planner import choose
from tersely.planner.cost_model import predict_ns
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.kernels

FLOATS = DTYPES[:3]
KEPT: dict[str, dict[str, Any]] = {
    "split": {},
    "split packed": {"code": "packed"},
    "sparse": {"positions": "bitmap"},
    "sparse gaps": {"positions": "gaps"},
    "sparse coded": {"positions": "bitmap", "values": "split", "code": "layered", "widths": (3,)},
    "blocks": {},
    "block_sparse": {},
    "palette": {},
    "row_palette": {},
    "affine": {},
}


def holed(rng: np.random.Generator, array: np.ndarray, rows: float, columns: float, axis: int = 1) -> np.ndarray:
    """The same with such shares of its rows (the first dimension) and of the places of another one empty."""
    array = array.copy()
    array[rng.random(len(array)) < rows] = 0
    array[(slice(None),) * axis + (rng.random(array.shape[axis]) < columns,)] = 0
    return array


def coded(array: np.ndarray, kept: str, orientation: str = "out_in") -> Tensor:
    options = {"kept": kept.split()[0], **KEPT[kept]}
    return tersely.encode(array, formulation="submatrix", orientation=orientation, **options)


@given(
    st.sampled_from(FLOATS),
    st.sampled_from(((16, 4), (33, 70), (64, 100), (40, 16, 3, 3), (257, 20))),
    st.sampled_from((0.0, 0.3, 0.9, 1.0)),
    st.sampled_from((0.0, 0.3, 0.95)),
    st.sampled_from(("out_in", "in_out")),
    st.integers(0, 2**32 - 1),
)
def test_whatever_the_bits(
    dtype: np.dtype, shape: tuple[int, ...], rows: float, columns: float, orientation: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    array = holed(rng, random_bits(rng, shape, dtype), rows, columns)
    orientation = orientation if len(shape) == 2 else "out_in"
    try:
        tensor = tersely.encode(array, formulation="submatrix", orientation=orientation)
    except ArgumentError:
        geometry = choose.choose(shape, orientation)
        assert geometry.view == "folded" or not array.view(f"<u{dtype.itemsize}").any()
        return
    assert same_bits(tensor.decode(), array)
    first, last = sorted(rng.integers(0, shape[0] + 1, 2))
    assert same_bits(tensor.rows(int(first), int(last)), array[first:last])


def test_what_the_first_lines_do_not_have_is_found_behind_them(rng: np.random.Generator) -> None:
    """Whether a line is empty is looked at in two steps where most are not."""
    array = normal(rng, (256, 320), FLOATS[0])
    array[::4] = 0
    array[1::16, :300] = 0
    array[:200, 5::16] = 0
    tensor = tersely.encode(array, formulation="submatrix")
    assert (tensor.parameters["rows"], tensor.parameters["columns"]) == (192, 320)
    assert same_bits(tensor.decode(), array)


def test_negative_zero_is_a_word_like_any_other(rng: np.random.Generator) -> None:
    array = np.zeros((64, 64), np.float32)
    array[:32, :32] = normal(rng, (32, 32), FLOATS[0])
    array[40, 50] = -0.0
    tensor = tersely.encode(array, formulation="submatrix")
    assert (tensor.parameters["rows"], tensor.parameters["columns"]) >= (33, 33)
    assert same_bits(tensor.decode(), array)


@needs_native
def test_only_rows_or_only_columns_are_empty(each_isa: str, rng: np.random.Generator) -> None:
    for dtype in FLOATS:
        for rows, columns in ((0.5, 0.0), (0.0, 0.5)):
            array = holed(rng, normal(rng, (96, 128), dtype), rows, columns)
            tensor = tersely.encode(array, formulation="submatrix")
            bias = rng.standard_normal(96).astype(np.float32)
            check_batches(tensor, array, bias, np.dtype(np.float32), (1, 4, 17), rng)


def test_an_empty_row_gives_its_bias_and_nothing_else(rng: np.random.Generator) -> None:
    for dtype in FLOATS:
        array = normal(rng, (64, 32), dtype)
        array[::2] = 0
        x, bias = normal(rng, (5, 32), dtype), rng.standard_normal(64).astype(np.float32)
        y = tersely.linear(x, tersely.encode(array, formulation="submatrix"), bias)
        assert same_bits(y[:, ::2], np.broadcast_to(bias[::2].astype(dtype), (5, 32)))
        without = tersely.linear(x, tersely.encode(array, formulation="submatrix"))
        assert same_bits(without[:, ::2], np.zeros((5, 32), dtype))


def chosen(array: np.ndarray, objective: str, **options: Any) -> str:
    tensor = tersely.encode(array, objective=objective, **options)
    found = tensor.formulation
    return f"{found} {tensor.encoded.node.children['kept'].formulation}" if found == "submatrix" else found


def test_structured_pruning_is_what_it_is_planned_for(rng: np.random.Generator) -> None:
    dense = normal(rng, (512, 768), FLOATS[1])
    channels = dense.copy()
    channels[::2] = channels[:, ::4] = 0
    for objective in choose.OBJECTIVES:
        assert chosen(channels, objective) == "submatrix split"
    both = np.where(rng.random(dense.shape) < 0.8, np.zeros((), dense.dtype), channels)
    assert chosen(both, "size") == "submatrix sparse"
    shared = holed(rng, (rng.integers(1, 14, dense.shape) * 0.01 - 0.061).astype(np.float32), 0.5, 0.5)
    assert chosen(shared, "size") == "submatrix palette"
    filters = normal(rng, (128, 64, 3, 3), FLOATS[0])
    filters[::2] = filters[:, ::2] = 0
    assert chosen(filters, "size") == "submatrix split"


def test_it_is_not_offered_where_it_wins_nothing(rng: np.random.Generator) -> None:
    offered = registry.BY_NAME["submatrix"].candidates
    dense = normal(rng, (512, 768), FLOATS[1])
    few = dense.copy()
    few[:5] = 0
    unstructured = np.where(rng.random(dense.shape) < 0.9, np.zeros((), dense.dtype), dense)
    for array in (dense, few, unstructured, np.zeros_like(dense), dense[:1]):
        words = np.ascontiguousarray(array).view("<u2")
        assert offered(Request(words, "bfloat16")) == []


def test_its_time_is_that_of_what_is_kept(rng: np.random.Generator) -> None:
    array = holed(rng, normal(rng, (512, 768), FLOATS[1]), 0.5, 0.25)
    request = Request(array.view("<u2"), "bfloat16")
    for one in registry.BY_NAME["submatrix"].candidates(request):
        assert one.inner is not None
        for profile in ("portable", "avx512"):
            own, kept = (predict_ns(form, "bfloat16", profile) for form in (one, one.inner))
            assert kept < own < kept + 2000
        tensor = Tensor(choose.encoded(one, array.shape, "bfloat16", "portable", 1))
        work = registry.work(tensor.encoded)
        assert work is not None
        assert predict_ns(work, "bfloat16", "portable") == pytest.approx(
            predict_ns(one, "bfloat16", "portable"), rel=0.02
        )


def test_arguments(rng: np.random.Generator) -> None:
    array = holed(rng, normal(rng, (64, 64), FLOATS[0]), 0.5, 0)
    for options, message in (
        ({"kept": "integer"}, "unknown kept 'integer'"),
        ({"kept": 3}, "unknown kept 3"),
        ({"kept": "palette"}, "distinct"),
        ({"code": "packed", "bits": 9}, "bits"),
        ({"shape": 1}, "shape"),
    ):
        with pytest.raises(ArgumentError, match=message):
            tersely.encode(array, formulation="submatrix", **options)
    for other in (array[:8], array[0], np.zeros_like(array), array.reshape(1, 64, 64)):
        with pytest.raises(ArgumentError, match="submatrix needs a matrix"):
            tersely.encode(np.ascontiguousarray(other), formulation="submatrix")
    with pytest.raises(ArgumentError, match="float32, bfloat16, float16, int8, uint8, int16, uint16"):
        tersely.encode(np.ones((64, 64), np.int32), formulation="submatrix")
    for options, message in (({"kept": "split"}, "unknown kept 'split'"), ({"kept": "dense", "bits": 1}, "'bits'")):
        with pytest.raises(ArgumentError, match=message):
            tersely.encode(np.eye(64, dtype=np.int8), formulation="submatrix", **options)


def changed(encoded: Encoded, name: str, at: int, value: int) -> Encoded:
    component = encoded.components[name].copy()
    component[at] ^= value
    return dataclasses.replace(encoded, components={**encoded.components, name: component})


def test_bad_files(rng: np.random.Generator) -> None:
    encoded = tersely.encode(holed(rng, normal(rng, (62, 100), FLOATS[0]), 0.5, 0.5), formulation="submatrix").encoded
    node = encoded.node
    child = node.children["kept"]

    def with_node(**parts: Any) -> Encoded:
        return dataclasses.replace(encoded, node=dataclasses.replace(node, **parts))

    def without(name: str) -> Encoded:
        return dataclasses.replace(encoded, components={k: v for k, v in encoded.components.items() if k != name})

    corrupt = (
        (changed(encoded, "rows", 3, 1), "rows", "are kept where the description has"),
        (changed(encoded, "columns", 0, 1), "columns", "are kept where the description has"),
        (changed(encoded, "rows", 7, 0x40), "rows", "beyond the last place"),
        (changed(encoded, "columns", 63, 0x80), "columns", "beyond the last place"),
        (without("rows"), "rows", "missing"),
        (without("kept.tiles"), "kept.tiles", "missing"),
        (
            dataclasses.replace(encoded, components={**encoded.components, "x": np.zeros(64, np.uint8)}),
            "x",
            "does not have",
        ),
        (changed(encoded, "kept.directory", 0, 1), "kept.directory", "not zero"),
        (dataclasses.replace(encoded, view="folded"), "info", "seen as 'folded'"),
        (
            dataclasses.replace(encoded, shape=(62, 20, 5), view="convolution", column_order="tap_channel"),
            "info",
            "not in order 'tap_channel'",
        ),
    )
    for bad, component, message in corrupt:
        with pytest.raises(CorruptError, match=message) as caught:
            registry.check(bad)
        assert caught.value.component == component
    unknown = (
        with_node(version=2),
        with_node(parameters={**node.parameters, "more": 1}),
        with_node(parameters={"rows": 0, "columns": 5}),
        with_node(parameters={"rows": "5", "columns": 5}),
        with_node(parameters={"rows": True, "columns": 5}),
        with_node(children={}),
        with_node(children={"kept": child, "more": child}),
        with_node(children={"kept": Node("dense", 1)}),
        with_node(children={"kept": node}),
        with_node(children={"kept": dataclasses.replace(child, version=9)}),
    )
    for bad in unknown:
        with pytest.raises((UnsupportedError, CorruptError)):
            registry.check(bad)


def test_what_the_oracle_takes_out_it_puts_back(rng: np.random.Generator) -> None:
    words = holed(rng, rng.integers(1, 9, (40, 24)), 0.5, 0.5).astype(np.uint32)
    for orientation in ("out_in", "in_out"):
        geometry = Geometry(words.shape, "matrix", orientation)
        matrix = reference.matrix_of(words, geometry)
        rows, columns = reference.alive(matrix)
        kept = reference.take(matrix, rows, columns)
        places = [reference.kept_numbers(reference.bitmap(one), one.size) for one in (rows, columns)]
        assert kept.all(axis=1).size == rows.sum()
        assert np.array_equal(reference.put(kept, *places, geometry), words)


def test_everything_with_products_of_its_own_may_be_inside() -> None:
    floats = {row.NAME for row in registry.ROWS if "float32" in row.DTYPES}
    assert {row.NAME for row in KEPT_ROWS} == floats - {
        "dense",
        "submatrix",
        "signed_zeros",
    }  # which holds a submatrix itself
