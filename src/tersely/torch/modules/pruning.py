"""Weights pruned by `torch.nn.utils.prune`: the mask becomes zeros of the weight.

Torch keeps `weight_orig` and `weight_mask` and multiplies them before every call. Folded, the module has its plain
`weight` again, with zeros where the mask has them, and `sparse` codes it by position.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from tersely.core.errors import ArgumentError


@dataclass(frozen=True)
class Folded:
    """What has been folded, and what it takes to undo it; dense weights stay in memory as long as this does.

    names: of the weights. before: by module, its parameters, buffers, hooks and masked weights. values: of parameters.
    """

    names: tuple[str, ...]
    before: tuple[tuple[nn.Module, tuple[dict[Any, Any], ...], dict[str, Any]], ...]
    values: tuple[tuple[Tensor, Tensor], ...]

    def undo(self) -> None:
        """Gives back the modules as they were, to the order of their parameters."""
        for owner, kept, masked in self.before:
            for now, then in zip(_state(owner), kept, strict=True):
                now.clear()
                now.update(then)
            owner.__dict__.update(masked)
        for parameter, value in self.values:
            parameter.data = value


def _state(owner: nn.Module) -> tuple[dict[Any, Any], ...]:
    return owner._parameters, owner._buffers, owner._forward_pre_hooks


def fold_masks(module: nn.Module, wanted: Callable[[str], bool]) -> Folded:
    """Folds the masks of all parameters whose name is `wanted`. Parameters that are shared keep their masks, which may
    differ from place to place.

    Multiplying by a mask makes -0.0 of what was negative. Folding makes 0.0 of it, as the pruned weight is meant:
    products are the same numbers.

    Raises ArgumentError, changing nothing, where a masked parameter holds a gradient.
    """
    found = [
        (f"{path}.{hook._tensor_name}".lstrip("."), owner, hook._tensor_name)
        for path, owner in module.named_modules()
        for hook in owner._forward_pre_hooks.values()
        if isinstance(hook, prune.BasePruningMethod)
    ]
    owners = Counter(id(owner._parameters[f"{tensor}_orig"]) for _, owner, tensor in found)
    chosen = [
        (name, owner, tensor)
        for name, owner, tensor in found
        if wanted(name) and owners[id(owner._parameters[f"{tensor}_orig"])] == 1
    ]
    held = [name for name, owner, tensor in chosen if owner._parameters[f"{tensor}_orig"].grad is not None]
    if held:
        raise ArgumentError(
            f"these masked parameters hold gradients: {', '.join(held[:8])}; compressed weights are frozen: set .grad to "
            "None (optimizer.zero_grad()) or exclude them"
        )
    owned: dict[nn.Module, list[str]] = {}
    for _, owner, tensor in chosen:
        owned.setdefault(owner, []).append(tensor)
    folded = Folded(
        tuple(name for name, _, _ in chosen),
        tuple(
            (owner, tuple(dict(each) for each in _state(owner)), {tensor: owner.__dict__[tensor] for tensor in tensors})
            for owner, tensors in owned.items()
        ),
        tuple((parameter, parameter.data) for parameter in (o._parameters[f"{t}_orig"] for _, o, t in chosen)),
    )
    for _, owner, tensor in chosen:
        mask = owner._buffers[f"{tensor}_mask"]
        prune.remove(owner, tensor)
        weight = owner._parameters[tensor]
        with torch.no_grad():
            weight.masked_fill_(mask == 0, 0)
    return folded
