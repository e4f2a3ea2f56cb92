"""`tersely.torch.pipeline`: a model compiled ahead of time to run on compressed weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tersely.core.choices import Objective
from tersely.graph.pipeline import Constant
from tersely.graph.pipeline import Pipeline as Executed
from tersely.tensors.encode import encode
from tersely.torch.networks.partition import Encode, Partitioned


class Pipeline:
    """A model that runs on compressed weights: called as the model is, with tensors, under inference.

    left: nodes that torch runs, each with the reason, for lack of an operator; {} where there is none.
    """

    def __init__(self, partitioned: Partitioned) -> None:
        self._partitioned = partitioned
        self.left = partitioned.left

    def __call__(self, *inputs: torch.Tensor) -> Any:
        """The model's outputs, without gradients."""
        with torch.inference_mode(False), torch.no_grad():
            return self._partitioned.module(*inputs)

    @property
    def executed(self) -> list[Executed]:
        """The pieces that run on compressed weights, as `tersely.graph` has them."""
        return self._partitioned.pieces


def pipeline(model: torch.nn.Module, example_inputs: tuple[Any, ...], objective: Objective = "balanced") -> Pipeline:
    """Compile a model ahead of time: torch.export, then compressed weights and a program for our executor.

    model: in eval mode; it is left as it is.
    example_inputs: as the model is called; other batch sizes may follow.
    objective: "size", "balanced" or "speed".

    Raises what torch.export raises where a model's control flow depends on data: torch.compile with backend="tersely"
    takes such models.
    """
    with torch.no_grad():
        program = torch.export.export(model, example_inputs)
    return Pipeline(Partitioned(program, encoder(objective)))


def encoder(objective: Objective) -> Encode:
    """How constants are coded: weights of products by the planner, everything else as float32 numbers."""

    def encoded(name: str, tensor: torch.Tensor, is_weight: bool) -> Constant:
        array = tensor.detach().cpu().numpy()
        return encode(array, objective=objective) if is_weight else array.astype(np.float32)

    return encoded
