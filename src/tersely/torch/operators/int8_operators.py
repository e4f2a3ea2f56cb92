"""Products of `Int8Linear` as operators: what compilers, exports and transforms see of them.

`tersely::int8_linear` and `tersely::int8_transposed` take the weight as a tensor, whatever it is; where it is coded and
work is written down instead of being done, `tersely::int8_coded` takes its components, as `tersely::product` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tersely.tensors.encode import over
from tersely.tensors.linear import linear, linear_transposed
from tersely.tensors.tensor import Tensor as CodedTensor
from tersely.torch.operators.compiled import operator, storage_over
from tersely.torch.weight.coded import Coded
from tersely.torch.weight.dtypes import as_array, as_tensor
from tersely.torch.weight.tensor_spec import TensorSpec
from tersely.torch.weight.tersely_tensor import TerselyTensor
from tersely.torch.weight.weight_storage import traced


def multiplied(x: Tensor, weight: CodedTensor, scale: Tensor, bias: Tensor | None, transposed: bool) -> Tensor:
    """Returns x @ (scale[:, None] * weight).T + bias, or without .T where `transposed`."""
    call = linear_transposed if transposed else linear
    return as_tensor(call(as_array(x), weight, None if bias is None else as_array(bias), scale=as_array(scale)))


@operator("int8_linear(Tensor x, Tensor weight, Tensor scale, Tensor? bias) -> Tensor")
def int8_linear(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    return multiplied(x, over(as_array(weight)), scale, bias, False)


@operator("int8_transposed(Tensor x, Tensor weight, Tensor scale) -> Tensor")
def int8_transposed(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    return multiplied(x, over(as_array(weight)), scale, None, True)


@operator("int8_coded(Tensor x, Tensor[] components, str spec, Tensor scale, Tensor? bias, bool transposed) -> Tensor")
def int8_coded(
    x: Tensor, components: Sequence[Tensor], spec: str, scale: Tensor, bias: Tensor | None, transposed: bool
) -> Tensor:
    return multiplied(x, storage_over(components, spec).coded_tensor, scale, bias, transposed)


@torch.library.register_fake("tersely::int8_linear")
def _(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty((*x.shape[:-1], weight.shape[0]))


@torch.library.register_fake("tersely::int8_transposed")
def _(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    return x.new_empty((*x.shape[:-1], weight.shape[1]))


@torch.library.register_fake("tersely::int8_coded")
def _(
    x: Tensor, components: Sequence[Tensor], spec: str, scale: Tensor, bias: Tensor | None, transposed: bool
) -> Tensor:
    return x.new_empty((*x.shape[:-1], TensorSpec(spec).shape[1 if transposed else 0]))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    _, weight, scale, bias = inputs
    ctx.save_for_backward(weight, scale)
    ctx.bias_dtype = None if bias is None else bias.dtype


def to_bias(ctx: Any, gradient: Tensor) -> Tensor:
    """Returns the gradient of the bias, whose dtype is `ctx.bias_dtype`."""
    return gradient.reshape(-1, gradient.shape[-1]).sum(dim=0).to(ctx.bias_dtype)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None, Tensor | None]:
    to_x = torch.ops.tersely.int8_transposed(gradient, *ctx.saved_tensors) if ctx.needs_input_grad[0] else None
    return to_x, None, None, to_bias(ctx, gradient) if ctx.needs_input_grad[3] else None


torch.library.register_autograd("tersely::int8_linear", _backward, setup_context=_keep)


def vectorised(info: Any, in_dims: Sequence[int | None], call: Any, *given: Any) -> tuple[Tensor, int]:
    """vmap of a product by x: one more dimension of x where nothing else has it, else call by call."""
    first, *others = in_dims
    x, *rest = given
    if first is not None and all(dim is None for dim in others):
        return call(x.movedim(first, 0), *rest), 0

    def at(index: int) -> list[Any]:
        return [one if dim is None else one.select(dim, index) for one, dim in zip(given, in_dims, strict=True)]

    return torch.stack([call(*at(index)) for index in range(info.batch_size)]), 0


@torch.library.register_vmap("tersely::int8_linear")
def _(info: Any, in_dims: Any, *given: Any) -> tuple[Tensor, int]:
    return vectorised(info, in_dims, torch.ops.tersely.int8_linear, *given)


@torch.library.register_vmap("tersely::int8_transposed")
def _(info: Any, in_dims: Any, *given: Any) -> tuple[Tensor, int]:
    return vectorised(info, in_dims, torch.ops.tersely.int8_transposed, *given)


def _by_codes(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Either operator with a weight of codes, or NotImplemented."""
    transposed = func is torch.ops.tersely.int8_transposed.default
    x, weight, scale, bias = (*args, None) if transposed else args
    if not isinstance(weight, TerselyTensor) or not isinstance(weight.storage_, Coded):
        return NotImplemented
    coded = weight.storage_
    if traced(coded) or type(x) is not Tensor:
        return torch.ops.tersely.int8_coded(x, list(coded.components), coded.spec.text, scale, bias, transposed)
    return multiplied(x, coded.coded_tensor, scale, bias, transposed)


TABLE = dict.fromkeys(
    [torch.ops.tersely.int8_linear.default, torch.ops.tersely.int8_transposed.default],
    _by_codes,
)
"""Rows for the table of all operators."""
