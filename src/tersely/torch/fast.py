"""The short way: from `F.linear` to the kernel and back without torch's dispatcher.

Taken only where nothing could notice: a plain contiguous x on the CPU, no gradient to be recorded, no mode, transform
or tracer in the way. Everything else takes the long way, which is always right. Autocast is obeyed on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from tersely.backends.cpu.threads import get_num_threads
from tersely.torch.dtypes import PRODUCT_CODES
from tersely.torch.products import kernel_of, pick

_PLAIN = (torch.Tensor, torch.nn.Parameter)
_dispatch_modes = torch._C._len_torch_dispatch_stack
_tracing = torch._C._get_tracing_state
_autocast = torch.is_autocast_enabled


def undisturbed() -> bool:
    """Whether work may be done at once, without the dispatcher hearing of it."""
    return not _dispatch_modes() and not _autocast("cpu") and forward_ad._current_level < 0 and _tracing() is None


def _kernel(weight: Any) -> tuple[Any, ...]:
    """`kernel_of` of a weight for x @ weight.T, kept with it."""
    fits = weight.layout_ in ("contiguous", "transposed")
    kernel = kernel_of(weight.content, weight.layout_ == "transposed") if fits else ()
    weight.__dict__["_kernel"] = kernel
    return kernel


def _under_autocast(x: Any, weight: Any, bias: Any) -> Tensor | None:
    """What autocast wants, but from the codes: x comes to the weight's dtype, and the result to autocast's.

    Casting the weight instead would decode it at every call. None for what autocast leaves alone.
    """
    if not isinstance(x, Tensor) or not x.is_cpu or not x.is_floating_point() or x.dtype is torch.float64:
        return None
    if not hasattr(weight, "content") or weight.dtype not in PRODUCT_CODES:
        return None
    torch.set_autocast_enabled("cpu", False)
    try:
        own_bias = None if bias is None else bias.to(weight.dtype)
        result = torch.nn.functional.linear(x.to(weight.dtype), weight, own_bias)
    finally:
        torch.set_autocast_enabled("cpu", True)
    return result.to(torch.get_autocast_dtype("cpu"))


def linear(x: Any, weight: Any, bias: Any = None) -> Tensor | None:
    """x @ weight.T + bias, or None where the long way must be taken."""
    if _autocast("cpu"):
        return _under_autocast(x, weight, bias)
    if type(x) not in _PLAIN or not undisturbed():
        return None
    try:
        kernel = weight.__dict__["_kernel"]
    except (KeyError, AttributeError):
        kernel = _kernel(weight) if hasattr(weight, "content") and weight.content.real else ()
    if not kernel:
        return None
    call, dtype, number, inner, outer, transposed, most = kernel
    if x.dtype is not dtype or not x.is_cpu:
        return None
    pointer = 0
    if bias is not None:
        if type(bias) not in _PLAIN or bias.dtype is not dtype or bias.shape != (outer,) or not bias.is_contiguous():
            return None
        if bias.requires_grad and torch.is_grad_enabled():
            return None
    if x.requires_grad and torch.is_grad_enabled():
        return None
    shape = x.shape
    if not shape or shape[-1] != inner or not inner:
        return None
    rows = x.numel() // inner
    if rows > most:
        return None
    try:
        if not x.is_contiguous():
            x = x.contiguous()
        at = x.data_ptr()
        if bias is not None:
            pointer = bias.data_ptr()
    except RuntimeError:  # sparse, or wrapped by a transform
        return None
    out = x.new_empty((*shape[:-1], outer))
    call(at, number, rows, pointer, number, out.data_ptr(), get_num_threads(), transposed)
    return out


def embedding(
    indices: Any,
    weight: Any,
    padding_idx: Any = None,
    max_norm: Any = None,
    norm_type: Any = 2.0,
    scale_grad_by_freq: Any = False,
    sparse: Any = False,
) -> Tensor | None:
    """Rows of the weight, or None where the long way must be taken."""
    if max_norm is not None or type(indices) is not torch.Tensor or not hasattr(weight, "content"):
        return None
    if weight.layout_ != "contiguous" or not indices.is_cpu or not undisturbed():
        return None
    try:
        return pick(weight.content, indices)
    except RuntimeError:
        return None


SHORT: dict[Callable[..., Any], Callable[..., Tensor | None]] = {
    torch.nn.functional.linear: linear,
    torch.nn.functional.embedding: embedding,
}
"""Functions with a short way. Each returns None to decline."""
