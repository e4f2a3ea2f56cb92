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

_WHERE = {  # "module", "module:another name in it", or "module:" for the module itself
    "ArgumentError": "core.errors",
    "CorruptError": "core.errors",
    "DestinationError": "core.errors",
    "FormatError": "core.errors",
    "TerselyError": "core.errors",
    "TooLargeError": "core.errors",
    "UnsupportedError": "core.errors",
    "VerificationError": "core.errors",
    "Tensor": "tensors.tensor",
    "encode": "tensors.encode",
    "linear": "tensors.linear",
    "linear_transposed": "tensors.linear",
    "File": "files.open",
    "open": "files.open:open_file",
    "load_file": "files.open",
    "load_pipeline": "graph.files:load",
    "save_file": "files.open",
    "compress": "files.commands",
    "decompress": "files.commands",
    "inspect": "files.inspect_file",
    "make_plan": "files.plan_file",
    "transcode": "files.transcode",
    "verify": "files.commands",
    "set_num_threads": "backends.cpu.threads",
    "get_num_threads": "backends.cpu.threads",
    "isa": "backends.cpu.isa:",
}
__all__ = [*sorted(_WHERE), "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]
_ADAPTERS = ("torch", "transformers")
"""Imported by those who want them, by name: they bring another package in."""


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is None:
        if name.startswith("_") or name in _ADAPTERS or not _is_module(name):
            raise AttributeError(f"module 'tersely' has no attribute {name!r}")
        where = f"{name}:"
    module, colon, attribute = where.partition(":")
    value: Any = importlib.import_module(f"tersely.{module}")
    if attribute or not colon:
        value = getattr(value, attribute or name)
    globals()[name] = value
    return value


def _is_module(name: str) -> bool:
    """Whether docstrings may speak of an attribute of `tersely` as of a module, which is imported when it is used."""
    return importlib.util.find_spec(f"tersely.{name}") is not None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if TYPE_CHECKING:
    from tersely.backends.cpu import isa as isa
    from tersely.backends.cpu.threads import get_num_threads as get_num_threads
    from tersely.backends.cpu.threads import set_num_threads as set_num_threads
    from tersely.core.errors import ArgumentError as ArgumentError
    from tersely.core.errors import CorruptError as CorruptError
    from tersely.core.errors import DestinationError as DestinationError
    from tersely.core.errors import FormatError as FormatError
    from tersely.core.errors import TerselyError as TerselyError
    from tersely.core.errors import TooLargeError as TooLargeError
    from tersely.core.errors import UnsupportedError as UnsupportedError
    from tersely.core.errors import VerificationError as VerificationError
    from tersely.files.commands import compress as compress
    from tersely.files.commands import decompress as decompress
    from tersely.files.commands import verify as verify
    from tersely.files.inspect_file import inspect as inspect
    from tersely.files.open import File as File
    from tersely.files.open import load_file as load_file
    from tersely.files.open import open_file as open  # noqa: F401
    from tersely.files.open import save_file as save_file
    from tersely.files.plan_file import make_plan as make_plan
    from tersely.files.transcode import transcode as transcode
    from tersely.graph.files import load as load_pipeline  # noqa: F401
    from tersely.tensors.encode import encode as encode
    from tersely.tensors.linear import linear as linear
    from tersely.tensors.linear import linear_transposed as linear_transposed
    from tersely.tensors.tensor import Tensor as Tensor
