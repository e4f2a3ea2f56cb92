"""accelerate's hooks beside compressed weights: codes stay where they are, dense weights go where they are sent.

The hooks move weights by building parameters anew, and keep them on other devices and on disk. Codes are for the CPU
and in memory (or mapped from their file) already, so to them the hooks do nothing; another device than the CPU to
compute on is refused before anything has been moved. All of it happens in accelerate's own names for the functions that
its hooks call, when accelerate is imported.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from tersely.core.errors import TerselyError
from tersely.torch.interop.imports import when_imported
from tersely.torch.weight.tersely_tensor import TerselyTensor, warn_once

_ENTRANCES = ("cpu_offload", "disk_offload", "dispatch_model")
_REMEDY = "tersely.torch.decompress_(model) first, and compress_ after moving it back; or give the CPU as the device to execute on"


def install() -> None:
    """Prepares accelerate once, now or when it is imported."""
    when_imported("accelerate.hooks", _prepare_hooks)
    when_imported("accelerate.utils.modeling", _prepare_setting)
    when_imported("accelerate.big_modeling", _prepare_entrances)


def _replace(module: ModuleType, name: str, make: Callable[[Any], Any], *also: str) -> None:
    """Puts a wrapper in the place of a function, in a module and those that have it by name."""
    original = getattr(module, name, None)
    if original is None or getattr(original, "of_tersely", False):
        return
    wrapped: Any = functools.wraps(original)(make(original))
    wrapped.of_tersely = True
    for owner in (module, *(sys.modules.get(other) for other in also)):
        if getattr(owner, name, None) is original:
            setattr(owner, name, wrapped)


def _prepare_hooks(hooks: ModuleType) -> None:
    def staying(original: Any) -> Any:
        def named_module_tensors(*args: Any, **kwargs: Any) -> Iterator[tuple[str, Tensor]]:
            return (found for found in original(*args, **kwargs) if not isinstance(found[1], TerselyTensor))

        return named_module_tensors

    def checked(original: Any) -> Any:
        def init_hook(self: Any, module: nn.Module) -> Any:
            _check_devices(module, [self.execution_device], recurse=bool(getattr(self, "place_submodules", False)))
            return original(self, module)

        return init_hook

    _replace(hooks, "named_module_tensors", staying)
    kind = getattr(hooks, "AlignDevicesHook", None)
    if kind is not None and not getattr(kind.init_hook, "of_tersely", False):
        kind.init_hook = functools.wraps(kind.init_hook)(checked(kind.init_hook))
        kind.init_hook.of_tersely = True


def _prepare_entrances(modeling: ModuleType) -> None:
    def checked(original: Any) -> Any:
        signature = inspect.signature(original)

        def call(*args: Any, **kwargs: Any) -> Any:
            given = signature.bind(*args, **kwargs).arguments
            _check_devices(given["model"], _devices(given), recurse=True)
            return original(*args, **kwargs)

        return call

    def without_codes(original: Any) -> Any:
        def offload_state_dict(save_dir: Any, state_dict: Mapping[str, Any]) -> Any:
            dense = {name: value for name, value in state_dict.items() if not isinstance(value, TerselyTensor)}
            if len(dense) < len(state_dict):
                warn_once("compressed weights stay in memory, or mapped from their file: only dense ones are offloaded")
            found = original(save_dir, dense)
            index = Path(save_dir, "index.json")
            if not dense and not index.exists():  # it is read next, and the library writes none without entries
                index.write_text("{}")
            return found

        return offload_state_dict

    def untied(original: Any) -> Any:
        def find_tied_parameters(model: nn.Module, **kwargs: Any) -> list[list[str]]:
            """Finds those that are moved and tied again afterwards; codes are not moved."""
            found = original(model, **kwargs)
            state = dict(model.named_parameters(remove_duplicate=False))
            return [group for group in found if not any(isinstance(state.get(name), TerselyTensor) for name in group)]

        return find_tied_parameters

    for name in _ENTRANCES:
        _replace(modeling, name, checked, "accelerate")
    _replace(modeling, "offload_state_dict", without_codes)
    _replace(modeling, "find_tied_parameters", untied)


def _prepare_setting(modeling: ModuleType) -> None:
    def given_value(original: Any) -> Any:
        signature = inspect.signature(original)

        def set_module_tensor_to_device(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            _make_room(bound.arguments)
            return original(*bound.args, **bound.kwargs)

        return set_module_tensor_to_device

    others = ("accelerate", "accelerate.utils", "accelerate.hooks", "accelerate.big_modeling")
    _replace(modeling, "set_module_tensor_to_device", given_value, *others)


def _make_room(given: Mapping[str, Any]) -> None:
    """Makes a compressed parameter that is set to a dense value or moved away a dense parameter first.

    The library makes the new one of the class of the old.
    """
    owner, _, name = str(given["tensor_name"]).rpartition(".")
    module = given["module"].get_submodule(owner)
    old = module._parameters.get(name)
    value = given.get("value")
    if not isinstance(old, TerselyTensor):
        return
    if value is not None:
        empty = torch.empty_strided(old.shape, old.stride(), dtype=old.dtype, device="meta")
        module._parameters[name] = nn.Parameter(empty, requires_grad=False)
    elif torch.device(given["device"]).type != "cpu":
        module._parameters[name] = nn.Parameter(old.decode(), requires_grad=False)


def _devices(given: Mapping[str, Any]) -> list[Any]:
    """The devices on which the weights of a model would be multiplied, by the arguments of accelerate's functions."""
    main, device_map = given.get("main_device", given.get("execution_device")), given.get("device_map")
    devices = [] if main is None else [main]
    if device_map is None:
        return devices
    hooked = len(set(device_map.values())) > 1 or given.get("force_hooks", False)  # else the model is moved as a whole
    return devices + [device for device in device_map.values() if device not in ("cpu", "disk")] if hooked else []


def _check_devices(module: nn.Module, devices: list[Any], recurse: bool) -> None:
    """Raises TerselyError where codes would have to be multiplied elsewhere than on the CPU."""
    elsewhere = [device for device in devices if device is not None and _kind(device) not in ("cpu", "disk")]
    if not elsewhere:
        return
    for name, weight in module.named_parameters(recurse=recurse):
        if isinstance(weight, TerselyTensor):
            raise TerselyError(
                f"accelerate would compute on {elsewhere[0]}, and compressed weights ({name}, ...) are multiplied on the "
                f"CPU: {_REMEDY}"
            )


def _kind(device: Any) -> str:
    """The kind of a device as accelerate takes it; numbers are those of accelerators."""
    return "disk" if device == "disk" else "accelerator" if isinstance(device, int) else torch.device(device).type
