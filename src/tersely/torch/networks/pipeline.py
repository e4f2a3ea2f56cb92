"""`tersely.torch.pipeline`: a model that runs ahead of time, on compressed weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tersely.core.choices import Objective
from tersely.graph.pipeline import Constant, Pipeline
from tersely.tensors.encode import encode
from tersely.torch.networks.exported import import_exported

CODED = ("convolution", "linear", "embedding")
"""Operators whose weights are compressed."""


def pipeline(
    model: torch.nn.Module, example_inputs: tuple[Any, ...] | dict[str, Any], objective: Objective = "balanced"
) -> Pipeline:
    """Export a model and compress its weights, to be run without torch.

    model: in eval mode; it is left as it is.
    example_inputs: as the model is called, by position or by name.
    objective: "size", "balanced" or "speed".

    Raises UnsupportedError for operators that the graph does not have.
    """
    by_name = isinstance(example_inputs, dict)
    program = torch.export.export(model, *((), example_inputs) if by_name else (example_inputs,))
    graph, tensors = import_exported(program)
    matrices = {node.inputs["weight"] for node in graph.nodes if node.operator in CODED}
    constants: dict[str, Constant] = {}
    for name, tensor in tensors.items():
        array = tensor.detach().cpu().numpy()
        constants[name] = encode(array, objective=objective) if name in matrices else array.astype(np.float32)
    return Pipeline(graph, constants)
