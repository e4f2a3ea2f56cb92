"""`tersely.torch.pipeline`: a model that runs ahead of time, on compressed weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tersely.core.choices import Objective
from tersely.graph.pipeline import Constant, Pipeline
from tersely.tensors.encode import encode
from tersely.torch.networks.exported import import_exported


def pipeline(model: torch.nn.Module, example_inputs: tuple[Any, ...], objective: Objective = "balanced") -> Pipeline:
    """Export a model and compress its weights, to be run without torch.

    model: in eval mode; it is left as it is.
    example_inputs: as the model is called.
    objective: "size", "balanced" or "speed".

    Raises UnsupportedError for operators that the graph does not have.
    """
    program = torch.export.export(model, example_inputs)
    graph, tensors = import_exported(program)
    matrices = {node.inputs["weight"] for node in graph.nodes if node.operator in ("convolution", "linear")}
    constants: dict[str, Constant] = {}
    for name, tensor in tensors.items():
        array = tensor.detach().cpu().numpy()
        constants[name] = encode(array, objective=objective) if name in matrices else array.astype(np.float32)
    return Pipeline(graph, constants)
