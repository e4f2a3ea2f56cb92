"""Opening a model folder, dense or compressed, as either; and what its weights take in memory."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers

import laconic.torch
from laconic.errors import ArgumentError, LaconicError
from laconic.model_folder import CONFIG, ENTRY, METHOD
from laconic.torch.compression import parameters_of
from laconic.transformers.config import LaconicConfig


def config_of(folder: Path) -> dict[str, Any]:
    """The parsed config.json. Raises LaconicError where the folder is not that of a transformers model."""
    try:
        document = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError) as error:
        raise LaconicError(f"{folder} is not a model folder: its {CONFIG} cannot be read ({error})") from None
    if not isinstance(document, dict) or "model_type" not in document:
        raise LaconicError(f"{folder / CONFIG} names no model_type: it is not a model of transformers")
    return document


def is_compressed(folder: Path) -> bool:
    """Whether config.json names our method."""
    entry = config_of(folder).get(ENTRY)
    return isinstance(entry, dict) and entry.get("quant_method") == METHOD


def set_threads(threads: int | None) -> None:
    """Workers of torch, which our kernels share; None leaves them. Raises ArgumentError."""
    if threads is not None:
        if threads < 1:
            raise ArgumentError(f"threads must be at least 1, not {threads}")
        torch.set_num_threads(threads)


def open_model(folder: Path, **wanted: Any) -> Any:
    """The folder's model as it lies there, in evaluation mode, from local files only.

    wanted: arguments of LaconicConfig; a dense folder is compressed after loading if there are any. Raises LaconicError.
    """
    config = config_of(folder)
    named = config.get("architectures") or [""]
    model = getattr(transformers, str(named[0]), transformers.AutoModel)
    options = {"quantization_config": LaconicConfig(**wanted)} if wanted else {}
    transformers.utils.logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You passed `quantization_config`", UserWarning)
        return model.from_pretrained(folder, dtype="auto", local_files_only=True, **options)


def open_dense(folder: Path) -> Any:
    """The folder's model on dense weights, decoded if they are compressed."""
    if not is_compressed(folder):
        return open_model(folder)
    model = open_model(folder, on_slow="decode")
    model.dequantize()
    return model


def open_coded(folder: Path, **wanted: Any) -> Any:
    """The folder's model on compressed weights, compressed if they are dense."""
    return open_model(
        folder, **({"on_slow": "transcode", **wanted} if is_compressed(folder) else {"objective": "balanced", **wanted})
    )


def weight_bytes(model: torch.nn.Module) -> tuple[int, int]:
    """(bytes of parameters and buffers as they are kept, as dense ones would be); what is shared counts once."""
    uses = [use.parameter for use in parameters_of(model) if not use.is_buffer]
    dense = sum(tensor.numel() * tensor.dtype.itemsize for tensor in [*uses, *model.buffers()])
    return laconic.torch.memory_footprint(model), dense
