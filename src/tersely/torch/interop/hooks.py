"""What torch does to weights outside of its operators: sharding and compiling them, and moving a module's parameters.

`nn.Module` moves parameters by swapping them with new ones (`torch.utils.swap_tensors`), and torch refuses to swap a
tensor that anybody else refers to: views, graphs of autograd, compilers that watch parameters. For dense weights
`.data =` does the same in their place, without such a condition: the parameter shows the new weights, and whoever refers
to the old ones keeps them. That is what happens here to compressed weights:

    same class, shape, dtype, layout    the two exchange what they hold; nobody who watches is disturbed
    both compressed, but different      the tensors behind the two Python objects change places
    one dense, or swapping asked for    torch does it, or refuses it while somebody refers to either

(Asked for by `torch.__future__.set_swap_module_params_on_conversion`, under which dense weights have that condition too.)

For all other tensors `swap_tensors` does what it did.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch

from tersely.core.errors import TerselyError
from tersely.torch.weight.tersely_tensor import COMPONENT, TerselyTensor

_OF_FSDP = ("_fsdp_flattened", "_fsdp_orig_uid")
"""Attributes that FSDP 1 and FSDP 2 look for in every parameter before they touch it."""


def install() -> None:
    """Wraps `torch.utils.swap_tensors` once, and has compressed weights answer FSDP."""
    for name in _OF_FSDP:
        setattr(TerselyTensor, name, property(_refuse_sharding))
    _free_lengths()
    original = torch.utils.swap_tensors
    if getattr(original, "of_tersely", False):
        return

    def swap_tensors(t1: Any, t2: Any) -> None:
        compressed = [tensor for tensor in (t1, t2) if isinstance(tensor, TerselyTensor)]
        if len(compressed) == 2 and _alike(t1, t2):
            t1.exchange(t2)
        elif len(compressed) < 2 or torch.__future__.get_swap_module_params_on_conversion():
            _by_torch(original, compressed, t1, t2)
        else:
            _change_places(t1, t2)

    swap_tensors.of_tersely = True  # type: ignore[attr-defined]
    torch.utils.swap_tensors = swap_tensors


def _change_places(t1: TerselyTensor, t2: TerselyTensor) -> None:
    """Swaps two compressed weights of different kinds, whoever refers to them: `.half()` of a module whose views are alive.

    As `torch.utils.swap_tensors` does it after it has counted references. It counts them because what refers to a tensor in
    C++ stays with it: the base of a view and what autograd saved stay the old weight. That is wanted here, and frozen
    weights have no gradient that would be accumulated into the wrong one.
    """
    for tensor in (t1, t2):
        tensor.holder.hide(tensor)
    for name in ("__class__", "__dict__"):
        one, other = getattr(t1, name), getattr(t2, name)
        setattr(t1, name, other)
        setattr(t2, name, one)
    torch._C._swap_tensor_impl(t1, t2)
    for tensor in (t1, t2):
        tensor.holder.show(tensor)


def _by_torch(swap: Callable[[Any, Any], None], compressed: Sequence[TerselyTensor], t1: Any, t2: Any) -> None:
    """Swaps by torch's own function, without the holder of a compressed weight, which watches it, as a reason to refuse."""
    for tensor in compressed:
        tensor.holder.hide(tensor)
    try:
        swap(t1, t2)
    except RuntimeError as error:
        if not compressed:
            raise
        raise TerselyError(
            f"a compressed weight cannot be exchanged for another tensor while views of it are in use ({error}): drop "
            "them first, or use tersely.torch.decompress_(model) before"
        ) from error
    finally:
        for tensor in (t1, t2):
            if isinstance(tensor, TerselyTensor):
                tensor.holder.show(tensor)


def _free_lengths() -> None:
    """Has torch.compile not depend on how long the components of a weight are, which differs from layer to layer.

    It takes all shapes that are found by way of parameters for fixed ones, except those of sources that it is told of.
    """
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
