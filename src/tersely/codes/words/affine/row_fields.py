"""Row fields: numbers of a row's columns side by side, 64 bytes of a row at a time, which products go through as they are.

`affine` has its numbers so, `row_palette` its indices; both may also have them coded, as a child of bytes under `split`
whose symbol is the whole byte, or under `sparse` (`sparse_numbers`). Both have something for each row, or for each *group* of a row's columns: panel by panel,
group by group, 16 rows side by side.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from tersely.backends.cpu import native
from tersely.codes.checks import is_integer
from tersely.codes.machine import INDEX_CODE_NS, MULTIPLY_NS
from tersely.codes.node import INDEX, INFO, Formulation, Part, Run, Span
from tersely.codes.protocol import KernelKey, Request
from tersely.codes.selection.sparse.formulation import sparse
from tersely.codes.selection.sparse.layout import MASKS
from tersely.codes.words.affine.sparse_numbers import SPARSE, check_positions, is_sparse
from tersely.codes.words.split import codec as split_codec
from tersely.codes.words.split.formulation import split
from tersely.codes.words.split.layout import widths_of
from tersely.core.encoded import Node, stored, stream_bytes
from tersely.core.errors import ArgumentError, CorruptError
from tersely.core.geometry import PANEL_ROWS, SEGMENT_COLUMNS, Geometry

GROUP_COLUMNS = (1024, 512, 256, 128, 64, 32, 16)
"""Columns that a group may have where it has not all of its row: whole groups lie in a segment."""
assert all(SEGMENT_COLUMNS % columns == 0 for columns in GROUP_COLUMNS)
BITS = (1, 2, 4, 8)
"""Widths of a field."""
LINE_BYTES = 64
STEP_COLUMNS = 16
"""Neighbouring columns that one field of every dword of 64 bytes holds."""
CODES = ("lines", "packed", "layered", "constant")
"""What a caller may ask for: fields, or a code of `split`."""


class Grouping:
    """What the nodes of both have. columns: of a group, 0 for all of a row. bits: of fields, None where they are coded."""

    columns: int
    bits: int | None

    def groups(self, geometry: Geometry) -> int:
        """Groups of a row."""
        return 1 if self.columns == 0 else -(-geometry.columns // self.columns)

    def all_groups(self, geometry: Geometry) -> int:
        """Groups of all panels, of 16 rows each."""
        return geometry.panels * self.groups(geometry)

    def padded_weights(self, geometry: Geometry) -> int:
        """Weights that a product goes through, padding included."""
        if self.bits is None:
            return geometry.padded_weights
        return geometry.panels * panel_bytes(geometry, self.bits) * 8 // self.bits


def columns_and_bits(given: dict[str, Any], coded: bool) -> tuple[int, int | None] | None:
    """Taken out of a node's parameters; None where they are not what they must be."""
    columns, bits = given.pop("columns", None), 8 if coded else given.pop("bits", None)
    if type(columns) is not int or type(bits) is not int or columns not in (0, *GROUP_COLUMNS) or bits not in BITS:
        return None
    return columns, None if coded else bits


def options_of(request: Request, formulation: str, child: str) -> tuple[split_codec.Code | Request, int | None]:
    """What a caller asks of them: the code, or what is asked of `sparse` where `child` is under it; columns of a group.

    Raises ArgumentError.
    """
    parameters = dict(request.parameters)
    columns, under = parameters.pop("columns", None), parameters.pop(child, None)
    if under not in (None, SPARSE):
        raise ArgumentError(f"unknown {child} {under!r}: use {SPARSE!r}, or code= for one of {', '.join(CODES)}")
    of_sparse = replace(request, parameters=parameters)
    code, widths = ("lines", None) if under else (parameters.pop("code", "lines"), parameters.pop("widths", None))
    if parameters and not under:
        raise ArgumentError(f"formulation {formulation!r} takes no parameter {next(iter(parameters))!r}")
    if code not in CODES:
        raise ArgumentError(f"unknown code {code!r}: use {', '.join(map(repr, CODES))}")
    if columns is not None and (not is_integer(columns) or columns not in (0, *GROUP_COLUMNS)):
        raise ArgumentError(f"columns of a group are 0, for all, or a power of two from 16 to 1,024, not {columns!r}")
    if (code == "layered") != (widths is not None):
        raise ArgumentError("code 'layered', and no other, needs widths, such as widths=(2, 2)")
    return (of_sparse if under else (code, widths_of(widths) if code == "layered" else ())), columns


