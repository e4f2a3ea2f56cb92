"""tersely: neural network weights, losslessly smaller, and run as they are.

    import tersely
    t = tersely.encode(array)                       # a coded tensor
    y = tersely.linear(x, t)                        # x @ array.T from the coded weights
    tersely.save_file({"w": t}, "m.safetensors")
    tersely.compress("model.safetensors")           # a whole file, verified

Names are loaded when first used: importing the package is cheap and imports neither torch nor the command line.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "ArgumentError": "errors",
    "CorruptError": "errors",
    "DestinationError": "errors",
    "FormatError": "errors",
    "TerselyError": "errors",
    "TooLargeError": "errors",
    "UnsupportedError": "errors",
    "VerificationError": "errors",
    "Tensor": "tensor",
    "encode": "arrays",
    "linear": "product",
    "linear_transposed": "product",
    "File": "files",
    "open": "files:open_file",
    "load_file": "files",
    "save_file": "files",
    "compress": "api",
    "decompress": "api",
    "inspect": "api",
    "verify": "api",
    "set_num_threads": "threads",
    "get_num_threads": "threads",
    "isa": "",
}
__all__ = [*sorted(_WHERE), "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]
_ADAPTERS = ("torch", "transformers")
"""Imported by those who want them, by name: they bring another package in."""


def __getattr__(name: str) -> Any:
    module, _, attribute = _WHERE.get(name, "").partition(":")
    if not module:
        if name not in _WHERE and (name.startswith("_") or name in _ADAPTERS or not _is_module(name)):
            raise AttributeError(f"module 'tersely' has no attribute {name!r}")
        value: Any = importlib.import_module(f"tersely.{name}")
    else:
        value = getattr(importlib.import_module(f"tersely.{module}"), attribute or name)
    globals()[name] = value
    return value


def _is_module(name: str) -> bool:
    """Whether docstrings may speak of an attribute of `tersely` as of a module, which is imported when it is used."""
    return importlib.util.find_spec(f"tersely.{name}") is not None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if TYPE_CHECKING:
    from tersely import isa as isa
    from tersely.api import compress as compress
    from tersely.api import decompress as decompress
    from tersely.api import inspect as inspect
    from tersely.api import verify as verify
    from tersely.arrays import encode as encode
    from tersely.errors import ArgumentError as ArgumentError
    from tersely.errors import CorruptError as CorruptError
    from tersely.errors import DestinationError as DestinationError
    from tersely.errors import FormatError as FormatError
    from tersely.errors import TerselyError as TerselyError
    from tersely.errors import TooLargeError as TooLargeError
    from tersely.errors import UnsupportedError as UnsupportedError
    from tersely.errors import VerificationError as VerificationError
    from tersely.files import File as File
    from tersely.files import load_file as load_file
    from tersely.files import open_file as open  # noqa: F401
    from tersely.files import save_file as save_file
    from tersely.product import linear as linear
    from tersely.product import linear_transposed as linear_transposed
    from tersely.tensor import Tensor as Tensor
    from tersely.threads import get_num_threads as get_num_threads
    from tersely.threads import set_num_threads as set_num_threads
