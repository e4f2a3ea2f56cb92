"""`torch.compile(model, backend="tersely")`: Dynamo's graphs on compressed weights, found by torch as an entry point.

Dynamo gives parameters as inputs; they are bound here, coded once per parameter, and coded again where somebody has
written to one. Programs are made for the shapes of a call when they are first seen. Where gradients are wanted, torch's
own operators run: results are right, and not faster.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils.weak import WeakTensorKeyDictionary

from tersely.core.choices import MODES, OBJECTIVES, Mode, Objective
from tersely.core.errors import ArgumentError
from tersely.graph.lowering import Choices
from tersely.graph.pipeline import Constant
from tersely.torch.networks.identical import coded_parameter
from tersely.torch.networks.partition import Encode, Partitioned
from tersely.torch.networks.pipeline import encoder


class _Bound(torch.nn.Module):
    """An fx module whose parameters are bound; called with the other inputs."""

    def __init__(self, module: torch.nn.Module, arguments: Sequence[Any], free: Sequence[int]) -> None:
        super().__init__()
        self.inner, self.free = module, list(free)
        self.names: dict[int, str] = {}
        for place, value in enumerate(arguments):
            if place not in self.free:
                self.names[place] = f"constant_{place}"
                if isinstance(value, torch.Tensor):
                    self.register_buffer(self.names[place], value.detach())
                else:
                    setattr(self, self.names[place], value)

    def forward(self, *inputs: torch.Tensor) -> Any:
        given = iter(inputs)
        count = len(self.free) + len(self.names)
        return self.inner(*(getattr(self, self.names[i]) if i in self.names else next(given) for i in range(count)))


class _Compiled:
    def __init__(
        self,
        module: torch.fx.GraphModule,
        examples: Sequence[Any],
        objective: Objective,
        mode: Mode = "fused",
        winograd: bool = True,
        bfloat16_products: bool = True,
    ) -> None:
        self.module, self.objective, self.mode = module, objective, mode
        self.choices = Choices(winograd, bfloat16_products)
        self.held = [
            isinstance(one, torch.nn.Parameter) or _is_static(node)
            for one, node in zip(examples, _placeholders(module), strict=True)
        ]
        self.programs: dict[Any, Partitioned] = {}

    def __call__(self, *arguments: Any) -> Any:
        if torch.is_grad_enabled() and any(isinstance(one, torch.Tensor) and one.requires_grad for one in arguments):
            return self.module(*arguments)
        if self.mode == "identical":
            decoded = [
                _decoding(one, self.objective) if isinstance(one, torch.nn.Parameter) else one for one in arguments
            ]
            with torch.inference_mode(False), torch.no_grad():
                return self.module(*decoded)
        key = tuple(
            (id(one), _version(one))
            if held
            else (tuple(one.shape), one.dtype, one.device.type)
            if isinstance(one, torch.Tensor)
            else one
            for one, held in zip(arguments, self.held, strict=True)
        )
        if key not in self.programs:
            self.programs[key] = self._made(arguments)
        free = [
            one for one, held in zip(arguments, self.held, strict=True) if not held and isinstance(one, torch.Tensor)
        ]
        with torch.inference_mode(False), torch.no_grad():
            leaves, form = pytree.tree_flatten((tuple(free), {}))
            return self.programs[key](form, leaves)

    def _made(self, arguments: Sequence[Any]) -> Partitioned:
        free = [
            i
            for i, (one, held) in enumerate(zip(arguments, self.held, strict=True))
            if not held and isinstance(one, torch.Tensor)
        ]
        bound = _Bound(self.module, arguments, free)
        examples = tuple(arguments[i].detach().clone() for i in free)
        with torch.inference_mode(False), torch.no_grad():
            program = torch.export.export(bound, examples, strict=False)
        by_name = {bound.names[i]: arguments[i] for i in bound.names}
        return Partitioned(program, _remembering(self.objective, by_name), self.choices)


_coded: Any = WeakTensorKeyDictionary()
"""By parameter: its code, by (objective, mode) and version."""


def _remembering(objective: Objective, tensors: Mapping[str, torch.Tensor]) -> Encode:
    """An encoder that codes a parameter once, however many programs read it."""
    encode = encoder(objective)

    def encoded(name: str, tensor: torch.Tensor, rows: int, in_out: bool) -> Constant:
        parameter = tensors.get(name)
        if not rows or not isinstance(parameter, torch.nn.Parameter):
            return encode(name, tensor, rows, in_out)
        how = objective, "fused, [inputs, outputs]" if in_out else "fused"
        return _once(parameter, how, lambda: encode(name, tensor, rows, in_out))

    return encoded


def _decoding(parameter: torch.nn.Parameter, objective: Objective) -> Any:
    """A parameter as a compressed tensor that torch's operators decode, coded once."""
    return _once(parameter, (objective, "identical"), lambda: coded_parameter(parameter, objective))


def _once(parameter: torch.nn.Parameter, how: tuple[str, str], make: Callable[[], Any]) -> Any:
    """A parameter's code, made when it is first asked for and when somebody has written to the parameter."""
    known = _coded.setdefault(parameter, {})
    version = _version(parameter)
    for stale in [key for key in known if key[1] != version]:
        del known[stale]
    if (how, version) not in known:
        known[how, version] = make()
    return known[how, version]


def _version(tensor: torch.Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _placeholders(module: torch.fx.GraphModule) -> list[torch.fx.Node]:
    return [node for node in module.graph.nodes if node.op == "placeholder"]


def _is_static(node: torch.fx.Node) -> bool:
    """Whether Dynamo says that an input is a buffer of a module."""
    source = getattr(node.meta.get("grapharg"), "source", None)
    return source is not None and "_buffers" in str(getattr(source, "name", ""))


def backend(module: torch.fx.GraphModule, examples: list[Any], **given: Any) -> Callable[..., Any]:
    """What Dynamo calls. options of torch.compile: objective, mode and choices, as `pipeline` takes them."""
    own = {"objective": "balanced", "mode": "fused", "winograd": True, "bfloat16_products": True}
    options = {**own, **dict(given.pop("options", None) or {})}
    truths = (True, False)
    allowed = {"objective": OBJECTIVES, "mode": MODES, "winograd": truths, "bfloat16_products": truths}
    if given or set(options) != set(allowed) or any(options[name] not in allowed[name] for name in allowed):
        raise ArgumentError(
            "backend tersely takes options={'objective': 'size' | 'balanced' | 'speed', 'mode': 'fused' | 'identical', "
            f"'winograd': True | False, 'bfloat16_products': True | False}}, not {given or options}"
        )
    if any(isinstance(one, torch.Tensor) and one.device.type != "cpu" for one in examples):
        warnings.warn("tersely runs on CPUs: a graph on another device is left to torch", RuntimeWarning, stacklevel=2)
        return module.forward
    return _Compiled(module, examples, **options)
