"""The one place that knows whether the native module is there.

`module` is `laconic._native`, or None where the wheel has none or LACONIC_NATIVE=0 asks for the NumPy reference.
"""

from __future__ import annotations

import os
from typing import Any

from laconic.encoded import Encoded
from laconic.formulations.split.layout import TAIL_KINDS, Parameters
from laconic.geometry import Geometry

module: Any = None
if os.environ.get("LACONIC_NATIVE", "1") != "0":
    try:
        from laconic import _native as module  # type: ignore[attr-defined,no-redef]
    except ImportError:
        module = None

_CODES = {"constant": 0, "packed": 1, "layered": 2}


def shape_of(geometry: Geometry) -> Any:
    """The geometry as the native module takes it."""
    transposed = geometry.orientation == "in_out"
    return module.Geometry(
        geometry.elements,
        geometry.count,
        geometry.rows,
        geometry.columns,
        geometry.rows * geometry.columns,
        1 if transposed else geometry.columns,
        geometry.rows if transposed else 1,
        geometry.column_offsets(),
    )


def split_of(dtype: str, parameters: Parameters) -> Any:
    """The parameters of `split` as the native module takes them."""
    return module.SplitParameters(
        dtype,
        _CODES[parameters.code],
        list(parameters.widths),
        parameters.table,
        -1 if parameters.byte is None else parameters.byte,
        TAIL_KINDS.index(parameters.tail),
        -1 if parameters.short_tail is None else TAIL_KINDS.index(parameters.short_tail),
    )


def split_matrix(encoded: Encoded, geometry: Geometry, parameters: Parameters) -> Any:
    """A native matrix over the components, which it keeps alive."""
    components = dict(encoded.components)
    directory = components.get("directory")
    if directory is not None and directory.ctypes.data % 8:
        components["directory"] = directory.copy()  # a foreign writer aligned it to fewer bytes
    return module.SplitMatrix(shape_of(geometry), split_of(encoded.dtype, parameters), components)
