"""Opening a model folder, dense or compressed, as either; and what its weights take in memory."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.dynamic_module_utils import get_class_from_dynamic_module

import tersely.torch
from tersely.backends.cpu import processors
from tersely.core.errors import ArgumentError, TerselyError
from tersely.files.foreign_readers import CONFIG
from tersely.files.model_folder import ENTRY, METHOD
from tersely.torch import TerselyTensor
from tersely.torch.modules.compression import parameters_of
from tersely.transformers.config import TerselyConfig


def config_of(folder: Path) -> dict[str, Any]:
    """Returns the parsed config.json. Raises TerselyError where the folder is not that of a transformers model."""
    try:
        document = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError) as error:
        raise TerselyError(f"{folder} is not a model folder: its {CONFIG} cannot be read ({error})") from None
    if not isinstance(document, dict) or "model_type" not in document:
        raise TerselyError(f"{folder / CONFIG} names no model_type: it is not a model of transformers")
    return document


def is_compressed(folder: Path) -> bool:
    """Returns whether config.json names our method."""
    entry = config_of(folder).get(ENTRY)
    return isinstance(entry, dict) and entry.get("quant_method") == METHOD


def set_threads(threads: int | None) -> None:
    """Workers of torch, which our kernels share; None leaves them, but for what a quota does not feed.

    Raises ArgumentError.
    """
    if threads is None:
        threads = min(torch.get_num_threads(), processors.max_threads())
    if threads < 1:
        raise ArgumentError(f"threads must be at least 1, not {threads}")
    if threads != torch.get_num_threads():
        torch.set_num_threads(threads)


def class_of(folder: Path, trust_remote_code: bool = False) -> Any:
    """Returns the class of the folder's model, by its config.json: nothing of the weights is read.

    trust_remote_code: whether code that lies in the folder may run. Raises TerselyError where the class is unknown.
    """
    config = config_of(folder)
    named = config.get("architectures")
    named = str(named[0]) if isinstance(named, list) and named else ""
    known = getattr(transformers, named, None)
    if isinstance(known, type) and issubclass(known, transformers.PreTrainedModel):
        return known
    own = config.get("auto_map")
    if isinstance(own, dict) and own:
        if not trust_remote_code:
            raise TerselyError(
                f"{folder}: {named or 'the model'} is code of the folder's own; read it, and pass "
                "`trust_remote_code=True` if it may run"
            )
        for auto in (f"AutoModelFor{task}" for task in ("CausalLM", "Seq2SeqLM", "MaskedLM")):
            if auto in own:
                return get_class_from_dynamic_module(own[auto], str(folder), local_files_only=True)
        for auto in sorted(own):
            if auto.startswith("AutoModel"):
                return get_class_from_dynamic_module(own[auto], str(folder), local_files_only=True)
    if config["model_type"] in transformers.models.auto.configuration_auto.CONFIG_MAPPING:
        return transformers.AutoModel
    raise TerselyError(
        f"{folder}: transformers {transformers.__version__} knows no {named or 'model'} and no model_type "
        f"{config['model_type']!r}; a newer one may"
    )


def check_tokens(folder: Path, trust_remote_code: bool = False, *, generates: bool = False) -> None:
    """Raises TerselyError where the folder's model takes no tokens, or (generates) gives none, by its config.json."""
    model = class_of(folder, trust_remote_code)
    takes = getattr(model, "main_input_name", "input_ids")
    if takes != "input_ids":
        raise TerselyError(
            f"{folder}: {model.__name__} takes {takes}; only models that take tokens are run and timed here"
        )
    if generates and model is not transformers.AutoModel and not model.can_generate():
        raise TerselyError(
            f"{folder}: {model.__name__} takes tokens and does not generate text; 'tersely bench {folder}' measures it"
        )


def open_model(folder: Path, trust_remote_code: bool = False, **wanted: Any) -> Any:
    """Returns the folder's model as it lies there, in evaluation mode, from local files only. Nobody is asked anything.

    Args:
        trust_remote_code: whether code that lies in the folder may run.
        wanted: arguments of TerselyConfig; a dense folder is compressed after loading if there are any.

    Raises TerselyError.
    """
    model = class_of(folder, trust_remote_code)
    options = {"quantization_config": TerselyConfig(**wanted)} if wanted else {}
    transformers.utils.logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You passed `quantization_config`", UserWarning)
        return model.from_pretrained(
            folder, dtype="auto", local_files_only=True, trust_remote_code=trust_remote_code, **options
        )


def open_dense(folder: Path, trust_remote_code: bool = False) -> Any:
    """Returns the folder's model on dense weights, decoded if they are compressed."""
    if not is_compressed(folder):
        return open_model(folder, trust_remote_code)
    model = open_model(folder, trust_remote_code, on_slow="decode")
    model.dequantize()
    return model


def open_coded(folder: Path, trust_remote_code: bool = False, **wanted: Any) -> Any:
    """Returns the folder's model on compressed weights, compressed if they are dense."""
    default = {"on_slow": "transcode"} if is_compressed(folder) else {"objective": "balanced"}
    return open_model(folder, trust_remote_code, **{**default, **wanted})


def coded_weights(model: torch.nn.Module) -> tuple[int, int]:
    """(weights that are compressed, all weights); what is shared counts once."""
    uses = list(parameters_of(model))
    coded = sum(use.parameter.numel() for use in uses if isinstance(use.parameter, TerselyTensor))
    return coded, sum(use.parameter.numel() for use in uses)


def weight_bytes(model: torch.nn.Module) -> tuple[int, int]:
    """(bytes of parameters and buffers as they are kept, as dense ones would be); what is shared counts once."""
    uses = [use.parameter for use in parameters_of(model) if not use.is_buffer]
    dense = sum(tensor.numel() * tensor.dtype.itemsize for tensor in [*uses, *model.buffers()])
    return tersely.torch.memory_footprint(model), dense
