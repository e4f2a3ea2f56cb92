"""The places where transformers offers a quantisation method no way in: reading files and writing them, and their
config.json.

All are wrapped once, on import. For every other model they do what they did.
"""

from __future__ import annotations

import copy
import functools
import inspect
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import PretrainedConfig, PreTrainedModel, modeling_utils

import tersely.torch
from tersely.core.errors import TerselyError
from tersely.files.container import pool
from tersely.files.container.description import MARK
from tersely.files.container.stored import is_stored_file
from tersely.files.model_folder import CLOSED, ENTRY, METHOD, WEIGHTS, opened
from tersely.transformers import attaching, saving, versions
from tersely.transformers.config import TerselyConfig
from tersely.transformers.quantizer import TerselyHfQuantizer

_LOAD, _SAVE = "_load_pretrained_model", "safe_save_file"


def install() -> None:
    """Wraps loading and saving. Raises TerselyError for a transformers whose inner workings are not those we know."""
    load, save = PreTrainedModel.__dict__.get(_LOAD), getattr(modeling_utils, _SAVE, None)
    if not versions.known() or not isinstance(load, (staticmethod, classmethod)) or save is None:
        raise TerselyError(
            f"tersely.transformers works with transformers {versions.RANGE}, not {versions.INSTALLED}: install "
            f"'transformers{versions.RANGE}', or load the dense model and use tersely.torch.compress_"
        )
    if getattr(save, "of_tersely", False):
        return
    versions.install()
    setattr(PreTrainedModel, _LOAD, type(load)(_loader(load.__func__)))
    setattr(modeling_utils, _SAVE, _saver(save))
    PreTrainedModel.save_pretrained = _model_saver(PreTrainedModel.save_pretrained)
    PreTrainedModel.from_pretrained = classmethod(_model_opener(PreTrainedModel.from_pretrained.__func__))
    PretrainedConfig.get_config_dict = classmethod(_config_reader(PretrainedConfig.get_config_dict.__func__))
    PretrainedConfig.to_json_file = _config_writer(PretrainedConfig.to_json_file)


def _loader(original: Any) -> Any:
    def load_pretrained_model(*given: Any, **options: Any) -> Any:
        quantizer, arguments = versions.arguments_of_loading(original, given, options)
        if isinstance(quantizer, TerselyHfQuantizer) and quantizer.pre_quantized and arguments["state_dict"] is None:
            with torch.inference_mode(False):  # torch cannot detach wrapped tensors that were made in it
                arguments["state_dict"] = quantizer.read(arguments["checkpoint_files"], versions.index_of(arguments))
                return original(**arguments)
        files = arguments.get("checkpoint_files") or ()
        closed = next((file for file in files if str(file).endswith(".safetensors") and _is_compressed(file)), None)
        if closed is not None and not isinstance(quantizer, TerselyHfQuantizer):
            raise TerselyError(
                f"{closed} is compressed, but the config that is used does not say so: take the one of its folder "
                f"(quant_method {METHOD!r}), or 'tersely decompress' the folder first, as adapters need it"
            )
        return original(*given, **options)

    return load_pretrained_model


def _is_compressed(file: Any) -> bool:
    if is_stored_file(file):
        return True
    with safe_open(file, "pt") as opened_file:
        return any(MARK in name or name == pool.TENSOR for name in opened_file.keys())  # noqa: SIM118


def _saver(original: Any) -> Any:
    def save_file(tensors: Any, filename: Any, metadata: Any = None, **options: Any) -> Any:
        weights = saving.weights_of(tensors)
        if weights is None:
            return original(tensors, filename, metadata=metadata, **options)
        return tersely.torch.save_file(weights, filename, metadata)

    save_file.of_tersely = True  # type: ignore[attr-defined]
    return save_file


def _model_saver(original: Any) -> Any:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def save_pretrained(self: Any, *given: Any, **options: Any) -> Any:
        arguments = signature.bind(self, *given, **options).arguments
        with attaching.settled(self, arguments.get("state_dict"), arguments.get("safe_serialization", True)):
            return original(self, *given, **options)

    return save_pretrained


def _model_opener(original: Any) -> Any:
    """Does what `_config_reader` does, for a config that was read before this adapter was imported."""

    @functools.wraps(original)
    def from_pretrained(cls: Any, *given: Any, **options: Any) -> Any:
        config = options.get("config")
        if isinstance(config, PretrainedConfig) and getattr(config, WEIGHTS, None) == CLOSED:
            options["config"] = config = copy.deepcopy(config)
            delattr(config, WEIGHTS)
            for name, value in opened({WEIGHTS: CLOSED}, getattr(config, ENTRY, None)).items():
                setattr(config, name, value)
        return original(cls, *given, **options)

    return from_pretrained


def _config_reader(original: Any) -> Any:
    """Opens what `model_folder` closes to loaders without this adapter."""

    @functools.wraps(original)
    def get_config_dict(cls: Any, *given: Any, **options: Any) -> Any:
        config, rest = original(cls, *given, **options)
        return opened(config, config.get(ENTRY)), rest

    return get_config_dict


def _config_writer(original: Any) -> Any:
    """Closes it again: transformers does not write that key."""

    @functools.wraps(original)
    def to_json_file(self: Any, json_file_path: Any, *given: Any, **options: Any) -> None:
        original(self, json_file_path, *given, **options)
        if isinstance(getattr(self, ENTRY, None), TerselyConfig):
            path = Path(json_file_path)
            document = {**json.loads(path.read_text("utf-8")), WEIGHTS: CLOSED}
            path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", "utf-8")

    return to_json_file
