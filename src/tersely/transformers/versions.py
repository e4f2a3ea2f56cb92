"""What differs between transformers 4 and 5, in one place: everything else in this adapter is the same for both."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import transformers
from torch import Tensor
from transformers import modeling_utils
from transformers.quantizers import auto

from tersely.transformers.config import TerselyConfig

INSTALLED: str = transformers.__version__
RANGE = ">=4.57,<6"
"""The versions that pyproject.toml allows. 4.57 is the last minor version of 4; before it, the arguments of loading have other names."""
_MAJOR, _MINOR = (int(part) for part in INSTALLED.split(".")[:2])
FOUR = _MAJOR == 4


def known() -> bool:
    """Returns whether this adapter knows the installed version's inner workings."""
    return _MAJOR == 5 or (FOUR and _MINOR >= 57)


def install() -> None:
    """Has transformers take `mode`, `on_slow` and `check` of a config that is passed for a compressed folder."""
    if not FOUR:
        auto.LOADING_ATTRIBUTES_CONFIG_TYPES = (*auto.LOADING_ATTRIBUTES_CONFIG_TYPES, TerselyConfig)
        return
    original = auto.AutoHfQuantizer.merge_quantization_configs.__func__

    def merge_quantization_configs(cls: Any, quantization_config: Any, quantization_config_from_args: Any) -> Any:
        merged = original(cls, quantization_config, quantization_config_from_args)
        if isinstance(merged, TerselyConfig) and isinstance(quantization_config_from_args, TerselyConfig):
            merged.update(**quantization_config_from_args.get_loading_attributes())
        return merged

    auto.AutoHfQuantizer.merge_quantization_configs = classmethod(merge_quantization_configs)


def arguments_of_loading(function: Any, given: Sequence[Any], options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """(quantizer, all arguments by name) of a call of `_load_pretrained_model`, which reads the files."""
    arguments = dict(inspect.signature(function).bind(*given, **options).arguments)
    if not FOUR:
        return arguments["load_config"].hf_quantizer, arguments
    arguments |= {"state_dict": arguments.get("state_dict")}
    return arguments.get("hf_quantizer"), arguments


def index_of(arguments: dict[str, Any]) -> Mapping[str, str]:
    """Returns the weight_map of a sharded checkpoint among these arguments; empty for a single file.

    transformers 4 must not see the index when it is given tensors.
    """
    metadata = arguments["sharded_metadata"] if FOUR else arguments["load_config"].sharded_metadata
    if FOUR:
        arguments["sharded_metadata"] = None
    return (metadata or {}).get("weight_map") or {}


def in_checkpoint_form(model: Any, state: dict[str, Tensor], conversions: Any) -> dict[str, Tensor]:
    """Returns a state dict as checkpoints have it. conversions: what transformers 5 did to names and shapes."""
    if FOUR:
        return state
    from transformers import core_model_loading

    mine, model._weight_conversions = model._weight_conversions, conversions
    try:
        return dict(core_model_loading.revert_weight_conversion(model, state))
    finally:
        model._weight_conversions = mine


def without_ties(model: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns each tied dense weight once. transformers 4 does that itself, after it has asked the quantizer."""
    return state if FOUR else dict(modeling_utils.remove_tied_weights_from_state_dict(state, model))


def tied_names(model: Any) -> set[str]:
    """Returns the names of weights that are ties to others, which no file holds."""
    if FOUR:
        return set(modeling_utils._get_tied_weight_keys(model))
    return set(getattr(model, "all_tied_weights_keys", None) or ())
