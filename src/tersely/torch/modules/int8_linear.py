"""`Int8Linear`: a linear layer with int8 weights and a scale for each output, multiplied as they are or from codes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tersely.core.errors import ArgumentError
from tersely.tensors.encode import over
from tersely.tensors.tensor import Tensor as CodedTensor
from tersely.torch.operators.int8_operators import multiplied, to_bias, vectorised
from tersely.torch.weight import short_way
from tersely.torch.weight.coded import Coded
from tersely.torch.weight.dtypes import PRODUCT_CODES, as_array
from tersely.torch.weight.tersely_tensor import TerselyTensor


class Int8Linear(nn.Module):
    """Computes y = x @ (scale[:, None] * weight).T + bias with an int8 weight.

    `compress_` codes the weight; products are the same to the bit before and after, and no dense copy is made.
    Gradients flow to x and bias. `.half()` and the like leave the scale in float32.

    Attributes:
        weight: int8 [outputs, inputs], a buffer, compressed or not.
        scale: float32 [outputs], a buffer.
        bias: float [outputs], a parameter, or None.
        written_out: whether products are written down in operators of torch alone, for exporters, which know no others.
    """

    weight: Tensor
    scale: Tensor
    written_out: bool = False

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        """Makes a layer of weights that are zero until they are loaded or assigned; `from_linear` quantises a layer."""
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.register_buffer("weight", torch.zeros(out_features, in_features, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(out_features))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self._coded: tuple[Any, Any, CodedTensor] | None = None

    @classmethod
    def from_linear(cls, layer: nn.Linear) -> Int8Linear:
        """Quantises a layer: symmetric, to the nearest of 255 steps, one scale for each output.

        Args:
            layer: with a weight [outputs, inputs] of any float dtype.

        Raises:
            ArgumentError: for weights that are not finite.
        """
        weight = layer.weight.detach().float()
        if not bool(torch.isfinite(weight).all()):
            raise ArgumentError(
                "the weight holds NaN or infinity, which int8 cannot: replace them, as torch.nan_to_num does, or leave "
                "the layer as it is"
            )
        made = cls(layer.in_features, layer.out_features, layer.bias is not None)
        largest = weight.abs().amax(dim=1) if weight.numel() else weight.new_zeros(layer.out_features)
        step = largest / 127
        made.scale = torch.where(step > 0, step, torch.ones_like(step))
        made.weight = (weight / made.scale[:, None]).round().clamp(-127, 127).to(torch.int8)
        if layer.bias is not None:
            made.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=layer.bias.requires_grad)
        return made

    def coded(self) -> CodedTensor:
        """Returns the weight as `tersely` multiplies it: its codes, or its own bytes.

        Raises:
            ArgumentError: where the weight has another shape or dtype than the layer.
        """
        weight = self.weight
        storage = weight.storage_ if isinstance(weight, TerselyTensor) else weight
        address = None if isinstance(weight, TerselyTensor) else weight.data_ptr()
        if self._coded is None or self._coded[0] is not storage or self._coded[1] != address:
            if weight.dtype != torch.int8 or tuple(weight.shape) != (self.out_features, self.in_features):
                raise ArgumentError(
                    f"the weight is {weight.dtype} {list(weight.shape)}; it must be torch.int8 "
                    f"[{self.out_features}, {self.in_features}]"
                )
            if isinstance(storage, Coded):
                coded = storage.coded_tensor
            else:
                with torch._C._DisableFuncTorch():  # whose wrappers, made of every result, have no memory
                    dense = weight.decode() if isinstance(weight, TerselyTensor) else weight
                    coded = over(as_array(dense))
            self._coded = (storage, address, coded)
        return self._coded[2]

    def forward(self, x: Tensor) -> Tensor:
        """Returns y [..., outputs] in the dtype of x [..., inputs].

        Args:
            x: float32, bfloat16 or float16 on the CPU.

        Raises:
            ArgumentError: for any other x.
        """
        if x.dtype not in PRODUCT_CODES or x.device.type != "cpu":
            raise ArgumentError(
                f"x is {x.dtype} on {x.device}; Int8Linear takes float32, bfloat16 or float16 on the CPU "
                "(tersely.linear multiplies int8 by int8)"
            )
        if self.written_out:
            return _in_torch(x, self.weight, self.scale, self.bias)
        if torch.compiler.is_compiling() or not _undisturbed(x, self.weight):
            return torch.ops.tersely.int8_linear(x, self.weight, self.scale, self.bias)
        call = _Transformed if torch._C._are_functorch_transforms_active() else _Product
        return call.apply(x, self.bias, self.coded(), self.scale)  # type: ignore[no-any-return]

    def _apply(self, fn: Any, recurse: bool = True) -> Int8Linear:
        """`.half()` and its kin: a rounded scale would change every weight of its row."""
        scale = self.scale
        super()._apply(fn, recurse)
        if self.scale.dtype is not scale.dtype:
            self.scale = scale.to(self.scale.device)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_coded": None}

    def extra_repr(self) -> str:
        coded = self.weight.formulation if isinstance(self.weight, TerselyTensor) else "int8"
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, {coded}"
        )


def _in_torch(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """The product of `Int8Linear` in operators of torch, as sums of float32."""
    dense = weight.decode() if isinstance(weight, TerselyTensor) else weight
    y = nn.functional.linear(x.to(torch.float32), dense.to(torch.float32)) * scale
    return (y if bias is None else y + bias.to(torch.float32)).to(x.dtype)


def _undisturbed(x: Tensor, weight: Tensor) -> bool:
    """Returns whether x and the weight have bytes to work on, with no tracer or mode in the way."""
    if type(x) is not Tensor and type(x) is not nn.Parameter:
        return False
    if isinstance(weight, TerselyTensor):
        real = weight.storage_.real
    else:
        real = type(weight) is Tensor or type(weight) is nn.Parameter
    return real and short_way.undisturbed()


class _Product(torch.autograd.Function):
    """The short way, which needs no operator."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, weight: CodedTensor, scale: Tensor) -> Tensor:
        ctx.weight, ctx.scale = weight, scale
        ctx.bias_dtype = None if bias is None else bias.dtype
        return multiplied(x, weight, scale, bias, False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        gradient = gradients[0]
        to_x = multiplied(gradient, ctx.weight, ctx.scale, None, True) if ctx.needs_input_grad[0] else None
        return to_x, to_bias(ctx, gradient) if ctx.needs_input_grad[1] else None, None, None


class _Transformed(torch.autograd.Function):
    """Multiplies as `_Product` does, under `torch.func`.

    Every call of such a function costs tens of us more, in torch.
    """

    @staticmethod
    def forward(x: Tensor, bias: Tensor | None, weight: CodedTensor, scale: Tensor) -> Tensor:
        return multiplied(x, weight, scale, bias, False)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, bias, ctx.weight, scale = inputs
        ctx.save_for_backward(scale)
        ctx.bias_dtype = None if bias is None else bias.dtype

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        gradient = gradients[0]
        to_x = _Transposed.apply(gradient, ctx.weight, *ctx.saved_tensors) if ctx.needs_input_grad[0] else None
        return to_x, to_bias(ctx, gradient) if ctx.needs_input_grad[1] else None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *given: Any) -> tuple[Tensor, int]:
        return vectorised(info, in_dims, _Transformed.apply, *given)


class _Transposed(torch.autograd.Function):
    """The gradient to x, which is linear in what it is given."""

    @staticmethod
    def forward(x: Tensor, weight: CodedTensor, scale: Tensor) -> Tensor:
        return multiplied(x, weight, scale, None, True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.weight, scale = inputs
        ctx.save_for_backward(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _Transformed.apply(gradients[0], None, ctx.weight, *ctx.saved_tensors), None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *given: Any) -> tuple[Tensor, int]:
        return vectorised(info, in_dims, _Transposed.apply, *given)
