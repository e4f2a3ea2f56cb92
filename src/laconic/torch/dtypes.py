"""Element types and memory between torch and NumPy: nothing is copied where the bytes can be shared."""

from __future__ import annotations

import ctypes
from typing import Any

import ml_dtypes
import numpy as np
import torch
from torch import Tensor

from laconic.dtypes import BY_NAME
from laconic.errors import ArgumentError

_SPECIAL: dict[torch.dtype, np.dtype] = {
    torch.bfloat16: np.dtype(ml_dtypes.bfloat16),
    torch.float8_e4m3fn: np.dtype(ml_dtypes.float8_e4m3fn),
    torch.float8_e5m2: np.dtype(ml_dtypes.float8_e5m2),
    torch.float8_e4m3fnuz: np.dtype(ml_dtypes.float8_e4m3fnuz),
    torch.float8_e5m2fnuz: np.dtype(ml_dtypes.float8_e5m2fnuz),
}
if hasattr(torch, "float8_e8m0fnu"):
    _SPECIAL[torch.float8_e8m0fnu] = np.dtype(ml_dtypes.float8_e8m0fnu)
_WORDS = {1: torch.uint8, 2: torch.int16}

TORCH: dict[str, torch.dtype] = {dtype.name: key for key, dtype in _SPECIAL.items()}
"""torch dtypes by laconic's names."""
TORCH |= {name: getattr(torch, name) for name in BY_NAME if hasattr(torch, name) and name not in TORCH}
TORCH["bool"] = torch.bool
NAMES: dict[torch.dtype, str] = {dtype: name for name, dtype in TORCH.items()}

PRODUCT_CODES: dict[torch.dtype, int] = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
"""dtypes of x that kernels multiply, as the native module numbers them."""


def as_array(tensor: Tensor) -> np.ndarray:
    """A dense tensor as an array of the same bytes; copied only where it is not contiguous.

    Raises ArgumentError for tensors that are not on the CPU or have a dtype that files cannot hold.
    """
    if tensor.device.type != "cpu":
        raise ArgumentError(f"the tensor is on {tensor.device}; move it to the CPU first: tensor.cpu()")
    if tensor.dtype not in NAMES:
        raise ArgumentError(f"dtype {tensor.dtype} cannot be stored; convert the tensor first")
    plain = tensor.detach().contiguous()
    special = _SPECIAL.get(plain.dtype)
    if special is None:
        return plain.numpy()
    return plain.view(_WORDS[special.itemsize]).numpy().view(special)


def as_tensor(array: np.ndarray) -> Tensor:
    """An array as a tensor of the same memory. Who must not write to it is the caller's affair."""
    name = array.dtype.name
    if name not in TORCH:
        raise ArgumentError(f"torch has no dtype for {array.dtype}")
    if not array.flags.writeable:
        array = _writeable(array)
    dtype = TORCH[name]
    if dtype in _SPECIAL:
        return torch.from_numpy(array.view(f"u{array.dtype.itemsize}").view(f"i{array.dtype.itemsize}")).view(dtype)
    return torch.from_numpy(array)


def _writeable(array: np.ndarray) -> np.ndarray:
    """The same memory without the read-only mark, about which torch would warn; codes are never written to."""
    array = np.ascontiguousarray(array)
    if array.size == 0:
        return np.empty(array.shape, array.dtype)
    memory: Any = (ctypes.c_uint8 * array.nbytes).from_address(array.ctypes.data)
    memory.keeps_alive = array
    return np.frombuffer(memory, np.uint8).view(array.dtype).reshape(array.shape)
