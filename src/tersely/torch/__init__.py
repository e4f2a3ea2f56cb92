"""PyTorch modules on compressed weights.

    import tersely.torch
    tersely.torch.compress_(model)          # in place; any nn.Module
    model(x)                                # runs on the codes

`tersely.torch` is an adapter: it translates between torch and `tersely` and holds no code of its own. docs/torch.md has
a quick start and the table of operators.
"""

from __future__ import annotations

from tersely.torch import custom as custom
from tersely.torch import entrances, exporters, footprint, hooks, offloading
from tersely.torch import operators as operators
from tersely.torch.compression import compress_, decompress_
from tersely.torch.footprint import memory_footprint
from tersely.torch.int8 import Int8Linear
from tersely.torch.lending import dense_weights
from tersely.torch.programs import dense_program
from tersely.torch.storage import (
    encode,
    flatten_state_dict,
    load_file,
    load_model,
    save_file,
    save_model,
    unflatten_state_dict,
)
from tersely.torch.summary import ParameterReport, Summary
from tersely.torch.tensor import FusedTensor, TerselyTensor

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
    "save_file",
    "save_model",
    "unflatten_state_dict",
]
