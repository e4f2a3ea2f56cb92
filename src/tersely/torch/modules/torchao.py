"""Linear layers that torchao quantised to int8, weights only: their payload compressed, multiplied without a dense copy.

torchao keeps such a weight as a tensor subclass of int8 values and a scale for each output (or one for all) under the
name `weight` of a plain `nn.Linear`. `adopt` puts an `Int8Linear` of the same values and scales in the layer's place, so
that everything else treats it as any other, and models have the same entries whatever of them was worth coding;
`give_back` puts the layer back, its weight as it was. Nothing here imports torchao: a weight is known by what it has, and made again by its own class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tersely.core.errors import TerselyError
from tersely.torch.modules.int8_linear import Int8Linear
from tersely.torch.weight.tersely_tensor import TerselyTensor

PAYLOAD = "qdata"


class QuantizedLinear(Int8Linear):
    """An `Int8Linear` that stands for a layer of torchao. layer: that layer, without its weight, in a list to hide it."""

    def __init__(self, layer: nn.Linear) -> None:
        nn.Module.__init__(self)
        weight: Any = layer.weight
        names, self._context = weight.__tensor_flatten__()
        self._kind: Any = type(weight)
        self._others = {name: getattr(weight, name) for name in names if name != PAYLOAD}
        self._layer = [layer]
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.register_buffer("weight", getattr(weight, PAYLOAD))
        self.register_buffer("scale", weight.scale.reshape(-1).float().expand(self.out_features).contiguous())
        self.bias = layer.bias
        self._coded = None
        self.train(layer.training)
        layer._parameters["weight"] = None  # or what is compressed would stay in memory

    def original(self) -> nn.Linear:
        """Returns the layer, its weight made of this one's values."""
        layer = self._layer[0]
        values = self.weight.decode() if isinstance(self.weight, TerselyTensor) else self.weight
        tensors = {PAYLOAD: values, **self._others, "scale": self._scale()}
        weight = self._kind.__tensor_unflatten__(tensors, self._context, None, None)
        layer._parameters["weight"] = nn.Parameter(weight, requires_grad=False)
        layer.bias = self.bias
        return layer.train(self.training)

    def _scale(self) -> Tensor:
        """The scales as torchao had them, or those that were loaded since in the same shape and, where it holds them, dtype."""
        kept: Tensor = self._others["scale"]
        own = self.scale.float()
        if torch.equal(kept.reshape(-1).float().expand(self.out_features), own):
            return kept
        if kept.numel() == 1 and not bool((own == own[0]).all()):
            raise TerselyError(
                "a layer that torchao quantised under one scale was given a scale for each output: save the model as it is, "
                "or decompress_ before loading"
            )
        fresh = own[: kept.numel()].reshape(kept.shape)
        narrow = fresh.to(kept.dtype)
        return narrow if torch.equal(narrow.float(), fresh) else fresh


def why_not(layer: nn.Linear) -> str:
    """Returns why a layer whose weight is a payload of torchao cannot be adopted, or ''."""
    weight: Any = layer.weight
    if type(layer) is not nn.Linear or layer._forward_hooks or layer._forward_pre_hooks:
        return "torchao: not a plain nn.Linear without hooks"
    given = ("act_quant_kwargs", "act_quant_scale", "act_pre_scale")
    if any(getattr(weight, name, None) is not None for name in given):
        return "torchao: quantises x as well, which tersely leaves to it"
    values, zeros = getattr(weight, PAYLOAD), getattr(weight, "zero_point", None)
    if values.dtype is not torch.int8 or values.ndim != 2 or values.device.type != "cpu":
        return "torchao: not int8 values of a matrix on the CPU"
    if weight.scale.numel() not in (1, values.shape[0]) or (zeros is not None and bool(zeros.any())):
        return "torchao: scales of groups, or zero points"
    return ""


def is_payload(weight: Any) -> bool:
    """Returns whether a weight is an int8 tensor of torchao, quantised by rows or by groups."""
    return type(weight).__name__ == "Int8Tensor" and all(
        hasattr(weight, name) for name in (PAYLOAD, "scale", "block_size", "__tensor_flatten__")
    )


def adopt(module: nn.Module, wanted: Callable[[str], bool]) -> tuple[str, ...]:
    """Puts an `Int8Linear` in the place of every layer in `module` whose weight's name is wanted; returns the names.

    The module itself cannot be replaced, and a weight that several layers share is left alone.
    """
    found: dict[nn.Module, str] = {}
    shared: dict[int, int] = {}
    for path, owner in module.named_modules():
        if isinstance(owner, nn.Linear) and is_payload(owner.weight):
            shared[id(owner.weight)] = shared.get(id(owner.weight), 0) + 1
            if owner is not module and wanted(f"{path}.weight") and not why_not(owner):
                found[owner] = f"{path}.weight"
    names = {owner: name for owner, name in found.items() if shared[id(owner.weight)] == 1}
    _replace(module, {owner: QuantizedLinear(owner) for owner in names})  # type: ignore[arg-type]
    return tuple(names.values())


def give_back(module: nn.Module) -> None:
    """Puts the layers of torchao back in their places."""
    _replace(module, {layer: layer.original() for layer in module.modules() if isinstance(layer, QuantizedLinear)})


def _replace(module: nn.Module, by: dict[nn.Module, nn.Module]) -> None:
    """Puts modules in the places of others, in all of them: a module may have several."""
    for owner in list(module.modules()):
        for name, child in owner._modules.items():
            if child is not None and child in by:
                owner._modules[name] = by[child]
