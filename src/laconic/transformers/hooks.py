"""The two places where transformers offers a quantisation method no way in: reading files and writing them.

Both are wrapped once, on import. For every other model they do what they did.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel, modeling_utils

import laconic.torch
from laconic.errors import LaconicError
from laconic.transformers import saving, versions
from laconic.transformers.quantizer import LaconicHfQuantizer

_LOAD, _SAVE = "_load_pretrained_model", "safe_save_file"


def install() -> None:
    """Wrap loading and saving. Raises LaconicError for a transformers whose inner workings are not those we know."""
    load, save = PreTrainedModel.__dict__.get(_LOAD), getattr(modeling_utils, _SAVE, None)
    if not versions.known() or not isinstance(load, (staticmethod, classmethod)) or save is None:
        raise LaconicError(
            f"laconic.transformers works with transformers {versions.RANGE}, not {versions.INSTALLED}: install "
            f"'transformers{versions.RANGE}', or load the dense model and use laconic.torch.compress_"
        )
    if getattr(save, "of_laconic", False):
        return
    versions.install()
    setattr(PreTrainedModel, _LOAD, type(load)(_loader(load.__func__)))
    setattr(modeling_utils, _SAVE, _saver(save))


def _loader(original: Any) -> Any:
    def load_pretrained_model(*given: Any, **options: Any) -> Any:
        quantizer, arguments = versions.arguments_of_loading(original, given, options)
        if isinstance(quantizer, LaconicHfQuantizer) and quantizer.pre_quantized and arguments["state_dict"] is None:
            with torch.inference_mode(False):  # torch cannot detach wrapped tensors that were made in it
                arguments["state_dict"] = quantizer.read(arguments["checkpoint_files"])
                return original(**arguments)
        return original(*given, **options)

    return load_pretrained_model


def _saver(original: Any) -> Any:
    def save_file(tensors: Any, filename: Any, metadata: Any = None, **options: Any) -> Any:
        weights = saving.weights_of(tensors)
        if weights is None:
            return original(tensors, filename, metadata=metadata, **options)
        return laconic.torch.save_file(weights, filename, metadata)

    save_file.of_laconic = True  # type: ignore[attr-defined]
    return save_file
