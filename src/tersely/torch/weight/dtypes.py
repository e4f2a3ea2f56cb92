"""Element types and memory between torch and NumPy: nothing is copied where the bytes can be shared."""

from __future__ import annotations

import ctypes
from typing import Any

import ml_dtypes
import numpy as np
import torch
from torch import Tensor

from tersely.core.dtypes import BY_NAME, DType
from tersely.core.errors import ArgumentError
from tersely.torch.weight import plain

_SPECIAL: dict[torch.dtype, np.dtype] = {
    torch.bfloat16: np.dtype(ml_dtypes.bfloat16),
    torch.float8_e4m3fn: np.dtype(ml_dtypes.float8_e4m3fn),
    torch.float8_e5m2: np.dtype(ml_dtypes.float8_e5m2),
    torch.float8_e4m3fnuz: np.dtype(ml_dtypes.float8_e4m3fnuz),
    torch.float8_e5m2fnuz: np.dtype(ml_dtypes.float8_e5m2fnuz),
}
if hasattr(torch, "float8_e8m0fnu"):
    _SPECIAL[torch.float8_e8m0fnu] = np.dtype(ml_dtypes.float8_e8m0fnu)
_SPECIAL_TORCH: dict[str, torch.dtype] = {dtype.name: key for key, dtype in _SPECIAL.items()}
_WORDS = {1: torch.uint8, 2: torch.int16}

TORCH: dict[str, torch.dtype] = dict(_SPECIAL_TORCH)
"""torch dtypes by tersely's names; of packed elements those that torch has by the same name, and so by the same bytes."""
TORCH |= {name: getattr(torch, name) for name in BY_NAME if hasattr(torch, name) and name not in TORCH}
TORCH["bool"] = torch.bool
NAMES: dict[torch.dtype, str] = {dtype: name for name, dtype in TORCH.items()}

PRODUCT_CODES: dict[torch.dtype, int] = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
"""dtypes of x that kernels multiply, as the native module numbers them."""


def _check(tensor: Tensor) -> None:
    if reason := plain.why_not(tensor):
        raise ArgumentError(f"the tensor {reason}")
    if tensor.device.type != "cpu":
        raise ArgumentError(f"the tensor is on {tensor.device}; move it to the CPU first: tensor.cpu()")


def as_array(tensor: Tensor) -> np.ndarray:
    """Returns a dense tensor as an array of the same bytes; a copy only where it is not contiguous, or lazily conjugated.

    Raises ArgumentError for tensors that are no plain memory of the CPU or have a dtype that arrays cannot have.
    """
    _check(tensor)
    if tensor.dtype not in NAMES:
        raise ArgumentError(f"dtype {tensor.dtype} cannot be stored; convert the tensor first")
    if BY_NAME[NAMES[tensor.dtype]].packed:
        raise ArgumentError(f"dtype {tensor.dtype} is never coded: save the tensor as it is")
    resolved = plain.resolved(tensor)
    special = _SPECIAL.get(resolved.dtype)
    if special is None:
        return resolved.numpy()
    return resolved.view(_WORDS[special.itemsize]).numpy().view(special)


def as_tensor(array: np.ndarray) -> Tensor:
    """Returns an array as a tensor of the same memory. Who must not write to it is the caller's affair."""
    name = array.dtype.name
    if name not in TORCH:
        raise ArgumentError(f"torch has no dtype for {array.dtype}")
    if not array.flags.writeable:
        array = _writeable(array)
    dtype = TORCH[name]
    if dtype in _SPECIAL:
        return torch.from_numpy(array.view(f"u{array.dtype.itemsize}").view(f"i{array.dtype.itemsize}")).view(dtype)
    return torch.from_numpy(array)


def why_torch_lacks(dtype: DType, shape: tuple[int, ...]) -> str:
    """Returns why a tensor of a file cannot be given as a torch tensor; '' where it can. shape: as headers say it."""
    if dtype.name not in TORCH:
        return f"torch {torch.__version__} has no dtype for {dtype.tag}"
    if dtype.packed and dtype.array_shape(shape)[:-1] != shape[:-1]:
        return f"torch gives {TORCH[dtype.name]} by whole bytes of a row, and rows of {shape[-1]} elements have none"
    return ""


def of_bytes(raw: np.ndarray, dtype: DType, shape: tuple[int, ...]) -> Tensor:
    """Returns writeable bytes, aligned to the dtype, as a tensor of the same memory. shape: as headers say it."""
    words = raw.view(f"i{dtype.numpy.itemsize}") if dtype.name in _SPECIAL_TORCH else raw.view(dtype.numpy)
    tensor = torch.from_numpy(words.reshape(dtype.array_shape(shape)))
    wanted = TORCH[dtype.name]
    return tensor if tensor.dtype is wanted else tensor.view(wanted)


def packed_bytes(tensor: Tensor) -> tuple[DType, tuple[int, ...], np.ndarray] | None:
    """Returns (row, shape as in headers, bytes) of a tensor of packed elements; None for other tensors."""
    dtype = BY_NAME.get(NAMES.get(tensor.dtype, ""))
    if dtype is None or not dtype.packed:
        return None
    _check(tensor)
    if not tensor.ndim:
        raise ArgumentError(f"a {tensor.dtype} without dimensions has no shape in a file: use tensor.reshape(1)")
    raw = plain.resolved(tensor).view(torch.uint8).numpy()
    return dtype, (*tensor.shape[:-1], tensor.shape[-1] * 8 // dtype.bits), raw.reshape(-1)


def _writeable(array: np.ndarray) -> np.ndarray:
    """The same memory without the read-only mark, about which torch would warn; codes are never written to."""
    array = np.ascontiguousarray(array)
    if array.size == 0:
        return np.empty(array.shape, array.dtype)
    memory: Any = (ctypes.c_uint8 * array.nbytes).from_address(array.ctypes.data)
    memory.keeps_alive = array
    return np.frombuffer(memory, np.uint8).view(array.dtype).reshape(array.shape)
