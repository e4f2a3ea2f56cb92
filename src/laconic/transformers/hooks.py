"""The two places where transformers offers a quantisation method no way in: reading files and writing them.

Both are wrapped once, on import. For every other model they do what they did.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers
from transformers import PreTrainedModel, modeling_utils

import laconic.torch
from laconic.errors import LaconicError
from laconic.transformers import saving
from laconic.transformers.quantizer import LaconicHfQuantizer

_LOAD, _SAVE = "_load_pretrained_model", "safe_save_file"


def install() -> None:
    """Wrap loading and saving. Raises LaconicError for a transformers whose inner workings are not those we know."""
    load, save = PreTrainedModel.__dict__.get(_LOAD), getattr(modeling_utils, _SAVE, None)
    if int(transformers.__version__.split(".")[0]) < 5 or not isinstance(load, staticmethod) or save is None:
        raise LaconicError(
            f"laconic.transformers works with transformers 5, not {transformers.__version__}: install 'transformers>=5', "
            "or load the dense model and use laconic.torch.compress_"
        )
    if getattr(save, "of_laconic", False):
        return
    setattr(PreTrainedModel, _LOAD, staticmethod(_loader(load.__func__)))
    setattr(modeling_utils, _SAVE, _saver(save))


def _loader(original: Any) -> Any:
    def load_pretrained_model(
        model: Any, state_dict: Any, checkpoint_files: Any, load_config: Any, *rest: Any, **options: Any
    ) -> Any:
        quantizer = load_config.hf_quantizer
        if isinstance(quantizer, LaconicHfQuantizer) and quantizer.pre_quantized and state_dict is None:
            with torch.inference_mode(False):  # torch cannot detach wrapped tensors that were made in it
                state_dict = quantizer.read(checkpoint_files)
                return original(model, state_dict, checkpoint_files, load_config, *rest, **options)
        return original(model, state_dict, checkpoint_files, load_config, *rest, **options)

    return load_pretrained_model


def _saver(original: Any) -> Any:
    def save_file(tensors: Any, filename: Any, metadata: Any = None, **options: Any) -> Any:
        weights = saving.weights_of(tensors)
        if weights is None:
            return original(tensors, filename, metadata=metadata, **options)
        return laconic.torch.save_file(weights, filename, metadata)

    save_file.of_laconic = True  # type: ignore[attr-defined]
    return save_file
