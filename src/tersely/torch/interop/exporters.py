"""The functions by which exporters are entered: each gets dense weights, because what it writes has no codes.

One table says which functions these are. A wrapper looks for compressed modules and programs in what it is given; where
there are none it calls the function as it was, and where there are it does so inside `dense_weights`. Functions of
libraries that are not imported yet are wrapped when they are.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from tersely.core.errors import TerselyError
from tersely.torch.interop.imports import when_imported
from tersely.torch.interop.lending import dense_weights, needs_dense
from tersely.torch.interop.programs import dense_program, is_coded
from tersely.torch.modules.int8_linear import Int8Linear
from tersely.torch.weight.tersely_tensor import TerselyTensor, warn_once

ENTRANCES = (
    "torch.jit:trace",
    "torch.jit:trace_module",
    "torch.jit:script",
    "torch.jit:freeze",
    "torch.jit:optimize_for_inference",
    "torch.jit:save",
    "torch.jit:save_jit_module_to_flatbuffer",
    "torch.jit:_get_trace_graph",
    *(
        f"torch.jit:{kind}.{name}"
        for kind in ("ScriptModule", "RecursiveScriptModule")  # torch copies methods from one to the other
        for name in (
            "save",
            "save_to_buffer",
            "_save_for_lite_interpreter",
            "_save_to_buffer_for_lite_interpreter",
            "__reduce_package__",
        )
    ),
    "torch.utils.mobile_optimizer:optimize_for_mobile",
    "torch.onnx:export",
    "openvino.frontend.pytorch.fx_decoder:TorchFXPythonDecoder.from_exported_program",
    "openvino.frontend.pytorch.fx_decoder:TorchFXPythonDecoder.from_model",
    "openvino.frontend.pytorch.ts_decoder:TorchScriptPythonDecoder.__init__",
)
"""module:name of everything that reads weights out of modules or programs to write them down elsewhere."""

_LATER = ("openvino.frontend.pytorch.ts_decoder:TorchScriptPythonDecoder.__init__",)
"""Entrances that read weights after they have returned."""

WARNING = (
    "compressed weights are exported as dense weights, exactly: the result is an ordinary dense model. "
    "tersely.torch.dense_weights(model) does the same for exporters that tersely does not know"
)
"""Comes once in a process."""


_made: dict[Any, Any] = {}
"""Wrappers by what they wrap."""


def install() -> None:
    """Wraps every entrance once, those of other libraries when they are imported."""
    for entrance in ENTRANCES:
        module, _, path = entrance.partition(":")
        if module.startswith("torch."):
            importlib.import_module(module)
        when_imported(module, functools.partial(_install, path=path, lasting=entrance in _LATER))


def _install(module: ModuleType, path: str, lasting: bool) -> None:
    *owners, name = path.split(".")
    owner: Any = module
    for step in owners:
        owner = getattr(owner, step, None)
    original = inspect.getattr_static(owner, name, None)
    if original is None:
        return  # another release of that library; what it reads raises TerselyError by itself
    inner = original.__func__ if isinstance(original, (classmethod, staticmethod)) else original
    if getattr(inner, "of_tersely", False):
        return
    if inner not in _made:  # torch has one function in two classes
        _made[inner] = _wrapped(inner, lasting)
    wrapped = _made[inner]
    setattr(owner, name, type(original)(wrapped) if inner is not original else wrapped)
    home = importlib.import_module(inner.__module__)
    if not owners and getattr(home, name, None) is inner:  # pickles look for it there
        setattr(home, name, wrapped)


def _wrapped(function: Callable[..., Any], lasting: bool) -> Callable[..., Any]:
    frames = inspect.signature(function) if "_frames_up" in inspect.signature(function).parameters else None
    scripts = frames is not None

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if frames is not None:  # names are resolved in the caller's frame, of which there is one more between
            bound = frames.bind(*args, **kwargs)
            bound.arguments["_frames_up"] = bound.arguments.get("_frames_up", 0) + 1
            args, kwargs = bound.args, bound.kwargs
        modules = [module for module in _modules((args, kwargs)) if needs_dense(module)]
        if not modules and not any(_is_compressed(leaf) for leaf in pytree.tree_leaves((args, kwargs))):
            return function(*args, **kwargs)
        if scripts:
            _refuse_int8(modules)
        with ExitStack() as stack:
            if any(_holds_codes(module) for module in modules):
                warn_once(WARNING)
            for module in modules:
                stack.enter_context(dense_weights(module))
            args, kwargs = pytree.tree_map(_lasting if lasting else _dense, (args, kwargs))
            return function(*args, **kwargs)

    call.of_tersely = True  # type: ignore[attr-defined]
    return call


def _holds_codes(module: nn.Module) -> bool:
    return any(isinstance(value, TerselyTensor) for value in module.state_dict(keep_vars=True).values())


def _is_compressed(value: Any) -> bool:
    return isinstance(value, TerselyTensor) or (isinstance(value, ExportedProgram) and is_coded(value))


def _dense(value: Any) -> Any:
    if isinstance(value, TerselyTensor):
        return value.decode()
    return dense_program(value) if isinstance(value, ExportedProgram) else value


def _lasting(value: Any) -> Any:
    """What `_dense` returns, where the weights of a script must still be there after the call."""
    if not isinstance(value, torch.jit.ScriptModule):
        return _dense(value)
    return torch.jit.load(io.BytesIO(value.save_to_buffer()))  # type: ignore[no-untyped-call]


def _modules(given: Any) -> Iterator[nn.Module]:
    """The modules in the arguments of a call: themselves, behind bound methods, and in what functions refer to."""
    for leaf in pytree.tree_leaves(given):
        yield from _modules_of(leaf)


def _modules_of(value: Any, depth: int = 3) -> Iterator[nn.Module]:
    if isinstance(value, nn.Module):
        yield value
    elif isinstance(value, functools.partial):
        yield from _modules((value.func, value.args, value.keywords))
    elif inspect.ismethod(value):
        yield from _modules_of(value.__self__, depth)
        yield from _modules_of(value.__func__, depth)
    elif isinstance(value, FunctionType) and depth:
        for cell in value.__closure__ or ():
            try:
                held = cell.cell_contents
            except ValueError:
                continue  # of a variable that has no value yet
            yield from _modules_of(held, depth - 1)
        for name in value.__code__.co_names:
            yield from _modules_of(value.__globals__.get(name), depth - 1)


def _refuse_int8(modules: list[nn.Module]) -> None:
    for module in modules:
        for path, owner in module.named_modules():
            if isinstance(owner, Int8Linear):
                raise TerselyError(
                    f"Int8Linear ({path or 'the module itself'}) cannot be scripted, as its products are no operators of "
                    "TorchScript: use torch.jit.trace, which writes them down in torch's"
                )
