"""`save_pretrained` of a model whatever happened to its weights after it was loaded.

What is saved decides, not how the model came about: with compressed weights, by `tersely.torch.compress_` or by loading,
the folder names our method; without, it does not. What no folder of transformers can hold is refused before anything is
written.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, cast

import tersely.torch
from tersely.core.choices import Objective
from tersely.core.errors import TerselyError
from tersely.torch import TerselyTensor
from tersely.torch.modules.compression import parameters_of
from tersely.transformers.config import TerselyConfig
from tersely.transformers.quantizer import TerselyHfQuantizer

_ABSENT = object()


@contextlib.contextmanager
def settled(model: Any, state: Mapping[str, Any] | None, safe: bool) -> Iterator[None]:
    """Prepares the model to be saved as its weights are. state: what the caller gives to be saved instead of its own.
    safe: whether it becomes safetensors. Raises TerselyError for what a folder cannot hold."""
    quantizer = getattr(model, "hf_quantizer", None)
    ours = quantizer if isinstance(quantizer, TerselyHfQuantizer) else None
    if getattr(model, "_hf_peft_config_loaded", False):  # only the adapter is saved
        yield
        return
    weights = [use.parameter for use in parameters_of(model)] if state is None else list(state.values())
    coded = [weight for weight in weights if isinstance(weight, TerselyTensor)]
    _refuse(model, bool(coded), None if ours is not None else quantizer, safe)
    with contextlib.ExitStack() as undo:
        if ours is not None and coded:
            _for_now(undo, ours, "given", state)
        elif ours is not None:  # decompressed since it was loaded
            _for_now(undo, model, "hf_quantizer", _ABSENT)
            _for_now(undo, model.config, "quantization_config", _ABSENT)
            _for_now(
                undo, model.config, "_pre_quantization_dtype", _ABSENT
            )  # transformers writes it for such models only
            _for_now(undo, model, "_weight_conversions", _ABSENT if ours.conversions is None else ours.conversions)
        elif coded:
            config = _config_of(coded)
            made = TerselyHfQuantizer(config, pre_quantized=True)
            made.conversions, made.given = getattr(model, "_weight_conversions", None), state
            _for_now(undo, model, "_weight_conversions", [])
            _for_now(undo, model, "hf_quantizer", made)
            _for_now(undo, model.config, "quantization_config", config)
        yield


def _refuse(model: Any, coded: bool, other: Any, safe: bool) -> None:
    int8 = [name for name, module in model.named_modules() if isinstance(module, tersely.torch.Int8Linear)]
    if int8:
        raise TerselyError(
            f"{', '.join(int8[:4])}: transformers has no folder for Int8Linear; tersely.torch.save_model keeps them, or "
            "save the model before they are put in"
        )
    if coded and other is not None:
        method = getattr(other.quantization_config, "quant_method", "a method of its own")
        raise TerselyError(
            f"the model is quantised with {getattr(method, 'value', method)!r} and compressed: a folder names one method. Save "
            "it after tersely.torch.decompress_(model), and compress the folder by 'tersely compress'"
        )
    if coded and not safe:
        raise TerselyError(
            "compressed weights are saved as safetensors: drop safe_serialization=False, or tersely.torch.decompress_(model)"
        )


def _config_of(coded: list[TerselyTensor]) -> TerselyConfig:
    """What the weights were compressed for, which stands in the folder's config.json."""
    objective, profile = coded[0].encoding
    return TerselyConfig(cast(Objective, objective), profile)


def _for_now(undo: contextlib.ExitStack, owner: Any, name: str, value: Any) -> None:
    """Sets an attribute, or takes it away, until the stack closes."""
    before = vars(owner).get(name, _ABSENT)
    undo.callback(_put, owner, name, before)
    _put(owner, name, value)


def _put(owner: Any, name: str, value: Any) -> None:
    if value is not _ABSENT:
        setattr(owner, name, value)
    elif name in vars(owner):
        delattr(owner, name)
