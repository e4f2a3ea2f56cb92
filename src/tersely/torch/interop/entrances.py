"""Ways into a tensor's memory that torch does not ask its class about: wrapped, so that compressed weights answer.

`dense.data = coded` would make a dense parameter of no memory, and DLPack's C functions would hand over address 0. What is
wrapped does for all other tensors what it did.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from tersely.core.errors import TerselyError
from tersely.torch.weight.tersely_tensor import ADVICE, TerselyTensor

_DLPACK = (
    (torch._C, "_to_dlpack"),
    (torch._C, "_to_dlpack_versioned"),
    (torch, "to_dlpack"),
    (torch.utils.dlpack, "to_dlpack"),
)
_READERS = (
    "choose_qparams_optimized",
    "fbgemm_linear_quantize_weight",
    "fbgemm_pack_gemm_matrix_fp16",
    "fbgemm_pack_quantized_matrix",
)
"""Functions of `torch` in C++ that read memory without asking; they are given decoded weights."""
_DONE = "of_tersely"


def install() -> None:
    """Wraps the entrances once."""
    for place, name in _DLPACK:
        original = getattr(place, name, None)
        if original is not None and not hasattr(original, _DONE):
            setattr(place, name, _asking(original))
    for name in _READERS:
        original = getattr(torch, name, None)
        if original is not None and not hasattr(original, _DONE):
            setattr(torch, name, _decoding(original))
    if not isinstance(torch.Tensor.data, _Data):
        torch.Tensor.data = _Data(torch._C.TensorBase.data)  # type: ignore[assignment, attr-defined]


def _asking(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def to_dlpack(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        return tensor.__dlpack__() if isinstance(tensor, TerselyTensor) else original(tensor, *args, **kwargs)

    setattr(to_dlpack, _DONE, True)
    return to_dlpack


def _decoding(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def read(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        return original(tensor.decode() if isinstance(tensor, TerselyTensor) else tensor, *args, **kwargs)

    setattr(read, _DONE, True)
    return read


class _Data(property):
    """`torch.Tensor.data`, which looks at what it is set to. Reading it stays torch's own function."""

    def __init__(self, original: Any) -> None:
        def assign(tensor: torch.Tensor, new: Any) -> None:
            if isinstance(new, TerselyTensor):
                raise TerselyError(
                    f".data of a dense tensor {list(tensor.shape)} cannot become a compressed weight, which has no dense "
                    "memory: assign the parameter itself (module.weight = other.weight), which ties the two, or its values "
                    f"(tensor.copy_(weight)); {ADVICE}"
                )
            original.__set__(tensor, new)

        super().__init__(original.__get__, assign, None, original.__doc__)
