"""`save_pretrained` of models with compressed weights.

transformers sorts, splits and counts the tensors of a state dict by their memory, then gives each shard to the writer of
safetensors. Compressed weights have no dense memory, so each goes on that way as a stand-in, its largest component; the
writer (`hooks`) puts the weight back and lets `tersely.torch.save_file` write the shard.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

import tersely.torch
from tersely.core.choices import Objective
from tersely.torch import TerselyTensor
from tersely.torch.checkpoint.save_load import to_coded_tensor
from tersely.torch.weight.coded import Coded
from tersely.torch.weight.weight_storage import Dense
from tersely.transformers import versions

_MARK = "_tersely_weight"


def stand_ins(model: Any, given: Mapping[str, Tensor] | None, conversions: Any) -> dict[str, Tensor]:
    """Returns a model's state dict in the names and shapes of its checkpoint, with a stand-in for each compressed weight.

    Args:
        given: what to save instead of the model's own state.
        conversions: what transformers did to names and shapes while loading; undone here.

    Tied weights occur once.
    """
    state = _without_ties(model, dict(model.state_dict() if given is None else given))
    for pattern in getattr(model, "_keys_to_ignore_on_save", None) or ():
        state = {name: tensor for name, tensor in state.items() if not re.fullmatch(pattern, name)}
    state = versions.in_checkpoint_form(model, state, conversions)
    taken: set[int] = set()
    return {name: _stand_in(tensor, taken) for name, tensor in state.items()}


def weights_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Returns the tensors with every stand-in replaced by its weight; None where there is no stand-in."""
    found = {name: getattr(tensor, _MARK, tensor) for name, tensor in tensors.items()}
    return found if any(isinstance(tensor, TerselyTensor) for tensor in found.values()) else None


def _without_ties(model: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each tied weight once, under the name that transformers expects when it loads."""
    dense = {name: tensor for name, tensor in state.items() if not isinstance(tensor, TerselyTensor)}
    kept = set(versions.without_ties(model, dense))
    names: dict[object, list[str]] = {}
    for name, tensor in state.items():
        if isinstance(tensor, TerselyTensor):
            names.setdefault(tensor.identity, []).append(name)
    tied = versions.tied_names(model)
    kept |= {next((name for name in group if name not in tied), group[0]) for group in names.values()}
    return {name: tensor for name, tensor in state.items() if name in kept}


def _stand_in(tensor: Tensor, taken: set[int]) -> Tensor:
    """taken: the memory of other stand-ins. Equal weights that are not tied may share theirs, which transformers refuses."""
    if not isinstance(tensor, TerselyTensor):
        return tensor
    weight = tensor
    if isinstance(weight.storage_, Dense):  # a slice that codes could not follow: coded anew
        objective, profile = weight.encoding
        dense = weight.decode().contiguous()
        weight = tersely.torch.encode(dense, objective=cast(Objective, objective), profile=profile)
    elif not isinstance(weight.storage_, Coded) or weight.layout_ == "transposed":
        coded = to_coded_tensor(weight)
        weight = weight.like(Dense(weight.decode()) if coded is None else Coded.of(coded), "contiguous")
    if isinstance(weight.storage_, Dense):
        return weight.decode()
    stand_in = max(weight.storage_.tensors(), key=lambda part: part.nbytes).detach()
    if stand_in.data_ptr() in taken:
        stand_in = torch.empty_like(stand_in)  # nobody reads it
    taken.add(stand_in.data_ptr())
    setattr(stand_in, _MARK, weight)
    return stand_in
