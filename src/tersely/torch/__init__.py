"""PyTorch modules on compressed weights.

    import tersely.torch
    tersely.torch.compress_(model)          # in place; any nn.Module
    model(x)                                # runs on the codes

`tersely.torch` is an adapter: it translates between torch and `tersely` and holds no code of its own. docs/torch.md has
a quick start and the table of operators.
"""

from __future__ import annotations

from tersely.torch.checkpoint.save_load import (
    encode,
    load_file,
    load_model,
    save_file,
    save_model,
)
from tersely.torch.checkpoint.state_dicts import flatten_state_dict, unflatten_state_dict
from tersely.torch.interop import entrances, exporters, footprint, hooks, offloading
from tersely.torch.interop.footprint import memory_footprint
from tersely.torch.interop.lending import dense_weights
from tersely.torch.interop.programs import dense_program
from tersely.torch.modules.compression import compress_, decompress_
from tersely.torch.modules.int8_linear import Int8Linear
from tersely.torch.modules.summary import ParameterReport, Summary
from tersely.torch.networks.pipeline import Pipeline, pipeline
from tersely.torch.operators import compiled as compiled
from tersely.torch.operators import table as table
from tersely.torch.weight.tersely_tensor import FusedTensor, TerselyTensor

hooks.install()
entrances.install()
exporters.install()
offloading.install()
footprint.install()

__all__ = [
    "FusedTensor",
    "Int8Linear",
    "TerselyTensor",
    "ParameterReport",
    "Pipeline",
    "Summary",
    "compress_",
    "decompress_",
    "dense_program",
    "dense_weights",
    "encode",
    "flatten_state_dict",
    "load_file",
    "load_model",
    "memory_footprint",
    "pipeline",
    "save_file",
    "save_model",
    "unflatten_state_dict",
]
