"""Weights pruned by `torch.nn.utils.prune`: the mask becomes a part of the weight.

Torch keeps `weight_orig` and `weight_mask` and multiplies them before every call. Folded, the module has its plain
`weight` again, with zeros where the mask has them, and `sparse` codes it by position.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils import prune

from laconic.errors import ArgumentError


def fold_masks(module: nn.Module, wanted: Callable[[str], bool]) -> tuple[str, ...]:
    """Fold the masks of all parameters whose name is `wanted`; returns those names. Parameters that are shared keep
    their masks, which may differ from place to place.

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
    for _, owner, tensor in chosen:
        mask = owner._buffers[f"{tensor}_mask"]
        prune.remove(owner, tensor)
        weight = owner._parameters[tensor]
        with torch.no_grad():
            weight.masked_fill_(mask == 0, 0)
    return tuple(name for name, _, _ in chosen)
