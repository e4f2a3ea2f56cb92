"""The one place that knows whether the native module is there.

`module` is `laconic._native`, or None where the wheel has none or LACONIC_NATIVE=0 asks for the NumPy reference.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from laconic.geometry import Geometry

module: Any = None
if os.environ.get("LACONIC_NATIVE", "1") != "0":
    try:
        from laconic import _native as module  # type: ignore[attr-defined,no-redef]
    except ImportError:
        module = None


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


def aligned(components: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The components, the directory copied where a foreign writer aligned it to fewer bytes than its words need."""
    found = dict(components)
    directory = found.get("directory")
    if directory is not None and directory.ctypes.data % 8:
        found["directory"] = directory.copy()
    return found
