"""PyTorch modules on compressed weights.

    import laconic.torch
    laconic.torch.compress_(model)          # in place; any nn.Module
    model(x)                                # runs on the codes

`laconic.torch` is an adapter: it translates between torch and `laconic` and holds no code of its own. docs/torch.md has
a quick start and the table of operators.
"""

from __future__ import annotations

from laconic.torch import custom as custom
from laconic.torch import entrances, exporters, footprint, hooks, offloading
from laconic.torch import operators as operators
from laconic.torch.compression import compress_, decompress_
from laconic.torch.footprint import memory_footprint
from laconic.torch.int8 import Int8Linear
from laconic.torch.lending import dense_weights
from laconic.torch.programs import dense_program
from laconic.torch.storage import (
    encode,
    flatten_state_dict,
    load_file,
    load_model,
    save_file,
    save_model,
    unflatten_state_dict,
)
from laconic.torch.summary import ParameterReport, Summary
from laconic.torch.tensor import FusedTensor, LaconicTensor

hooks.install()
entrances.install()
exporters.install()
offloading.install()
footprint.install()

__all__ = [
    "FusedTensor",
    "Int8Linear",
    "LaconicTensor",
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
