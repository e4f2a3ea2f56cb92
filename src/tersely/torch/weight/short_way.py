"""The short way: from `F.linear` to the kernel and back without torch's dispatcher.

Taken only where nothing could notice: a plain x on the CPU, no gradient to be recorded, no mode, transform or tracer in the
way. Everything else takes the long way, which is always right. Autocast is obeyed on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from tersely.torch.weight.dtypes import PRODUCT_CODES
from tersely.torch.weight.multiply import multiply, pick
from tersely.torch.weight.weight_storage import Kernel

_PLAIN = (torch.Tensor, torch.nn.Parameter)
_strided = torch.strided
_dispatch_modes = torch._C._len_torch_dispatch_stack
_tracing = torch._C._get_tracing_state
_autocast = torch.is_autocast_enabled
_records = torch.is_grad_enabled


def undisturbed() -> bool:
    """Returns whether work may be done at once, without the dispatcher hearing of it."""
    return not _dispatch_modes() and not _autocast("cpu") and forward_ad._current_level < 0 and _tracing() is None


def _kernel(weight: Any) -> Kernel | None:
    """The kernel of x @ weight.T, which the weight keeps until other codes are written into it."""
    if not hasattr(weight, "storage_") or not weight.storage_.real:
        return None
    layout = weight.layout_
    fits = layout in ("contiguous", "transposed")
    kernel = weight.__dict__["_kernel"] = weight.storage_.kernel(layout == "transposed") if fits else None
    return kernel  # type: ignore[no-any-return]


def _under_autocast(x: Any, weight: Any, bias: Any) -> Tensor | None:
    """What autocast wants, but from the codes: x comes to the weight's dtype, and the result to autocast's.

    Casting the weight instead would decode it at every call. None for what autocast leaves alone.
    """
    if not isinstance(x, Tensor) or not x.is_cpu or not x.is_floating_point() or x.dtype is torch.float64:
        return None
    if not hasattr(weight, "storage_") or weight.dtype not in PRODUCT_CODES:
        return None
    torch.set_autocast_enabled("cpu", False)
    try:
        own_bias = None if bias is None else bias.to(weight.dtype)
        result = torch.nn.functional.linear(x.to(weight.dtype), weight, own_bias)
    finally:
        torch.set_autocast_enabled("cpu", True)
    return result.to(torch.get_autocast_dtype("cpu"))


def linear(x: Any, weight: Any, bias: Any = None) -> Tensor | None:
    """Returns x @ weight.T + bias, or None where the long way must be taken."""
    if _autocast("cpu"):
        return _under_autocast(x, weight, bias)
    # As `undisturbed`, without a call: this is asked at every product.
    if type(x) not in _PLAIN or _dispatch_modes() or forward_ad._current_level >= 0 or _tracing() is not None:
        return None
    try:
        kernel = weight.__dict__["_kernel"]
    except (KeyError, AttributeError):
        kernel = _kernel(weight)
    if x.is_neg():  # marked and not computed
        return None
    if bias is None:
        if x.requires_grad and _records():
            return None
    elif type(bias) not in _PLAIN or bias.is_neg() or ((x.requires_grad or bias.requires_grad) and _records()):
        return None
    return multiply(kernel, x, bias)


def embedding(
    indices: Any,
    weight: Any,
    padding_idx: Any = None,
    max_norm: Any = None,
    norm_type: Any = 2.0,
    scale_grad_by_freq: Any = False,
    sparse: Any = False,
) -> Tensor | None:
    """Returns rows of the weight, or None where the long way must be taken."""
    if max_norm is not None or type(indices) is not torch.Tensor or not hasattr(weight, "storage_"):
        return None
    if weight.layout_ != "contiguous" or not indices.is_cpu or indices.layout is not _strided or not undisturbed():
        return None
    return None if indices.is_nested or indices.is_neg() else pick(weight.storage_, indices)


SHORT: dict[Callable[..., Any], Callable[..., Tensor | None]] = {
    torch.nn.functional.linear: linear,
    torch.nn.functional.embedding: embedding,
}
"""Functions with a short way. Each returns None to decline."""
