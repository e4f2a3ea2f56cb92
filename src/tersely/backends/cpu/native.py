"""The one place that knows whether the native module is there.

`module` is `tersely.backends.cpu._native`, to be used where `available()` says so: not where the wheel has none or
TERSELY_NATIVE=0 asks for the NumPy reference. Where the environment asks for what cannot be had, every use of it raises
ArgumentError and `loaded` is the module itself. Calls are checked by its stub (`make stub` writes it).
"""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from tersely.core import environment
from tersely.core.choices import Isa
from tersely.core.encoded import Encoded
from tersely.core.geometry import Geometry

ISAS: tuple[Isa, ...] = get_args(Isa)[:-1]
REFERENCE: Isa = "reference"
"""What is called so where the native module is missing: NumPy does the work."""

if TYPE_CHECKING:
    from tersely.backends.cpu import _native

    module = _native  # its stub
    loaded = _native
else:
    loaded = None
    if environment.native():
        try:
            from tersely.backends.cpu import _native as loaded
        except ModuleNotFoundError:
            pass
        except ImportError as error:
            if importlib.util.find_spec("tersely.backends.cpu._native"):
                warnings.warn(
                    f"tersely's native module cannot be loaded, so everything will be slow: {error}; install tersely again",
                    RuntimeWarning,
                    stacklevel=2,
                )


def reason_unavailable(isa: str) -> str | None:
    """Why an instruction set cannot be used here; None where it can."""
    if isa not in (*ISAS, REFERENCE):
        return f"unknown name; tersely knows {', '.join(ISAS)}"
    if loaded is None:
        return None if isa == REFERENCE else "the native module is not installed, or TERSELY_NATIVE is 0"
    if isa == REFERENCE:
        return "the native module is there; TERSELY_NATIVE=0 leaves it aside"
    return str(loaded.isa_why_not(isa)) or None


def _as_the_environment_says() -> Any:
    """The module, its instruction set forced where that is asked for; what raises where it cannot be had."""
    name = environment.isa()
    found: Any = loaded
    if name and (reason := reason_unavailable(name)):
        found = environment.unobeyed(f"TERSELY_ISA={name}: instruction set {name!r} cannot be used: {reason}")
    elif name and loaded is not None:
        loaded.isa_use(name)
    problem = environment.problem_of_native()
    return environment.Refused(problem) if problem else found


if not TYPE_CHECKING:
    module = _as_the_environment_says()


def use(isa: str) -> None:
    """Force an instruction set that can be had, whatever the environment asked for."""
    global module
    if not TYPE_CHECKING and isinstance(module, environment.Refused):
        module = loaded
        environment.obeyed()
    if loaded is not None:
        loaded.isa_use(isa)


def available() -> bool:
    """Whether the native module does the work, not NumPy."""
    return module is not None


def shape_of(geometry: Geometry) -> module.Geometry:
    """The geometry as the native module takes it."""
    return module.Geometry(geometry.shape, geometry.view, geometry.orientation, geometry.column_order)


def open_matrix(encoded: Encoded) -> module.Matrix | None:
    """The native matrix over valid components, which it keeps alive; None where NumPy does the work.

    Raises MemoryError where memory does not hold what it needs: an offset for each column of a convolution.
    """
    if not available():
        return None
    description = {
        "shape": encoded.shape,
        "dtype": encoded.dtype,
        "view": encoded.view,
        "orientation": encoded.orientation,
        "column_order": encoded.column_order,
        "node": encoded.node.to_json(),
    }
    return module.open(json.dumps(description), _aligned(encoded.components))


def _aligned(components: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The components, directories copied where a foreign writer aligned them to fewer bytes than their words need."""
    return {
        name: data.copy() if name.endswith("directory") and data.ctypes.data % 8 else data
        for name, data in components.items()
    }
