"""What torch does to weights outside of its operators: sharding and compiling them, and moving a module's parameters.

`nn.Module` moves parameters by swapping them with new ones, which torch refuses for tensors that anybody watches, as
compilers watch the parameters of a compiled model. Between two compressed weights of the same kind, exchanging what they
hold does the same and disturbs no watcher. For all other tensors `swap_tensors` does what it did.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch

from tersely.core.errors import TerselyError
from tersely.torch.weight.tersely_tensor import COMPONENT, TerselyTensor

_OF_FSDP = ("_fsdp_flattened", "_fsdp_orig_uid")
"""Attributes that FSDP 1 and FSDP 2 look for in every parameter before they touch it."""


def install() -> None:
    """Wrap `torch.utils.swap_tensors` once, and have compressed weights answer FSDP."""
    for name in _OF_FSDP:
        setattr(TerselyTensor, name, property(_refuse_sharding))
    _free_lengths()
    original = torch.utils.swap_tensors
    if getattr(original, "of_tersely", False):
        return

    def swap_tensors(t1: Any, t2: Any) -> None:
        if not _alike(t1, t2):
            _unwatched(original, t1, t2)
            return
        t1.exchange(t2)

    swap_tensors.of_tersely = True  # type: ignore[attr-defined]
    torch.utils.swap_tensors = swap_tensors


def _unwatched(swap: Callable[[Any, Any], None], *tensors: Any) -> None:
    """Swap tensors of which compressed ones are watched by their holder, which torch would take for a reason to refuse."""
    for tensor in tensors:
        if isinstance(tensor, TerselyTensor):
            tensor.holder.hide(tensor)
    try:
        swap(*tensors)
    except RuntimeError as error:
        if any(isinstance(tensor, TerselyTensor) for tensor in tensors):
            raise TerselyError(
                f"a compressed weight cannot be exchanged for another tensor while views of it are in use ({error}): drop "
                f"them first, or use tersely.torch.decompress_(model) before"
            ) from error
        raise
    finally:
        for tensor in tensors:
            if isinstance(tensor, TerselyTensor):
                tensor.holder.show(tensor)


def _free_lengths() -> None:
    """Have torch.compile not depend on how long the components of a weight are, which differs from layer to layer: it takes
    all shapes that are found by way of parameters for fixed ones, except those of sources that it is told of."""
    config: Any = getattr(torch.compiler, "config", None)
    told = getattr(config, "dynamic_sources", None)
    pattern = rf".*\.{COMPONENT}\d+$"
    if isinstance(told, str) and pattern not in told:
        config.dynamic_sources = f"{told},{pattern}" if told else pattern


def _alike(one: Any, other: Any) -> bool:
    if not isinstance(one, TerselyTensor) or type(one) is not type(other):
        return False
    return (one.shape, one.dtype, one.device, one.layout_) == (other.shape, other.dtype, other.device, other.layout_)


def _refuse_sharding(weight: TerselyTensor) -> NoReturn:
    raise TerselyError(
        f"FSDP cannot shard compressed weights (here {list(weight.shape)}, {weight.formulation}): it cuts dense memory into "
        "pieces. Use DistributedDataParallel, which leaves frozen weights alone, or tersely.torch.decompress_(model) before "
        "fully_shard; modules and parameters that FSDP ignores may stay compressed"
    )
