"""One-line forms of what peft and accelerate do in several lines."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from typing import Any

import accelerate
import accelerate.big_modeling
import accelerate.hooks
import accelerate.utils
import peft
import peft.utils
import torch
from torch import nn


def adapted(module: Any, x: Any, kind: str, then: str = "", raw: bool = False, **settings: Any) -> Any:
    """A model with an adapter on its first layer: its answers, and its state after `then`."""
    config = getattr(peft, f"{kind}Config")(**{"target_modules": ["0"], **settings})
    model = peft.get_peft_model(nn.Sequential(module, nn.Identity()), config).eval()
    if raw:
        return model
    answers = [model(x)]
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.01)
    answers.append(model(x))
    if then:
        if then == "unmerge_adapter":
            model.merge_adapter()
        made = getattr(model, then)()
        answers.append((model if made is None else made)(x))
    return answers


def under(context: Any, work: Callable[[], Any]) -> Any:
    with context:
        return work()


def offloaded_to_disk(module: Any, x: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return accelerate.disk_offload(nn.Sequential(module), folder, "cpu")(x)


def offloaded(state: Any) -> Any:
    """A state dict, written by accelerate's offloading and read again."""
    with tempfile.TemporaryDirectory() as folder:
        accelerate.utils.offload_state_dict(folder, state)
        return copy.deepcopy(dict(accelerate.utils.OffloadedWeightsLoader(save_folder=folder)))


def accelerate_saved(state: Any, safe: bool) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        accelerate.utils.save(state, f"{folder}/file", safe_serialization=safe)
        if safe:
            return accelerate.utils.load_state_dict(f"{folder}/file")
        return accelerate.utils.load(f"{folder}/file")


def hooked(module: Any, x: Any, removed: bool = False) -> Any:
    """Offloaded by hooks on every module; taken off again where `removed`."""
    net = nn.Sequential(module)
    accelerate.hooks.attach_align_device_hook(net, "cpu", offload=True)
    answer = net(x)
    if removed:
        accelerate.hooks.remove_hook_from_submodules(net)
        answer = net(x)
    return answer


def layerwise(module: Any, x: Any) -> Any:
    net = nn.Sequential(module)
    accelerate.big_modeling.attach_layerwise_casting_hooks(net, torch.float16, torch.float32)
    return net(x)
