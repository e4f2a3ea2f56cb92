"""Mode "identical" of pipelines: torch's own operators on weights that are decoded where they are used.

What torch computes it computes with the same operators on the same bits in the same layout, so results have the bits of
the model as it was. `compress_` does all of that; here it is done to a copy.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from tersely.core.choices import Objective
from tersely.core.errors import ArgumentError
from tersely.torch.modules.compression import compress_


def decoding_copy(model: nn.Module, objective: Objective) -> nn.Module:
    """A copy of a model on compressed weights, which it decodes one at a time. Raises ArgumentError where none is made."""
    try:
        with torch.inference_mode(False), torch.no_grad():
            copied = copy.deepcopy(model)
    except Exception as error:
        raise ArgumentError(
            f"the model cannot be copied ({error}): compress_(model, mode='identical') needs no copy"
        ) from error
    compress_(copied, objective=_objective(objective), mode="identical", progress=False)
    return copied


def coded_parameter(parameter: torch.Tensor, objective: Objective) -> torch.Tensor:
    """One parameter as a compressed tensor that torch's operators take; dense where no code makes it smaller."""
    holder = nn.Module()
    holder.weight = nn.Parameter(parameter.detach(), requires_grad=False)
    compress_(holder, objective=_objective(objective), mode="identical", progress=False)
    return holder.weight.detach()


def weight_bytes(module: nn.Module) -> tuple[int, int]:
    """Bytes of the parameters and buffers of a compressed module, as they were and as they are held."""
    plain = held = 0
    for tensor in [*module.parameters(), *module.buffers()]:
        plain += tensor.numel() * tensor.element_size()
        held += int(getattr(tensor, "nbytes_stored", tensor.numel() * tensor.element_size()))
    return plain, held


def _objective(objective: Objective) -> Objective:
    """Every weight is decoded whole, so what `balanced` leaves dense for that reason would be all there is."""
    return "size" if objective == "balanced" else objective
