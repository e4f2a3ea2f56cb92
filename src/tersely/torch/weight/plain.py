"""Which tensors are plain memory, and what to do about those that are not: nothing else can be stored or coded.

torch marks conjugates and negatives without computing them, and hands out the memory as it lies; sparse, nested, quantised
and traced tensors have no memory of their own shape, or none at all.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

_LAYOUTS = {
    "torch.sparse_coo": "is sparse (COO): store tensor.to_dense(), or tensor.coalesce()'s indices() and values()",
    "torch.sparse_csr": "is sparse (CSR): store tensor.to_dense(), or its crow_indices(), col_indices() and values()",
    "torch.sparse_csc": "is sparse (CSC): store tensor.to_dense(), or its ccol_indices(), row_indices() and values()",
    "torch.sparse_bsr": "is sparse (BSR): store tensor.to_dense(), or its crow_indices(), col_indices() and values()",
    "torch.sparse_bsc": "is sparse (BSC): store tensor.to_dense(), or its ccol_indices(), row_indices() and values()",
    "torch._mkldnn": "is laid out for MKL-DNN: store tensor.to_dense()",
    "torch.jagged": "is nested: store its values() and offsets(), or each tensor of unbind()",
}
_PLAIN = (Tensor, torch.nn.Parameter)


def why_not(tensor: Tensor) -> str:
    """Returns what a tensor is if not plain memory, and the remedy, as the end of a sentence; '' where it is.

    Which device it is on does not matter.
    """
    kind = type(tensor)
    if kind not in _PLAIN and (reason := _why_not_kind(tensor)):
        return reason
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        return "belongs to a transform of torch.func (vmap, grad, ...): store what the transform returns"
    if tensor.layout is not torch.strided:
        return _LAYOUTS.get(str(tensor.layout), f"has layout {tensor.layout}: store tensor.to_dense()")
    if tensor.is_nested:
        return "is nested: store each tensor of unbind(), or tensor.to_padded_tensor(0.0)"
    if tensor.is_quantized:
        return f"is quantised ({tensor.dtype}): store tensor.int_repr() with its scale and zero point, or tensor.dequantize()"
    if tensor.device.type == "meta":
        return "is on meta, where there are no values: load or initialise them first (module.to_empty, load_state_dict(assign=True))"
    if tensor.numel() and tensor.untyped_storage().nbytes() < _last_byte(tensor):
        return "has no memory left (its storage was freed): gather or recompute it first"
    return ""


def _last_byte(tensor: Tensor) -> int:
    """The end of the tensor in the storage that it lies in, in bytes."""
    if tensor.is_contiguous():
        places = tensor.numel()
    else:
        places = 1 + sum((length - 1) * step for length, step in zip(tensor.shape, tensor.stride(), strict=True))
    return (tensor.storage_offset() + places) * tensor.itemsize


def _why_not_kind(tensor: Tensor) -> str:
    """What `why_not` says of subclasses: those that dispatch by themselves have no memory that C++ could read."""
    if is_lazy(tensor):
        return "has no shape yet: run the module once, then save it"
    kind: Any = type(tensor)
    if kind.__module__.startswith("tersely.") or kind.__torch_dispatch__ is Tensor.__torch_dispatch__:
        return ""  # ours say for themselves what they are
    if tensor.is_nested:
        return _LAYOUTS["torch.jagged"]
    return f"is a {kind.__name__}, which is no plain memory: store the plain tensors that it is made of"


def resolved(tensor: Tensor) -> Tensor:
    """Plain memory, contiguous, with the values that the tensor shows: of lazy conjugates and negatives a copy.

    As it is where it is that already. Raises whatever torch raises for what `why_not` speaks of.
    """
    plain = tensor.detach()
    if plain._is_zerotensor():
        plain = plain.clone()  # only then there is memory with zeros in it
    return plain.resolve_conj().resolve_neg().contiguous()
