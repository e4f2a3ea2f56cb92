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
    """The components, directories copied where a foreign writer aligned them to fewer bytes than their words need."""
    return {
        name: data.copy() if name.endswith("directory") and data.ctypes.data % 8 else data
        for name, data in components.items()
    }
