"""laconic: neural network weights, losslessly smaller, and run as they are.

    import laconic
    t = laconic.encode(array)                       # a coded tensor
    y = laconic.linear(x, t)                        # x @ array.T from the coded weights
    laconic.save_file({"w": t}, "m.safetensors")
    laconic.compress("model.safetensors")           # a whole file, verified

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
    "LaconicError": "errors",
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
            raise AttributeError(f"module 'laconic' has no attribute {name!r}")
        value: Any = importlib.import_module(f"laconic.{name}")
    else:
        value = getattr(importlib.import_module(f"laconic.{module}"), attribute or name)
    globals()[name] = value
    return value


def _is_module(name: str) -> bool:
    """Whether docstrings may speak of an attribute of `laconic` as of a module, which is imported when it is used."""
    return importlib.util.find_spec(f"laconic.{name}") is not None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if TYPE_CHECKING:
    from laconic import isa as isa
    from laconic.api import compress as compress
    from laconic.api import decompress as decompress
    from laconic.api import inspect as inspect
    from laconic.api import verify as verify
    from laconic.arrays import encode as encode
    from laconic.errors import ArgumentError as ArgumentError
    from laconic.errors import CorruptError as CorruptError
    from laconic.errors import DestinationError as DestinationError
    from laconic.errors import FormatError as FormatError
    from laconic.errors import LaconicError as LaconicError
    from laconic.errors import TooLargeError as TooLargeError
    from laconic.errors import UnsupportedError as UnsupportedError
    from laconic.errors import VerificationError as VerificationError
    from laconic.files import File as File
    from laconic.files import load_file as load_file
    from laconic.files import open_file as open  # noqa: F401
    from laconic.files import save_file as save_file
    from laconic.product import linear as linear
    from laconic.product import linear_transposed as linear_transposed
    from laconic.tensor import Tensor as Tensor
    from laconic.threads import get_num_threads as get_num_threads
    from laconic.threads import set_num_threads as set_num_threads
