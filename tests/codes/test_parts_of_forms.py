"""Parts and joins of `sparse`, `integer`, `blocks`, `block_sparse`, `affine`, `row_palette` and grids of `palette` by their stored bytes, in every form of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support import sparse_forms
from support.arrays import DTYPES, same_bits
from support.references import join, take

import tersely
from tersely.codes import registry
from tersely.codes.selection.blocks import formulation as blocks
from tersely.codes.selection.blocks.layout import SHAPES as BLOCKS
from tersely.core.encoded import Encoded
from tersely.planner import choose
from tersely.tensors.tensor import Tensor

SHAPES = {
    "stack": (4, 80, 80),
    "panels in a segment": (700, 132),
    "segments in a panel": (80, 4132),
    "convolution": (160, 32, 3, 3),
}
VIEWS = {shape: view for view, shape in SHAPES.items()}
TABLES = 1100
"""Bytes that parts have again: a table of 256 words of float32, and what rounding to 64 bytes adds."""
SLACK = 128
"""Bytes of a component beyond the used ones."""
Maker = Callable[[np.random.Generator, tuple[int, ...], str], np.ndarray]


def step(encoded: Encoded) -> int:
    checked = registry.check(encoded)
    return checked.row.step(checked.root)


def pruned(form: str) -> Maker:
    def make(rng: np.random.Generator, shape: tuple[int, ...], orientation: str) -> np.ndarray:
        dtype = {"convolution": DTYPES[0], "segments in a panel": DTYPES[2]}.get(VIEWS[shape], DTYPES[1])
        values = (rng.standard_normal(shape) * (rng.random(shape) < 0.2)).astype(dtype)
        return sparse_forms.fit(values, form, orientation)

    return make


def blocky(rng: np.random.Generator, shape: tuple[int, ...], orientation: str) -> np.ndarray:
    """Rows, columns and chunks that are empty, and rows that others repeat."""
    values = rng.integers(1, 4, (shape[0], int(np.prod(shape[1:-1], dtype=int)), shape[-1])).astype(DTYPES[0])
    values[:, :, rng.random(shape[-1]) < 0.5] = 0
    values = values.reshape(-1, shape[-1])
    values[rng.random(len(values)) < 0.4] = 0
    values[rng.random(len(values)) < 0.3] = values[-1]
    return values.reshape(shape)


def whole(rng: np.random.Generator, shape: tuple[int, ...], orientation: str) -> np.ndarray:
    """Integers, those of some rows in a wider range, with outliers."""
    spread = np.where(np.arange(shape[-2]) % 32 < 16, 3, 20)[:, None]
    values = np.rint(rng.standard_normal(shape) * spread)
    return np.where(rng.random(shape) < 0.01, 100, values).astype(np.int8)


def holed(rng: np.random.Generator, shape: tuple[int, ...], orientation: str) -> np.ndarray:
    return np.where(rng.random(shape) < 0.2, whole(rng, shape, orientation), 0).astype(np.int8)


def blocky_integers(rng: np.random.Generator, shape: tuple[int, ...], orientation: str) -> np.ndarray:
    return np.where(blocky(rng, shape, orientation) == 0, 0, whole(rng, shape, orientation)).astype(np.int8)


def nibbles(rng: np.random.Generator, shape: tuple[int, ...], orientation: str) -> np.ndarray:
    low, high = (np.clip(np.rint(rng.standard_normal(shape) * 2 + 8), 0, 15).astype(np.uint8) for _ in range(2))
    return low | high << np.uint8(4)


def grid(rng: np.random.Generator, shape: tuple[int, ...], orientation: str) -> np.ndarray:
    return np.rint(rng.standard_normal(shape) * 9).astype(np.float32) * np.float32(0.01) + np.float32(0)


def scaled(columns: int) -> Maker:
    def make(rng: np.random.Generator, shape: tuple[int, ...], orientation: str) -> np.ndarray:
        """Scales of their own for all columns of a row, or so many; zeros of either sign."""
        numbers = np.clip(np.rint(rng.standard_normal(shape) * 2), -7, 7)
        places = np.indices(shape)
        row, column = (places[0], places[0]) if len(shape) == 4 else (places[-2], places[-1])
        if orientation == "in_out":
            row, column = column, row
        scales = 1 + (row * 7 + (column // columns if columns else 0) * 3) % 11
        return numbers.astype(np.float32) * (scales * 0.01).astype(np.float32)

    return make


def shared(columns: int) -> Maker:
    def make(rng: np.random.Generator, shape: tuple[int, ...], orientation: str) -> np.ndarray:
        """Four words for all columns of a row, or so many."""
        places = np.indices(shape)
        row, column = (places[0], places[0]) if len(shape) == 4 else (places[-2], places[-1])
        if orientation == "in_out":
            row, column = column, row
        return np.sin(1 + row * 7 + (column // columns if columns else 0) * 3 + rng.integers(4, size=shape) * 0.1)

    return lambda *given: make(*given).astype(np.float32)


FORMS: dict[str, tuple[dict[str, Any], Maker]] = {
    **{
        f"sparse {name}": ({"formulation": "sparse", **form}, pruned(name)) for name, form in sparse_forms.FORMS.items()
    },
    **{
        f"sparse {name}": ({"formulation": "sparse", **form}, holed)
        for name, form in sparse_forms.WHOLE_FORMS.items()
        if "values" not in form or "bit_layout" in form  # else the code is the smallest of each part
    },
    **{f"blocks {shape}": ({"formulation": "blocks", "block": shape}, blocky) for shape in BLOCKS},
    **{
        f"block_sparse {shape}": ({"formulation": "block_sparse", "block": shape}, blocky)
        for shape in ("row", "16x1", "chunk")
    },
    **{
        f"block_sparse {shape} of int8": ({"formulation": "block_sparse", "block": shape}, blocky_integers)
        for shape in ("row", "16x1", "chunk")
    },
    "integer fields": ({"formulation": "integer"}, whole),
    "integer distances": ({"formulation": "integer", "code": "distances"}, whole),
    "palette grid": ({"formulation": "palette", "code": "grid"}, grid),
    "affine": ({"formulation": "affine"}, scaled(0)),
    "affine groups": ({"formulation": "affine", "columns": 16}, scaled(16)),
    "affine coded": ({"formulation": "affine", "code": "layered", "widths": (2, 2)}, scaled(0)),
    "row_palette": ({"formulation": "row_palette"}, shared(0)),
    "row_palette groups": ({"formulation": "row_palette", "columns": 16}, shared(16)),
    "row_palette coded": ({"formulation": "row_palette", "code": "layered", "widths": (2, 2)}, shared(0)),
    "integer nibbles": ({"formulation": "integer", "code": "nibbles"}, nibbles),
    "integer nibbles as fields": ({"formulation": "integer", "code": "nibble_fields", "signed": False}, nibbles),
}
each_form = pytest.mark.parametrize("form", FORMS)
ALONE = (
    "sparse bitmap",
    "sparse gaps",
    "sparse whole_bitmap",
    "sparse whole_gaps",
    "sparse 2:4",
    "sparse 4:8",
    "integer fields",
    "blocks",
    "block_sparse",
)
"""Forms without anything that is chosen for a whole tensor: a part is, byte for byte, what coding it gives."""


def coded(form: str, shape: tuple[int, ...], orientation: str = "out_in") -> tuple[np.ndarray, Encoded]:
    options, make = FORMS[form]
    array = make(np.random.default_rng(7), shape, orientation)
    if form.startswith("integer nibbles"):
        options = options | {"int4_columns": 2 * shape[-1]}
    return array, choose.encode(array, orientation=orientation, **options)


def check(found: Encoded | None, array: np.ndarray, form: str) -> Tensor:
    assert found is not None
    tensor = Tensor(found)  # validates
    array = np.ascontiguousarray(array)
    assert same_bits(tensor.decode(), array)
    if form in ALONE or form.split()[0] in ALONE:
        again = choose.encode(array, orientation=found.orientation, **FORMS[form][0])
        assert (again.node, again.view) == (found.node, found.view)
        assert {name: data.tobytes() for name, data in again.components.items()} == {
            name: data.tobytes() for name, data in found.components.items()
        }
    return tensor


def take_no_more(found: list[Encoded | None], of: Encoded) -> bool:
    """Whether all parts together take the bytes of the whole. Not so for dictionaries, whose blocks several parts use."""
    together = sum(part.nbytes_stored for part in found if part is not None)
    shelf = 16 * of.shape[-1] * 4 if of.node.parameters.get("block") == "row" else 0  # rows lie in groups of 16
    most = of.nbytes_stored + len(found) * (TABLES + SLACK * len(of.components) + shelf)
    return together <= most or of.node.formulation == "blocks"


@pytest.mark.parametrize("orientation", ["out_in", "in_out"])
@each_form
def test_matrices_of_stacks(form: str, orientation: str) -> None:
    if form.startswith("integer nibbles") and orientation == "in_out":
        pytest.skip("bytes of two values are seen by rows only")
    array, of = coded(form, SHAPES["stack"], orientation)
    assert of.view == "stack"
    for first, last in ((0, 4), (1, 3), (3, 4)):
        check(take(of, first, last), array[first:last], form)
    taken = {k: take(of, k, k + 1, squeezed=True) for k in range(4)}
    for k, one in taken.items():
        check(one, array[k], form)
    assert take_no_more(list(taken.values()), of)
    joined = join("stack", 0, [taken[3], taken[0], taken[0]])
    longer = join("cat", 0, [take(of, 2, 4), take(of, 0, 1)])
    if form.startswith("blocks"):
        assert joined is None or longer is None  # dictionaries are not compared
    else:
        check(joined, array[[3, 0, 0]], form)
        check(longer, array[[2, 3, 0]], form)


@pytest.mark.parametrize("view", ["panels in a segment", "segments in a panel", "convolution"])
@each_form
def test_rows(form: str, view: str) -> None:
    if form.startswith("integer nibbles") and view == "convolution":
        pytest.skip("bytes of two values are no convolutions")
    array, of = coded(form, SHAPES[view])
    assert of.view == ("convolution" if view == "convolution" else "matrix")
    unit = step(of) * 16
    rows = len(array)
    if form.startswith("sparse gaps"):
        assert unit == 256
    for first, last in ((unit, 2 * unit), (unit, rows), (0, rows), (0, unit)):
        if first < last <= rows:
            check(take(of, first, last), array[first:last], form)
    for first, last in ((1, rows), (0, unit - 1), (unit // 2, rows)):
        if first < last < rows or (first % unit and last == rows):
            assert take(of, first, last) is None
    if rows > unit:
        assert take_no_more([take(of, 0, unit), take(of, unit, rows)], of)
    if rows > unit and view != "convolution" and not form.startswith("blocks"):
        head, tail = take(of, 0, unit), take(of, unit, rows)
        order = [*range(unit), *range(unit), *range(unit, rows)]
        check(join("cat", 0, [head, head, tail]), array[order], form)


@each_form
def test_products_of_parts_are_parts_of_products(form: str, each_isa: str) -> None:
    array, of = coded(form, SHAPES["panels in a segment"])
    unit = step(of) * 16
    x = np.random.default_rng(8).standard_normal((3, array.shape[1])).astype(np.float32)
    expected = tersely.linear(x, Tensor(of))[:, unit : 2 * unit]
    found = take(of, unit, 2 * unit)
    assert found is not None
    assert np.array_equal(tersely.linear(x, Tensor(found)), expected)


@each_form
def test_without_the_native_module(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    array, of = coded(form, SHAPES["stack"])
    monkeypatch.setattr(tersely.backends.cpu.native, "module", None)
    check(take(of, 1, 3), array[1:3], form)


def test_blocks_that_a_part_does_not_use_are_left_out() -> None:
    array = np.arange(4 * 64 * 64).reshape(4, 64, 64).astype(np.float32)
    of = choose.encode(array, formulation="blocks", block="row")
    one = take(of, 2, 3, squeezed=True)
    assert one is not None
    assert (of.node.parameters["count"], one.node.parameters["count"]) == (256, 64)


@pytest.mark.parametrize("block", BLOCKS)
def test_indices_that_are_unpacked_a_few_at_a_time(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_STEP", 24)
    array, of = coded(f"blocks {block}", SHAPES["panels in a segment"])
    check(take(of, 16, 96), array[16:96], f"blocks {block}")
