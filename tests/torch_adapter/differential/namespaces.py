"""The libraries' own names, with the text by which an expression calls each."""

from __future__ import annotations

import importlib.util
import inspect
import operator
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import safetensors.torch
import torch
import torch.multiprocessing.reductions
import torch.nn.functional as F
import torch.nn.utils.parametrizations
import torch.nn.utils.parametrize
import torch.nn.utils.prune
import torch.optim.swa_utils

TEXTS = {
    "torch": "torch",
    "functional": "F",
    "linalg": "torch.linalg",
    "fft": "torch.fft",
    "special": "torch.special",
    "operator": "operator",
    "numpy": "np",
}
"""Owner of names: how an expression calls it."""


ADAPTERS = all(importlib.util.find_spec(name) is not None for name in ("peft", "accelerate"))
"""Whether peft and accelerate are installed; without them their names are no part of the list."""


def names() -> dict[str, str]:
    """Full name: how it is called. 'Tensor.add_': 'w.add_', 'torch.add': 'torch.add', ..."""
    found = {f"Tensor.{name}": f"w.{name}" for name in dir(torch.Tensor)}
    modules = {"torch": torch, "functional": F, "linalg": torch.linalg, "fft": torch.fft, "special": torch.special}
    for owner, module in {**modules, "operator": operator}.items():
        found |= {f"{owner}.{name}": f"{TEXTS[owner]}.{name}" for name in _functions(module)}
    for owner, module in {
        "utils": torch.nn.utils,
        "init": torch.nn.init,
        "prune": torch.nn.utils.prune,
        "parametrize": torch.nn.utils.parametrize,
        "parametrizations": torch.nn.utils.parametrizations,
        "swa_utils": torch.optim.swa_utils,
        "func": torch.func,
        "jit": torch.jit,
        "reductions": torch.multiprocessing.reductions,
        "safetensors": safetensors.torch,
    }.items():
        found |= {f"{owner}.{name}": "" for name in _functions(module)}
    found |= {f"Module.{name}": "" for name in dir(torch.nn.Module)}
    found |= {
        f"optim.{name}": ""
        for name, value in vars(torch.optim).items()
        if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
    }
    found |= _adapters() if ADAPTERS else {}
    found |= {"torch_utils.swap_tensors": ""}
    found |= {f"numpy.{name}": f"np.{name}" for name, value in vars(np).items() if isinstance(value, np.ufunc)}
    return found


def _adapters() -> dict[str, str]:
    """Public names of peft, and those of accelerate that take models or tensors."""
    import accelerate
    import accelerate.big_modeling
    import accelerate.hooks
    import accelerate.utils
    import peft
    import peft.utils

    found = {f"peft.{name}": "" for name in peft.__all__}
    found |= {
        f"peft_utils.{name}": ""
        for name in peft.utils.__all__
        if callable(getattr(peft.utils, name)) and not hasattr(peft, name)
    }
    found |= {f"accelerate.{name}": "" for name in _functions(accelerate)}
    found |= {"accelerate.Accelerator": "", "accelerate.attach_layerwise_casting_hooks": ""}
    found |= {f"accelerate_utils.{name}": "" for name in _functions(accelerate.utils)}
    return found | {
        f"accelerate_hooks.{name}": "" for name in _functions(accelerate.hooks) if not hasattr(accelerate.utils, name)
    }


def _functions(module: ModuleType) -> Iterator[str]:
    for name in dir(module):
        value = getattr(module, name)
        if callable(value) and not inspect.isclass(value) and not name.startswith("_"):
            yield name


def is_attribute(name: str) -> bool:
    """Whether a name of Tensor is looked at, not called."""
    owner, _, last = name.partition(".")
    return (
        owner == "Tensor"
        and not callable(inspect.getattr_static(torch.Tensor, last, None))
        and not callable(getattr(torch.Tensor, last, None))
    )
