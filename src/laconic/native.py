"""The one place that knows whether the native module is there.

`module` is `laconic._native`, to be used where `available()` says so: not where the wheel has none or LACONIC_NATIVE=0
asks for the NumPy reference. Calls are checked by its stub (`make stub` writes it).
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from laconic.geometry import Geometry

if TYPE_CHECKING:
    from laconic import _native

    module = _native  # its stub
else:
    module = None
    if os.environ.get("LACONIC_NATIVE", "1") != "0":
        try:
            from laconic import _native as module
        except ModuleNotFoundError:
            pass
        except ImportError as error:
            if importlib.util.find_spec("laconic._native"):
                warnings.warn(
                    f"laconic's native module cannot be loaded, so everything will be slow: {error}; install laconic again",
                    RuntimeWarning,
                    stacklevel=2,
                )


def available() -> bool:
    """Whether the native module does the work, not NumPy."""
    return module is not None


def shape_of(geometry: Geometry) -> module.Geometry:
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
