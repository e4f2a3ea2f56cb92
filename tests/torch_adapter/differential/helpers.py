"""What expressions need and no library has: one-line forms of what takes several lines."""

from __future__ import annotations

import copy
import io
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune


def grad_of(weight: Any) -> Any:
    """The gradient of an input through a product with the weight."""
    with torch.enable_grad():
        x = torch.ones(2, weight.shape[-1], dtype=weight.dtype, requires_grad=True)
        F.linear(x, weight).sum().backward()
    return x.grad


def packed(weight: Any) -> Any:
    """A product with the weight as fbgemm packs it."""
    held = torch.fbgemm_pack_gemm_matrix_fp16(weight)
    return torch.fbgemm_linear_fp16_weight(torch.ones(2, weight.shape[1]), held, torch.zeros(weight.shape[0]))


def attention(weight: Any) -> Any:
    """Attention whose output projection is the weight (square)."""
    layer = nn.MultiheadAttention(weight.shape[1], 4, bias=False).requires_grad_(False).eval()
    layer.in_proj_weight.fill_(0.1)
    layer.out_proj.weight = weight
    x = torch.ones(3, 2, weight.shape[1])
    return layer(x, x, x)[0]


def swapped(work: Callable[[], Any]) -> Any:
    """Under `torch.__future__.set_swap_module_params_on_conversion`."""
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        return work()
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)


def autocast(work: Callable[[], Any]) -> Any:
    with torch.autocast("cpu", torch.bfloat16):
        return work()


def with_default_device(work: Callable[[], Any]) -> Any:
    with torch.device("meta"):
        return work()


def with_default_dtype(work: Callable[[], Any]) -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return work()
    finally:
        torch.set_default_dtype(before)


def in_thread(work: Callable[[], Any]) -> Any:
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def vmapped(module: Any, x: Any) -> Any:
    return torch.vmap(module)(torch.stack([x, x]))


def loaded_into_dense(module: Any, dense: Any, **options: Any) -> Any:
    """A dense module that takes over the state of this one."""
    from tersely.torch import decompress_

    other = copy.deepcopy(module)
    decompress_(other)
    other.requires_grad_(False)
    other.load_state_dict(dense)
    other.load_state_dict(module.state_dict(), **options)
    return other


def fused_with_norm(module: Any) -> Any:
    conv = isinstance(module, nn.Conv2d)
    norm = nn.BatchNorm2d(len(module.weight)) if conv else nn.BatchNorm1d(len(module.weight))
    norm.eval()
    norm.running_var.fill_(4.0)
    fuse = nn.utils.fuse_conv_bn_eval if conv else nn.utils.fuse_linear_bn_eval
    return fuse(module, norm)


class _Twice(nn.Module):
    def forward(self, weight: Any) -> Any:
        return weight * 2

    def right_inverse(self, weight: Any) -> Any:
        return weight / 2


def parametrized(module: Any) -> Any:
    nn.utils.parametrize.register_parametrization(module, "weight", _Twice())
    return module


def averaged(module: Any, other: Any, function: Any, multi: Any = None) -> Any:
    """An average of the module's weights, and of those after they are replaced."""
    average = torch.optim.swa_utils.AveragedModel(module, avg_fn=function, multi_avg_fn=multi)
    average.update_parameters(module)
    changed = copy.deepcopy(module)
    changed.weight.copy_(other)
    average.update_parameters(changed)
    return average


def stepped(module: Any, gradient: Any, optimizer: Any) -> Any:
    """One step of an optimiser that was given a gradient of the weight."""
    weight = module.weight
    weight.grad = gradient.to_sparse() if optimizer.__name__ == "SparseAdam" else gradient.clone()
    made = optimizer([weight])
    made.step(lambda: torch.tensor(0.0))
    weight.grad = None
    return weight


def reloaded(script: Any) -> Any:
    """A TorchScript module, written and read."""
    file = io.BytesIO()
    torch.jit.save(script, file)
    file.seek(0)
    return torch.jit.load(file)


def saved(value: Any, weights_only: bool = False, mmap: bool = False, **options: Any) -> Any:
    """Written by torch.save and read again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        torch.save(value, path, **options)
        found = torch.load(path, weights_only=weights_only, mmap=mmap or None)
        return copy.deepcopy(found)


def reduced(value: Any) -> Any:
    """Through the pickler by which processes hand tensors to each other."""
    import pickle
    from multiprocessing.reduction import ForkingPickler

    import torch.multiprocessing.reductions

    return pickle.loads(ForkingPickler.dumps(value))


def reduced_by_hand(value: Any) -> Any:
    from torch.multiprocessing.reductions import reduce_tensor

    call, arguments = reduce_tensor(value)
    return call(*arguments)


def safe_model(module: Any) -> Any:
    import safetensors.torch as safe

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/model.safetensors"
        safe.save_model(module, path)
        return dict(safe.load_file(path))


def saved_dense(state: Any) -> str:
    import safetensors.torch as safe

    path = tempfile.mkdtemp() + "/model.safetensors"
    safe.save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path
