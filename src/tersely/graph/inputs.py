"""What callers hand to a network, as the executor takes it: float32 numbers, or int64, in the order of their indices."""

from __future__ import annotations

from typing import Any

import numpy as np

from tersely.core.errors import ArgumentError


def seen(value: Any, name: str) -> np.ndarray:
    """An input as an array, of whatever layout and dtype of numbers; what memory is there is not copied.

    Raises ArgumentError, with the input's name, for what is no array of numbers in memory.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise ArgumentError(f"input {name!r} is a masked array: fill it first, with .filled(...)")
    try:
        found = np.asarray(value)
    except Exception as error:
        # Tensors of torch on other devices, with gradients, or of dtypes that NumPy does not have.
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ArgumentError(
            f"input {name!r} is a {type(value).__name__} that is no array in memory ({reason}): "
            "give a NumPy array, of a tensor x.detach().float().cpu().numpy()"
        ) from None
    kind = found.dtype.kind
    # 'V' are those of ml_dtypes, such as bfloat16, which float32 has room for.
    if kind not in "iubf" and not (kind == "V" and found.dtype.names is None and np.can_cast(found.dtype, np.float32)):
        raise ArgumentError(
            f"input {name!r} is of dtype {found.dtype}: a network takes floats, or integers and truths where it was made "
            "for them"
        )
    if found.dtype == np.uint64 and found.size and found.max() > np.iinfo(np.int64).max:
        raise ArgumentError(f"input {name!r} has integers beyond 63 bits")
    return found


def kind_of(array: np.ndarray) -> str:
    """What an array is handed over as: "i", integers, or "f", floats."""
    return "i" if array.dtype.kind in "iub" else "f"


def handed(array: np.ndarray) -> np.ndarray:
    """An array that was `seen` as int64 or float32, C-contiguous; floats of other widths are rounded."""
    return np.ascontiguousarray(array, np.int64 if kind_of(array) == "i" else np.float32).reshape(array.shape)
