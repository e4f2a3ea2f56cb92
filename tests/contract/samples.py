"""What the contract is held to: for every code of the registry its forms, and for each form arrays that it codes.

A code that is added needs rows here, and nothing else in this folder: `test_every_code_has_samples` says which are missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from contract import makers
from contract.makers import Maker
from support.arrays import DTYPES
from support.sparse_forms import FORMS as SPARSE
from support.sparse_forms import WHOLE_FORMS as SPARSE_INTEGERS

from tersely.codes import registry
from tersely.core import geometry
from tersely.core.dtypes import by_name
from tersely.core.encoded import Encoded
from tersely.planner import choose

FLOATS = DTYPES[:3]
BYTES = (np.dtype(np.int8), np.dtype(np.uint8))
PAIRS = (np.dtype(np.int16), np.dtype(np.uint16))
SHAPES = ((48, 100), (17, 2300), (3, 40, 33), (32, 32, 3, 3), (20, 6, 5, 5), (7,), (), (100, 2051), (300, 40), (16, 4))
"""Panels and segments that are full and not, stacks, convolutions of two column orders, what is folded, what is small."""
MATRICES = ((48, 101), (32, 2304), (304, 48), (16, 4100), (3, 48, 64), (32, 32, 3, 3), (64, 20, 1, 1))
"""Without what is folded, which some codes do not take."""
PRODUCTS = ((48, 100), (64, 4100), (300, 30), (17, 2051))


@dataclass(frozen=True)
class Sample:
    """A form of a code.

    options: what `encode` is given. bits: with any words, in so many kinds; weights: finite, likewise. trusted: ends of the
    names of components that are checked when a file is opened, and so are no payload. products: 'words' where
    products have the bound of float32 sums, 'numbers' where they have that of `palette` grids.
    """

    code: str
    name: str
    options: Mapping[str, Any]
    dtypes: tuple[np.dtype, ...]
    bits: Maker
    weights: Maker
    kinds: int = 1
    weight_kinds: int = 1
    shapes: tuple[tuple[int, ...], ...] = SHAPES
    products: str = "words"
    trusted: tuple[str, ...] = ("directory",)
    turns: bool = True

    folds: bool = True

    @property
    def in_one_matrix(self) -> bool:
        """Whether it holds a part of one matrix, and so needs rows and columns that are empty, and no stack."""
        return "submatrix" in (self.code, self.options.get("clean"))

    def orientations(self, shape: tuple[int, ...]) -> tuple[str, ...]:
        """In which a shape is coded differently; of forms that take no folded tensors, without those."""
        both = ("out_in", "in_out") if self.turns and len(shape) in (2, 3) else ("out_in",)
        return both if self.folds else tuple(one for one in both if geometry.choose(shape, one).view != "folded")

    def encode(self, array: np.ndarray, orientation: str = "out_in", threads: int | None = None) -> Encoded:
        return choose.encode(
            array, formulation=self.code, orientation=orientation, threads=threads, **self.options_for(array)
        )

    def options_for(self, array: np.ndarray) -> dict[str, Any]:
        pairs = (
            {"int4_columns": 2 * array.shape[-1]} if array.ndim and "nibble" in str(self.options.get("code")) else {}
        )
        return {**self.options, **pairs}

    def is_payload(self, component: str) -> bool:
        return component.rpartition(".")[2] not in self.trusted


def _split() -> Iterator[Sample]:
    for name, options, dtypes in (
        ("packed", {"code": "packed", "bits": 4}, DTYPES),
        ("layered 3", {"code": "layered", "widths": (3,)}, DTYPES),
        ("layered 2 2 2", {"code": "layered", "widths": (2, 2, 2)}, DTYPES),
        ("layered 1 2", {"code": "layered", "widths": (1, 2)}, DTYPES),
        ("layered 2 1 3", {"code": "layered", "widths": (2, 1, 3)}, DTYPES),
        ("layered 1 x 6", {"code": "layered", "widths": (1, 1, 1, 1, 1, 1)}, DTYPES),
    ):
        yield Sample("split", name, options, dtypes, makers.exponents, makers.drawn, 6)


def _sparse() -> Iterator[Sample]:
    for name, options in (SPARSE | SPARSE_INTEGERS).items():
        dtypes = BYTES if name in SPARSE_INTEGERS else FLOATS
        yield Sample(
            "sparse",
            name,
            options,
            dtypes,
            makers.pruned_bits(name),
            makers.pruned_weights(name),
            5,
            3,
            trusted=("directory", "rows"),
        )


def _integer() -> Iterator[Sample]:
    fields = Sample(
        "integer", "fields", {}, BYTES, makers.integers, makers.integers, 6, 4, trusted=("directory", "groups")
    )
    yield fields
    yield Sample(**{**vars(fields), "name": "fields of 4 bits", "options": {"bits": 4}})
    yield Sample(**{**vars(fields), "name": "fields, smallest", "options": {"objective": "size"}})
    for bit_layout in ("index", "float8_e5m2", "float8_e4m3fn", "bfloat16", "float16"):
        options = {"code": "distances", "bit_layout": bit_layout}
        if "16" in bit_layout:
            yield Sample("integer", f"distances {bit_layout}", options, PAIRS, makers.integers, makers.integers, 6, 4)
            continue
        yield Sample("integer", f"distances {bit_layout}", options, BYTES, makers.integers, makers.integers, 6, 4)
        yield Sample(
            "integer", f"narrow distances {bit_layout}", options, PAIRS, makers.near_integers, makers.near_integers, 2
        )
    pairs = Sample("integer", "nibbles", {"code": "nibbles"}, BYTES[1:], makers.nibbles, makers.nibbles, 2)
    shapes = ((48, 100), (17, 2300), (3, 40, 33), (8, 4, 3, 3), (7,), (300, 40), (1, 1))
    pairs = Sample(**{**vars(pairs), "shapes": shapes, "products": "none", "trusted": ("directory", "groups")})
    yield pairs
    for own in ({}, {"bits": 3}, {"bits": 0}, {"signed": True}, {"signed": False}, {"smallest": True}):
        name = " ".join(["nibble fields", *(f"{key} {value}" for key, value in own.items())])
        yield Sample(**{**vars(pairs), "name": name, "options": {"code": "nibble_fields", **own}})


def _palette() -> Iterator[Sample]:
    for options in (
        {},
        {"code": "packed"},
        {"code": "layered", "widths": (2, 2)},
        {"code": "layered", "widths": (1, 3, 1)},
    ):
        name = " ".join(map(str, (options.get("code", "fixed"), *options.get("widths", ()))))
        yield Sample("palette", name, options, FLOATS, makers.few_bits, makers.few_weights, 10, 10)
    yield Sample(
        "palette",
        "grid",
        {"code": "grid"},
        FLOATS,
        makers.grid,
        makers.grid,
        10,
        5,
        products="numbers",
        trusted=("directory", "groups", "table"),
    )


def _by_rows() -> Iterator[Sample]:
    codes = {"": {}, "packed": {"code": "packed"}, "layered 2 1": {"code": "layered", "widths": (2, 1)}}
    for name, options in codes.items():
        for code, make, kinds in (("affine", makers.scaled(0), 5), ("row_palette", makers.tables(0), 6)):
            trusted = ("directory", "scales", "zeros")
            yield Sample(
                code,
                f"rows {name}".strip(),
                options,
                FLOATS,
                make,
                make,
                kinds,
                kinds,
                MATRICES,
                trusted=trusted,
                folds=False,
            )
    for columns in (16, 32):
        shapes = tuple(shape for shape in MATRICES if len(shape) < 4 and min(shape[-2:]) > columns)
        for code, make, kinds in (("affine", makers.scaled(columns), 4), ("row_palette", makers.tables(columns), 3)):
            yield Sample(
                code,
                f"groups of {columns}",
                {"columns": columns},
                FLOATS,
                make,
                make,
                kinds,
                kinds,
                shapes,
                trusted=("directory", "scales", "zeros"),
                folds=False,
            )


def _sparse_by_rows() -> Iterator[Sample]:
    """Numbers, and indices, under masks: signed bytes that kernels take as they lie, other zeros, groups, coded values."""
    matrices = tuple(shape for shape in MATRICES if len(shape) < 4 and min(shape[-2:]) > 16)
    for name, options, columns, shapes in (
        ("bitmap", {"positions": "bitmap"}, 0, MATRICES),
        ("elias_fano", {"positions": "elias_fano"}, 0, MATRICES),
        ("bitmap coded", {"positions": "bitmap", "values": "integer"}, 0, MATRICES),
        ("groups of 16", {"positions": "bitmap", "columns": 16}, 16, matrices),
    ):
        for code, child, maker in (
            ("affine", "numbers", makers.pruned_scales(columns)),
            ("row_palette", "indices", makers.pruned_tables(columns)),
        ):
            yield Sample(
                code,
                f"sparse {name}",
                {child: "sparse", **options},
                FLOATS,
                maker,
                maker,
                4,
                4,
                shapes,
                trusted=("directory", "scales", "zeros"),
                folds=False,
            )
    for name, options, columns, shapes in (
        ("gaps", {}, 0, MATRICES),
        ("gaps coded", {"values": "integer"}, 0, MATRICES),
        ("gaps by 16", {"columns": 16}, 16, matrices),
        ("gaps by 16 coded", {"columns": 16, "values": "integer"}, 16, matrices),
    ):
        yield Sample(
            "affine",
            name,
            {"numbers": "sparse", "positions": "gaps", **options},
            FLOATS,
            makers.pruned_bytes(columns),
            makers.pruned_bytes(columns),
            3,
            3,
            shapes,
            trusted=("directory", "rows", "scales"),
            folds=False,
        )


def _blocks() -> Iterator[Sample]:
    for block in ("row", "1x4", "1x8", "16x1", "chunk"):
        yield Sample("blocks", block, {"block": block}, FLOATS, makers.blocky, makers.blocky_weights, 3, 3)
    for block in ("row", "16x1", "chunk"):
        yield Sample(
            "block_sparse",
            block,
            {"block": block},
            (*FLOATS, *BYTES),
            makers.blocky,
            makers.blocky_weights,
            3,
            3,
            trusted=("directory", "masks"),
        )


def _submatrix() -> Iterator[Sample]:
    shapes = ((48, 96), (288, 192), (96, 2352), (48, 32, 3, 3), (48, 16, 5), (96, 32, 1, 1))
    for name, options in (
        ("split", {}),
        ("split packed", {"code": "packed"}),
        ("sparse", {"positions": "bitmap"}),
        ("sparse gaps", {"positions": "gaps"}),
        ("sparse coded", {"positions": "bitmap", "values": "split", "code": "layered", "widths": (3,)}),
        ("blocks", {}),
        ("block_sparse", {}),
        ("palette", {}),
        ("row_palette", {}),
        ("affine", {}),
    ):
        kept = name.split()[0]
        yield Sample(
            "submatrix",
            name,
            {"kept": kept, **options},
            FLOATS,
            makers.holed(kept),
            makers.holed(kept),
            2 if kept in ("split", "blocks", "block_sparse") else 1,
            shapes=shapes,
            trusted=("directory", "masks", "rows", "columns", "scales", "zeros"),
            folds=False,
        )


def _submatrix_of_integers() -> Iterator[Sample]:
    shapes = ((48, 96), (288, 192), (96, 2352), (48, 32, 3, 3), (48, 16, 5), (96, 32, 1, 1))
    for name, options, dtypes in (
        ("integer", {}, BYTES),
        ("integer distances", {"code": "distances"}, (*BYTES, *PAIRS)),
        ("dense", {}, (*BYTES, *PAIRS)),
        ("sparse", {"positions": "bitmap"}, BYTES),
        ("sparse gaps", {"positions": "gaps"}, BYTES),
        ("sparse coded", {"positions": "elias_fano", "values": "integer"}, BYTES),
        ("block_sparse", {"block": "16x1"}, BYTES),
    ):
        kept = name.split()[0]
        yield Sample(
            "submatrix",
            f"{name} of integers",
            {"kept": kept, **options},
            dtypes,
            makers.holed_integers(kept),
            makers.holed_integers(kept),
            3,
            3,
            shapes,
            trusted=("directory", "masks", "rows", "columns", "groups"),
            folds=False,
        )


def _signed_zeros(held: tuple[Sample, ...]) -> Iterator[Sample]:
    """What a form of each other code holds, with signs on half of its zeros, or on all of them."""
    first = {sample.code: sample for sample in reversed(held) if sample.dtypes[0] == FLOATS[0]}
    for code, clean in first.items():
        yield Sample(
            "signed_zeros",
            f"{code} {clean.name}",
            {"clean": code, **clean.options},
            FLOATS,
            makers.signed(clean.bits),
            makers.signed(clean.weights),
            clean.kinds,
            clean.weight_kinds,
            clean.shapes,
            trusted=clean.trusted,
            folds=clean.folds,
        )


def _dense() -> Iterator[Sample]:
    dtypes = tuple(dict.fromkeys(by_name(name).numpy for name in registry.BY_NAME["dense"].DTYPES))
    for dtype in dtypes:
        weights = makers.drawn if dtype in DTYPES else makers.integers if dtype in BYTES else makers.any_bits
        yield Sample("dense", "bytes", {}, (dtype,), makers.any_bits, weights, turns=False, trusted=("bytes",))


_HELD = (*_split(), *_sparse(), *_palette(), *_by_rows(), *_sparse_by_rows(), *_blocks(), *_submatrix())
SAMPLES = (*_dense(), *_HELD, *_integer(), *_submatrix_of_integers(), *_signed_zeros(_HELD))
CELLS = [
    pytest.param(
        sample,
        dtype,
        id=f"{sample.code} {sample.name}-{dtype}",
        marks=[pytest.mark.bfloat16_kernels]
        if sample.code == "split"
        else [],  # only split has kernels of its own there
    )
    for sample in SAMPLES
    for dtype in sample.dtypes
]
each_cell = pytest.mark.parametrize(("sample", "dtype"), CELLS)
each_coded_cell = pytest.mark.parametrize(
    ("sample", "dtype"), [cell for cell in CELLS if cell.values[0].code != "dense"]
)