def columns_tried(geometry: Geometry) -> tuple[int, ...]:
    """Columns of a group that are worth a look, 0 for all. Those of a convolution are taps of channels, in an order of
    their own: nobody groups them."""
    grouped = GROUP_COLUMNS if geometry.view in ("matrix", "stack") else ()
    return (0, *(some for some in grouped if some < geometry.columns))


def field_columns(bits: int) -> int:
    """Columns in 64 bytes."""
    return 8 * LINE_BYTES // bits


def panel_bytes(geometry: Geometry, bits: int) -> int:
    """Bytes of the fields of a panel."""
    return -(-geometry.columns // field_columns(bits)) * PANEL_ROWS * LINE_BYTES


def pack(numbers: np.ndarray, geometry: Geometry, bits: int, threads: int) -> np.ndarray:
    """The component of fields for uint8 numbers in the tensor's shape."""
    if not native.available():
        return stored(reference_pack(numbers, geometry, bits), stream_bytes)
    fields = np.zeros(stream_bytes(geometry.panels * panel_bytes(geometry, bits)), np.uint8)
    native.module.affine_row_fields(numbers, native.shape_of(geometry), bits, fields, threads)
    return fields


def reference_pack(numbers: np.ndarray, geometry: Geometry, bits: int) -> np.ndarray:
    """The NumPy reference, uint8: the fields of all panels, segment by segment, row by row."""
    cube, _ = geometry.matrices(numbers)
    per_line, padding = field_columns(bits), geometry.panels_per_matrix * PANEL_ROWS - geometry.rows
    panels = np.pad(cube, ((0, 0), (0, padding), (0, -geometry.columns % per_line)))
    panels = panels.reshape(geometry.panels, PANEL_ROWS, -1)
    parts = []
    for panel in panels:
        for first in range(0, panel.shape[1], SEGMENT_COLUMNS):
            steps = panel[:, first : first + SEGMENT_COLUMNS].reshape(-1, 32 // bits, STEP_COLUMNS)
            shifts = (np.arange(32 // bits, dtype=np.uint32) * np.uint32(bits))[:, None]
            parts.append(
                np.bitwise_or.reduce(steps.astype("<u4", order="C") << shifts, axis=1).view(np.uint8).reshape(-1)
            )
    return np.concatenate([np.zeros(0, np.uint8), *parts])


def reference_unpack(fields: np.ndarray, geometry: Geometry, bits: int) -> np.ndarray:
    """Inverse of `reference_pack`: uint8 in the tensor's shape."""
    per_line, size = field_columns(bits), panel_bytes(geometry, bits)
    shifts, panels = (np.arange(32 // bits, dtype=np.uint32) * np.uint32(bits))[:, None], []
    for panel in range(geometry.panels):
        at, rows = panel * size, []
        for first in range(0, geometry.columns, SEGMENT_COLUMNS):
            count = -(-min(SEGMENT_COLUMNS, geometry.columns - first) // per_line) * PANEL_ROWS
            dwords = fields[at : at + count * LINE_BYTES].view("<u4").reshape(count, 1, STEP_COLUMNS)
            rows.append((dwords >> shifts & ((1 << bits) - 1)).astype(np.uint8).reshape(PANEL_ROWS, -1))
            at += count * LINE_BYTES
        panels.append(np.concatenate(rows, axis=1)[:, : geometry.columns])
    cube = np.array(panels, np.uint8).reshape(geometry.count, -1, geometry.columns)
    return geometry.tensor(cube[:, : geometry.rows])


class RowFields(Formulation):
    """What both formulations have alike. CHILD: the component of fields, and the child of coded numbers. SPARSE_DTYPE: of
    such a child under `sparse`."""

    CHILD: ClassVar[str]
    SPARSE_DTYPE: ClassVar[str]

    @property
    def nests(self) -> Mapping[str, tuple[Formulation, ...]]:
        return {self.CHILD: (split, sparse)}

    def check_node(self, node: Node, geometry: Geometry, positions: tuple[str, ...] = MASKS) -> None:
        """positions: that sparse numbers may have."""
        if geometry.view == "folded":
            raise CorruptError(f"{self.NAME} codes matrices, and this tensor is folded", component=INFO)
        child = node.children.get(self.CHILD)
        if child is not None and is_sparse(child):
            check_positions(child, positions)

    def child(self, part: Part, name: str) -> tuple[str, Any]:
        return self.SPARSE_DTYPE if is_sparse(part.node.children[name]) else INDEX, part.layout

    def numbers(self, part: Part) -> np.ndarray:
        """uint8 in the tensor's shape."""
        if part.only is not None:
            return part.only.row.words(part.only)
        return reference_unpack(part.components[self.CHILD], part.layout, part.parameters.bits)

    def label(self, parameters: Mapping[str, Any], children: Collection[str] = ()) -> str:
        """'affine 4-bit by rows'."""
        bits, columns = parameters.get("bits"), parameters.get("columns")
        words = [self.NAME, *[f"{bits}-bit"] * isinstance(bits, int), f"by {columns}" if columns else "by rows"]
        return " ".join(words)

    def step(self, part: Part) -> int:
        child = part.only
        return child.row.step(child) if child is not None and is_sparse(child.node) else super().step(part)

    def slice_panels(self, part: Part, span: Span) -> Run:
        """Fields of neighbouring panels."""
        bits = part.parameters.bits
        if bits is None:
            return Run()
        size = panel_bytes(part.layout, bits)
        return Run({self.CHILD: part.components[self.CHILD][span.panels[0] * size : span.panels[1] * size]})


def sparse_work(part: Part) -> tuple[KernelKey | None, int]:
    """The kernel of a node's sparse numbers, None where they are not, and the values that it visits one by one."""
    if part.only is None or not is_sparse(part.only.node):
        return None, 0
    own = sparse.work(part.only)
    return own.kernel, own.entries


@dataclass(frozen=True)
class Kernel(KernelKey):
    """bits: of a field, None for coded numbers. columns: of a group, 0 for all. numbers: the kernel of sparse ones."""

    bits: int | None
    columns: int
    numbers: KernelKey | None = None

    def words(self) -> tuple[object, ...]:
        own = (self.bits or "coded", f"groups {self.columns}" if self.columns else "rows")
        return own if self.numbers is None else (*own, "+", self.numbers)

    @property
    def is_short(self) -> bool:
        """Whether groups are shorter than 64 bytes of 4-bit fields."""
        return 0 < self.columns < 128

    @property
    def rows(self) -> int:
        """Rows of x up to which fields are multiplied: product.cpp of affine says why."""
        return {None: 0, 8: 8}.get(self.bits, 16)


# MEASURED with two threads, 4096 x 4096: AVX2 on Zen 3, each time as a share of dense time in the same run (float16 and
# short groups by one thread from the cache); AVX-512 on two cores of Emerald Rapids, as a share of split's.
FIELD_NS = {
    "avx2": {"float32": (2.3, 2.9), "bfloat16": (1.8, 3.6), "float16": (3.1, 5.0)},
    "avx512": {"float32": (2.2, 3.2), "bfloat16": (1.65, 2.95), "float16": (2.0, 3.4)},
}
"""64 numbers in fields, up to 4 bits and 8."""
SHORT_NS = {"float32": 3.5, "bfloat16": 3.1, "float16": 3.5}
"""64 numbers in fields up to 4 bits under AVX2, where groups are shorter than 64 bytes, 128 columns."""
FIELD_ROW_NS = {"avx2": (0.45, 0.7), "avx512": (0.25, 0.65)}
"""64 numbers in fields, up to 4 bits and 8, for each further row of x."""


def fields_ns(kernel: Kernel, dtype: str, machine: str, batch: int) -> float:
    """64 numbers in fields, what groups add left out, all rows of x."""
    blocks, octets = -(-batch // 4), kernel.bits == 8
    short = machine == "avx2" and kernel.is_short and not octets
    once = SHORT_NS[dtype] if short else FIELD_NS[machine][dtype][octets]
    return blocks * once + FIELD_ROW_NS[machine][octets] * (batch - blocks)


def by_words_ns(kernel: Kernel, machine: str, batch: int, expand: float) -> float:
    """64 weights that are expanded to words, all rows of x; what sparse numbers take left out."""
    code = INDEX_CODE_NS[machine] if kernel.bits is None and kernel.numbers is None else 0.0
    return expand + code + 64 * MULTIPLY_NS[machine] * (batch - 1)
