"""Convolutions whose kernels have one tap: products of every place of x by the weight as a matrix [outputs, inputs].

Only mode "fused" multiplies so, as sums are added in another order. Strides skip places, and with one tap dilation means
nothing. Results lie in memory as torch's: channels last where x or the weight has them so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tersely.tensors import handoff
from tersely.torch.weight.coded import Coded
from tersely.torch.weight.multiply import product
from tersely.torch.weight.tersely_tensor import FusedTensor, TerselyTensor
from tersely.torch.weight.weight_storage import traced

_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def _is_few(rows: Tensor) -> bool:
    """Returns whether kernels multiply so many places. rows: [..., channels]."""
    places = rows.numel() // max(1, rows.shape[-1])
    return 0 < places <= handoff.pointwise_max_places(str(rows.dtype).removeprefix("torch."))


def _matrix(weight: Any) -> Coded | None:
    """The weight as a matrix of codes, or None where it is none."""
    if not isinstance(weight, FusedTensor) or weight.layout_ == "transposed" or not isinstance(weight.storage_, Coded):
        return None
    return weight.storage_.pointwise


def _each(value: Any, count: int) -> tuple[int, ...]:
    """An argument that torch takes as one number or as one for each dimension."""
    given = (value,) if isinstance(value, int) else tuple(value)
    return given * count if len(given) == 1 else given


def _steps(places: int, stride: Any, padding: Any, groups: Any) -> tuple[int, ...] | None:
    """Strides by dimension; None where the convolution is more than a product."""
    padded = not isinstance(padding, str) and any(_each(padding, places))  # 'same' and 'valid' pad one tap by nothing
    steps = _each(stride, places)
    return None if padded or groups != 1 or len(steps) != places or min(steps) < 1 else steps


def _last(x: Tensor) -> bool:
    """Returns whether the channels of x lie side by side in memory, and not only because there is one place."""
    layout = _LAST.get(x.ndim)
    return layout is not None and not x.is_contiguous() and x.is_contiguous(memory_format=layout)


def _rows(x: Tensor) -> Tensor:
    """[images, ..., channels] of [images, channels, ...]."""
    return x.movedim(1, -1)


def _planes(rows: Tensor, last: bool) -> Tensor:
    """The inverse of `_rows`, with strides as torch gives them."""
    out = rows.movedim(-1, 1)
    # `contiguous` would leave the strides of a single place as they are, by which later layers would choose theirs.
    return out if last else out.clone(memory_format=torch.contiguous_format)


def convolution(
    x: Any, weight: Any, bias: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: Any = 1
) -> Any:
    """Returns the convolution by products, or NotImplemented where torch had better do it with the decoded weight."""
    matrix = _matrix(weight)
    if matrix is None or isinstance(x, TerselyTensor) or isinstance(bias, TerselyTensor):
        return NotImplemented
    if x.ndim == weight.ndim - 1:
        result = convolution(x.unsqueeze(0), weight, bias, stride, padding, dilation, groups)
        return result if result is NotImplemented else result.squeeze(0)
    steps = _steps(weight.ndim - 2, stride, padding, groups)
    if steps is None or x.ndim != weight.ndim or x.layout is not torch.strided:
        return NotImplemented
    last = _last(x) or weight.layout_ in ("channels_last", "channels_last_3d")
    rows = _rows(_skipped(x, steps))
    if not traced(matrix) and not _is_few(rows):
        return NotImplemented  # decoding is little beside so many, and torch's convolution needs no other layout
    result = product(matrix, rows, bias, False)
    return NotImplemented if result is None else _planes(result, last)


def _skipped(x: Tensor, steps: Sequence[int]) -> Tensor:
    """The places of x that strides visit."""
    for dim, step in enumerate(steps, 2):
        x = x if step == 1 else x[(slice(None),) * dim + (slice(None, None, step),)]
    return x


def backward(gradient: Any, x: Any, weight: Any, stride: Any, padding: Any, groups: Any, wanted: Sequence[bool]) -> Any:
    """(gradient of x, None, gradient of the bias) of `convolution`, or NotImplemented."""
    matrix = _matrix(weight)
    steps = _steps(weight.ndim - 2, stride, padding, groups)
    if matrix is None or steps is None or wanted[1] or isinstance(x, TerselyTensor):
        return NotImplemented
    to_x = to_bias = None
    if wanted[0]:
        rows = _rows(gradient)
        if not traced(matrix) and not _is_few(rows):
            return NotImplemented
        result = product(matrix, rows, None, True)
        if result is None:
            return NotImplemented
        to_x = _planes(result, _last(gradient))
        if any(step > 1 for step in steps):
            visited = to_x
            to_x = torch.zeros_like(x)
            _skipped(to_x, steps).copy_(visited)
    if wanted[2]:
        to_bias = gradient.sum([0, *range(2, gradient.ndim)])
    return to_x, None, to_bias
